"""Vectors read out as tokens.

A *state* is read with the final norm applied to it (the logit lens: what the model would say here). An *update* is read
with the final norm frozen at its value for the last state, so that the read-outs of all parts add up to the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .decomposition.readout import Readout
from .decomposition.vectors import constant_vectors, head_vectors
from .earlier import renamed
from .parts import Part
from .run import Run
from .tokens import Token


@dataclass(frozen=True)
class TokenList:
    """Tokens with their scores, best first."""

    tokens: list[Token]
    scores: Tensor  # [k], logits
    probabilities: Tensor | None = None  # [k]; None for updates, which have none

    def to_dict(self) -> list[dict[str, Any]]:
        """One record per token, ready for a data frame."""
        records: list[dict[str, Any]] = [
            {"rank": k, "id": t.id, "token": t.text, "score": float(s)}
            for k, (t, s) in enumerate(zip(self.tokens, self.scores, strict=True))
        ]
        if self.probabilities is not None:
            for r, p in zip(records, self.probabilities.tolist(), strict=True):
                r["probability"] = p
        return records

    def columns(self) -> dict[str, Any]:
        """Ids, texts, scores and, where there are any, probabilities."""
        columns = {"id": [t.id for t in self.tokens], "text": [t.text for t in self.tokens], "score": self.scores}
        return columns if self.probabilities is None else columns | {"p": self.probabilities}

    def __repr__(self) -> str:
        numbers = self.scores if self.probabilities is None else self.probabilities
        form = "{} {:+.2f}" if self.probabilities is None else "{} {:.1%}"
        return "[" + ", ".join(form.format(t.text, v) for t, v in zip(self.tokens, numbers.tolist(), strict=True)) + "]"


@dataclass(frozen=True)
class Promoted:
    """The tokens whose logits an update raises and lowers most."""

    promoted: TokenList
    suppressed: TokenList

    def __repr__(self) -> str:
        return f"promoted {self.promoted!r}, suppressed {self.suppressed!r}"


@dataclass(frozen=True)
class LensGrid:
    """The logit lens of every state and position."""

    run: Run
    ids: Tensor  # [state, pos, k], best first
    probabilities: Tensor  # [state, pos, k]
    entropy: Tensor  # [state, pos], nats
    kl: Tensor  # [state, pos], KL(final || lens), nats
    settled: Tensor  # [pos], the first state from which the most likely token never changes

    def to_dict(self) -> list[dict[str, Any]]:
        """One record per state, position and rank, ready for a data frame."""
        named = {i: t.text for i, t in _named(self.run, self.ids.unique()).items()}
        return [
            {"state": s, "layer": self.run.states[s].layer, "name": self.run.states[s].name, "pos": p, "rank": k,
             "id": i, "token": named[i], "probability": float(self.probabilities[s, p, k])}
            for s, grid in enumerate(self.ids.tolist()) for p, row in enumerate(grid) for k, i in enumerate(row)
        ]  # fmt: skip

    def __repr__(self) -> str:
        named = _named(self.run, self.ids[:, -1, 0])
        lines = [f"LensGrid({len(self.ids)} states x {self.ids.shape[1]} tokens); at the last position:"]
        for s, i in zip(self.run.states, self.ids[:, -1, 0].tolist(), strict=True):
            where = "" if s.layer is None else f"L{s.layer} "
            lines.append(f"  {where + s.name:24s} {named[i].text} {float(self.probabilities[s.index, -1, 0]):.1%}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Effect:
    """What one part adds to a logit (or to the difference of two)."""

    kind: str  # a part's kind, or "head", or "final norm and unembedding" for the read-out's own bias
    layer: int | None
    part: int | None  # index in run.parts
    head: int | None
    value: float


@dataclass(frozen=True)
class LogitAttribution:
    """Direct effects that add up to the logit (before any soft cap), or to its difference from the foil's."""

    token: Token
    foil: Token | None
    pos: int
    effects: list[Effect]
    logit: float  # the model's own, before any soft cap; minus the foil's

    @property
    def sum(self) -> float:
        return sum(e.value for e in self.effects)

    def to_dict(self) -> list[dict[str, Any]]:
        """One record per effect, ready for a data frame."""
        return [
            {"kind": e.kind, "layer": e.layer, "part": e.part, "head": e.head, "value": e.value} for e in self.effects
        ]

    def __repr__(self) -> str:
        against = "" if self.foil is None else f" - {self.foil.text}"
        top = sorted(self.effects, key=lambda e: -abs(e.value))[:8]
        names = (
            e.kind + ("" if e.layer is None else f" L{e.layer}") + ("" if e.head is None else f" H{e.head}")
            for e in top
        )
        return f"logit({self.token.text}{against}) = {self.sum:.3f}: " + ", ".join(
            f"{n} {e.value:+.3f}" for n, e in zip(names, top, strict=True)
        )


@renamed(normalize="normalise")
def lens_logits(run: Run, state: int, pos: int | Sequence[int] | slice = -1, *, normalise: bool = True) -> Tensor:
    """What the model would say if it stopped at a state: logits [pos, d_vocab], or [d_vocab] for one position.

    W_U norm_f(h) + b_U, with the final norm applied to h itself (normalise=False: left out). Raises ValueError where
    the model's logits are no linear read-out of its last state. (nostalgebraist 2020, the logit lens)

        >>> logits = lmtt.lens_logits(run, 5)  # at the last position
        >>> model.vocabulary([int(logits.argmax())])[0].text
        '·Mary'
    """
    rows = [pos] if isinstance(pos, int) else pos
    logits = _readout(run).logits(run.states[state].value, rows, normalise)
    return logits[0] if isinstance(pos, int) else logits


def likely_tokens(run: Run, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logit lens' most likely token of some nodes `at` [state, pos] (bool), and its probability; -1 elsewhere."""
    ids, p = np.full(at.shape, -1), np.zeros(at.shape, np.float32)
    for s, row in enumerate(at):
        if row.any():
            logits = lens_logits(run, s, np.flatnonzero(row).tolist())
            best = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1).max(-1)
            ids[s, row], p[s, row] = best.indices.cpu().numpy(), best.values.float().cpu().numpy()
    return ids, p


@renamed(normalize="normalise")
def top_tokens(run: Run, pos: int = -1, *, state: int = -1, k: int = 10, normalise: bool = True) -> TokenList:
    """The k most likely next tokens at a position, by default the model's own; earlier states by the logit lens.

    >>> lmtt.top_tokens(run, k=1).tokens[0].text
    '·Mary'
    """
    final = state % len(run.states) == len(run.states) - 1
    logits = run.logits[pos] if final and normalise else lens_logits(run, state, pos, normalise=normalise)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    scores, ids = logits.topk(min(k, logits.shape[-1]))
    return TokenList(_token_list(run, ids), scores.cpu(), logits.softmax(-1)[ids].cpu())


@renamed(normalize="normalise")
def logit_lens(run: Run, *, k: int = 1, normalise: bool = True) -> LensGrid:
    """The k most likely tokens read off every state and position, with entropy and distance to the final prediction.

    >>> lmtt.logit_lens(run, k=2).ids.shape  # [state, pos, k]
    torch.Size([9, 14, 2])
    """
    final = run.logits.to(torch.promote_types(run.logits.dtype, torch.float32)).log_softmax(-1)
    ids, probabilities, entropy, kl = [], [], [], []
    for s in run.states:
        logits = lens_logits(run, s.index, slice(None), normalise=normalise)
        log_p = logits.to(final.dtype).log_softmax(-1)
        p, i = log_p.topk(min(k, log_p.shape[-1]))
        ids.append(i.cpu())
        probabilities.append(p.exp().cpu())
        entropy.append(-(log_p.exp() * log_p).sum(-1).cpu())
        kl.append((final.exp() * (final - log_p)).sum(-1).cpu())
    top = torch.stack(ids)
    agrees = (top[..., 0] == top[-1, :, 0]).flip(0).cumprod(0).sum(0)  # how many of the last states agree with the last
    return LensGrid(
        run, top, torch.stack(probabilities), torch.stack(entropy), torch.stack(kl), len(run.states) - agrees
    )


def update_logits(run: Run, vector: Tensor, pos: int = -1, *, state: int = -1) -> Tensor:
    """What an update [d_model] that entered `state` adds directly to the logit of every token: [d_vocab].

    Read with the final norm frozen at its value there. Raises ValueError where the model's logits are no linear
    read-out of its last state.
    """
    return _readout(run).direct(onward(run, vector[None], pos, state), pos % run.n_tokens)[0]


def promoted(run: Run, vector: Tensor, pos: int = -1, *, state: int = -1, k: int = 15) -> Promoted:
    """The tokens whose logits an update raises and lowers most.

    vector [d_model]: anything added to `state` at a position (a part, a head's output, a neuron's n_u w_u), read with
    the final norm frozen at its value there; scores are in logits and add up over parts. A neuron's sign is that of its
    activation, since the update is n_u w_u and not w_u. (Geva et al. 2022, arXiv:2204.12130)

        >>> update = lmtt.promoted(run, run.parts[4].output(run.n_tokens)[13], 13, state=run.parts[4].state)
        >>> [token.text for token in update.promoted.tokens[:2]]
        ['·John', '·Mary']
    """
    logits = update_logits(run, vector, pos, state=state)
    k = min(k, logits.shape[-1])
    best, worst = logits.topk(k), (-logits).topk(k)
    return Promoted(
        TokenList(_token_list(run, best.indices), best.values.cpu()),
        TokenList(_token_list(run, worst.indices), -worst.values.cpu()),
    )


def direct_logit_attribution(
    run: Run, pos: int = -1, token: int | None = None, foil: int | None = None, *, by: Literal["part", "head"] = "head"
) -> LogitAttribution:
    """What every part adds directly to a token's logit at a position; signed, and adding up to the logit.

    dla(c, w) = W_U[:, w] . (gamma * (c - mean(c)) / sigma_f), sigma_f frozen at the last state (no mean for RMSNorm).
    token: an id, by default the model's prediction; foil: an id to contrast with, then effects are on the difference.
    by="head" lists an attention part as its heads and its constant. (Wang et al. 2022, arXiv:2211.00593)

        >>> found = lmtt.direct_logit_attribution(run)
        >>> found.token.text, abs(found.sum - found.logit) < 1e-3
        ('·Mary', True)
    """
    readout, row = _readout(run), pos % run.n_tokens
    token = int(run.logits[row].argmax()) if token is None else token
    n_vocab = run.logits.shape[-1]
    for i in (token, foil):
        if i is not None and not 0 <= i < n_vocab:
            raise ValueError(f"a token id must be in 0..{n_vocab - 1}, got {i}")

    def effect(vectors: Tensor, state: int) -> list[float]:
        return direct_effects(run, vectors, pos, state, token, foil).tolist()

    effects = []
    on_chain = set(_chain(run))
    for k, part in enumerate(run.parts):
        if part.state not in on_chain:
            continue
        if part.kind == "attention" and by == "head":
            outputs = torch.stack([head_output(part, h)[row] for h in range(part.n_heads)])
            effects += [Effect("head", part.layer, k, h, v) for h, v in enumerate(effect(outputs, part.state))]
            rest = constant_vectors(part.linear[0], run.n_tokens)[row]
            if bool((rest != 0).any()):
                effects.append(Effect("constant", part.layer, k, None, effect(rest[None], part.state)[0]))
        else:
            effects.append(
                Effect(part.kind, part.layer, k, None, effect(part.output(run.n_tokens)[row][None], part.state)[0])
            )
    columns = torch.tensor([token] if foil is None else [token, foil], device=run.logits.device)
    constant = readout.constant(row, columns)
    if constant is not None:
        c = constant.tolist()
        effects.append(Effect("final norm and unembedding", None, None, None, c[0] - (c[1] if foil is not None else 0)))
    logits = _before_cap(run, row)[columns].tolist()
    named = _named(run, columns)
    return LogitAttribution(
        named[token],
        None if foil is None else named[foil],
        row,
        effects,
        logits[0] - (logits[1] if foil is not None else 0),
    )


def direct_effects(run: Run, vectors: Tensor, pos: int, state: int, token: int, foil: int | None = None) -> Tensor:
    """What vectors [n, d_model] of a state add directly to a token's logit (minus the foil's) at a position: [n]."""
    columns = torch.tensor([token] if foil is None else [token, foil], device=run.logits.device)
    got = _readout(run).direct(onward(run, vectors, pos, state), pos % run.n_tokens, columns)
    return got[:, 0] if foil is None else got[:, 0] - got[:, 1]


def lens_of_position(run: Run, pos: int, *, normalise: bool = True) -> Tensor:
    """What the model would say at one position if it stopped at each state: logits [state, d_vocab]."""
    return _readout(run).logits_of([s.value for s in run.states], pos, normalise)


def head_output(part: Part, head: int) -> Tensor:
    """What one head adds to the stream at every query, summed over keys: [query, d_model].

    Raises ValueError if the part has no such head.

        >>> lmtt.head_output(run.parts[0], 3).shape == run.value(0).shape
        True
    """
    if not 0 <= head < part.n_heads:
        raise ValueError(f"layer {part.layer} has heads 0..{part.n_heads - 1}, got {head}")
    return head_vectors(part.linear[0], head).output()


def onward(run: Run, vectors: Tensor, pos: int, state: int) -> Tensor:
    """Vectors [n, d_model] of a state as they stand in the last one: later frozen steps applied (mostly none)."""
    start = state % len(run.states)
    for s in reversed(_chain(run)):
        if s > start:
            vectors = run.states[s].path.apply(vectors, pos % run.n_tokens)
    return vectors


def _chain(run: Run) -> list[int]:
    """The states that the last one continues, from the top down."""
    chain: list[int] = []
    s: int | None = len(run.states) - 1
    while s is not None:
        chain.append(s)
        s = run.states[s].carried
    return chain


def _readout(run: Run) -> Readout:
    if run.readout is None:
        raise ValueError(
            "this model's logits are not a linear read-out of its last state, so vectors cannot be read as tokens"
        )
    return run.readout


def _before_cap(run: Run, row: int) -> Tensor:
    logits = run.logits[row].to(torch.promote_types(run.logits.dtype, torch.float32))
    cap = _readout(run).cap
    return logits if cap is None else cap * torch.atanh(logits / cap)


def _token_list(run: Run, ids: Tensor) -> list[Token]:
    return run.model.vocabulary(ids.tolist())


def _named(run: Run, ids: Tensor) -> dict[int, Token]:
    unique = ids.unique().tolist()
    return dict(zip(unique, run.model.vocabulary(unique), strict=True))
