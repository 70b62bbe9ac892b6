"""Vectors read out as tokens.

A *state* is read with the final norm applied to it (the logit lens: what the model would say here). An *update* is read
with the final norm frozen at its value for the last state, so that the read-outs of all parts add up to the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .decomposition.paths import Path
from .decomposition.readout import Readout
from .decomposition.streams import Spread
from .decomposition.vectors import head_vectors
from .earlier import renamed
from .given import flag, integer, is_one, of_kind, place, places
from .parts import Part, wide
from .run import RECORDED, Run
from .tokens import Token

_AT_ONCE = 1 << 23  # logits that are made together: rows enough that the unembedding is read for many
_NEAR = 1 << 18  # and how many of them are looked at together: what stays in the cache


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
    """The logit lens of some states and positions."""

    run: Run
    states: tuple[int, ...]
    positions: tuple[int, ...]
    ids: Tensor  # [state, pos, k], best first
    probabilities: Tensor  # [state, pos, k]
    entropy: Tensor  # [state, pos], nats
    kl: Tensor  # [state, pos], KL(final || lens), nats
    settled: Tensor  # [pos], the first of these states from which the most likely token never changes

    def to_dict(self) -> list[dict[str, Any]]:
        """One record per state, position and rank, ready for a data frame."""
        named = {i: t.text for i, t in tokens_of(self.run, self.ids.unique()).items()}
        return [
            {"state": s, "layer": self.run.states[s].layer, "name": self.run.states[s].name, "pos": p, "rank": k,
             "id": i, "token": named[i], "probability": chance}
            for s, grid, chances in zip(self.states, self.ids.tolist(), self.probabilities.tolist(), strict=True)
            for p, row, here in zip(self.positions, grid, chances, strict=True)
            for k, (i, chance) in enumerate(zip(row, here, strict=True))
        ]  # fmt: skip

    def __repr__(self) -> str:
        named = tokens_of(self.run, self.ids[:, -1, 0])
        lines = [f"LensGrid({len(self.ids)} states x {self.ids.shape[1]} tokens); at position {self.positions[-1]}:"]
        for number, i, p in zip(self.states, self.ids[:, -1, 0].tolist(), self.probabilities[:, -1, 0], strict=True):
            s = self.run.states[number]
            where = "" if s.layer is None else f"L{s.layer} "
            lines.append(f"  {where + s.name:24s} {named[i].text} {float(p):.1%}")
        return "\n".join(lines)


@renamed(normalize="normalise")
def lens_logits(run: Run, state: int, pos: int | Sequence[int] | slice = -1, *, normalise: bool = True) -> Tensor:
    """What the model would say if it stopped at a state: logits [pos, d_vocab], or [d_vocab] for one position.

    W_U norm_f(h) + b_U, with the final norm applied to h itself (normalise=False: left out). Raises ValueError where
    the model's logits are no linear read-out of its last state, or for a state or position that is not there.
    (nostalgebraist 2020, the logit lens)

        >>> logits = lmtt.lens_logits(run, 5)  # at the last position
        >>> model.vocabulary([int(logits.argmax())])[0].text
        '·Mary'
    """
    of_kind(run, Run, "run", RECORDED)
    state, n = place(state, len(run.states), "state"), run.n_tokens
    found = [place(pos, n, "pos")] if is_one(pos) else places(pos, n, "pos")
    rows = pos if isinstance(pos, slice) else found
    logits = readout_of(run).logits(run.states[state].value, rows, flag(normalise, "normalise"))
    return logits[0] if is_one(pos) else logits


def lens_of_nodes(run: Run, nodes: np.ndarray, normalise: bool) -> Tensor:
    """The lens of nodes [node, (state, pos)]: logits [node, d_vocab]."""
    readout, by_state = readout_of(run), groupby(nodes.tolist(), lambda node: node[0])
    made = [readout.final(run.states[s].value, [pos for _, pos in here], normalise) for s, here in by_state]
    return readout.unembed(torch.cat(made))


def rows_at_once(run: Run) -> int:
    """How many rows are unembedded together: a multiple of 64, which matrix products like, if there are so many."""
    n = max(1, _AT_ONCE // run.logits.shape[-1])
    return n - n % 64 if n > 64 else n


def in_cache(logits: Tensor) -> tuple[Tensor, ...]:
    return logits.split(max(1, _NEAR // logits.shape[-1])) if logits.device.type == "cpu" else (logits,)


@renamed(normalize="normalise")
def top_tokens(run: Run, pos: int = -1, *, state: int = -1, k: int = 10, normalise: bool = True) -> TokenList:
    """The k most likely next tokens at a position, by default the model's own; earlier states by the logit lens.

    >>> lmtt.top_tokens(run, k=1).tokens[0].text
    '·Mary'
    """
    of_kind(run, Run, "run", RECORDED)
    state, pos, k = place(state, len(run.states), "state"), place(pos, run.n_tokens, "pos"), integer(k, "k", 1)
    final = state == len(run.states) - 1
    logits = (
        run.logits[pos] if final and flag(normalise, "normalise") else lens_logits(run, state, pos, normalise=normalise)
    )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    scores, ids = logits.topk(min(k, logits.shape[-1]))
    return TokenList(_token_list(run, ids), scores.cpu(), logits.softmax(-1)[ids].cpu())


@renamed(normalize="normalise")
def logit_lens(
    run: Run,
    *,
    k: int = 1,
    states: Sequence[int] | None = None,
    pos: int | Sequence[int] | None = None,
    normalise: bool = True,
) -> LensGrid:
    """The k most likely tokens read off states and positions, with entropy and distance to the final prediction.

    states, pos: which, by number, negative ones counted from the end; None: all. Only these are unembedded, many at a
    time. Raises ValueError for no states or positions, or one that the run has not, and where the model's logits are no
    linear read-out of its last state. (nostalgebraist 2020)

        >>> lmtt.logit_lens(run, k=2).ids.shape  # [state, pos, k]
        torch.Size([9, 14, 2])
        >>> lmtt.logit_lens(run, pos=-1).settled  # at the last position only
        tensor([4])
    """
    of_kind(run, Run, "run", RECORDED)
    k, normalise = integer(k, "k", 1), flag(normalise, "normalise")
    chosen = _numbers("states", states, len(run.states))
    positions = _numbers("pos", [pos] if is_one(pos) else pos, run.n_tokens)
    final = wide(run.logits[list(positions)]).log_softmax(-1)
    chances = final.exp()
    nodes = np.array([(s, p) for s in chosen for p in positions])
    found, at = [], 0
    step = rows_at_once(run)
    for batch in (nodes[i : i + step] for i in range(0, len(nodes), step)):
        for logits in in_cache(lens_of_nodes(run, batch, normalise)):
            first, n = at % len(positions), len(logits)
            rows: Any = slice(first, first + n)  # no copy, but where they begin anew
            if first + n > len(positions):
                rows = torch.arange(first, first + n, device=final.device) % len(positions)
            found.append(_seen(logits.to(final.dtype), final[rows], chances[rows], min(k, final.shape[-1])))
            at += len(logits)
    shape = len(chosen), len(positions)
    top, p, entropy, kl = (torch.cat(x).cpu().unflatten(0, shape) for x in zip(*found, strict=True))
    agrees = (top[..., 0] == top[-1, :, 0]).flip(0).cumprod(0).sum(0)  # how many of the last states agree with the last
    settled = torch.tensor(chosen)[len(chosen) - agrees]
    return LensGrid(run, chosen, positions, top, p, entropy, kl, settled)


def _largest(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest number of each row and where it is: [row, 1] each; numpy finds it four times as fast on a CPU."""
    if x.device.type != "cpu":
        return x.max(-1, keepdim=True)  # type: ignore[return-value]
    ids = torch.from_numpy(x.detach().numpy().argmax(-1)[:, None])
    return x.gather(-1, ids), ids


def _numbers(what: str, given: Any, n: int) -> tuple[int, ...]:
    """Numbers in 0..n - 1, those from the end counted from the beginning."""
    numbers = range(n) if given is None else places(given, n, what)
    if not numbers:
        raise ValueError(f"{what} must be numbers in 0..{n - 1}, at least one, got none")
    return tuple(numbers)


def _seen(logits: Tensor, final: Tensor, chances: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best tokens of some rows, their probabilities, the entropy, and how far the final prediction is."""
    log_p = logits.log_softmax(-1)
    best, ids = log_p.topk(k) if k > 1 else _largest(log_p)
    entropy = -torch.linalg.vecdot(log_p.exp(), log_p)
    return ids, best.exp(), entropy, torch.linalg.vecdot(chances, final - log_p)


def update_logits(run: Run, vector: Tensor, pos: int = -1, *, state: int = -1) -> Tensor:
    """What an update [d_model] that entered `state` adds directly to the logit of every token: [d_vocab].

    Read with the final norm frozen at its value there. Raises ValueError where the model's logits are no linear
    read-out of its last state.
    """
    of_kind(run, Run, "run", RECORDED)
    of_kind(vector, Tensor, "vector", "of d_model numbers, such as part.output(run.n_tokens)[pos]")
    state = place(state, len(run.states), "state")
    expected = run.states[state].value.shape[1:]  # where streams run beside each other, not the same for all
    if vector.shape != expected or not vector.is_floating_point():
        raise ValueError(
            f"vector must have {expected[0]} numbers [d_model], got {list(vector.shape)} of {vector.dtype}; one of "
            "several positions is taken with [pos]"
        )
    pos = place(pos, run.n_tokens, "pos")
    return readout_of(run).direct(onward(run, vector[None], pos, state), pos)[0]


def promoted(run: Run, vector: Tensor, pos: int = -1, *, state: int = -1, k: int = 15) -> Promoted:
    """The tokens whose logits an update raises and lowers most.

    vector [d_model]: anything added to `state` at a position (a part, a head's output, a neuron's n_u w_u), read with
    the final norm frozen at its value there; scores are in logits and add up over parts. A neuron's sign is that of its
    activation, since the update is n_u w_u and not w_u. (Geva et al. 2022, arXiv:2204.12130)

        >>> update = lmtt.promoted(run, run.parts[4].output(run.n_tokens)[13], 13, state=run.parts[4].state)
        >>> [token.text for token in update.promoted.tokens[:2]]
        ['·John', '·Mary']
    """
    return promoted_of(run, update_logits(run, vector, pos, state=state)[None], integer(k, "k", 1))[0]


def promoted_of(run: Run, logits: Tensor, k: int) -> list[Promoted]:
    """The best and the worst tokens of each row of what updates add to the logits: [update, d_vocab]."""
    k = min(k, logits.shape[-1])
    best, worst = logits.topk(k), logits.topk(k, largest=False)
    columns = [x.cpu() for x in (best.indices, best.values, worst.indices, worst.values)]
    return [
        Promoted(TokenList(_token_list(run, up), high), TokenList(_token_list(run, down), low))
        for up, high, down, low in zip(*columns, strict=True)
    ]


def lens_of_position(run: Run, pos: int, *, normalise: bool = True) -> Tensor:
    """What the model would say at one position if it stopped at each state: logits [state, d_vocab]."""
    readout = readout_of(run)
    return readout.unembed(torch.cat([readout.final(s.value, [pos], normalise) for s in run.states]))


def head_output(part: Part, head: int) -> Tensor:
    """What one head adds to the stream at every query, summed over keys: [query, d_model].

    Raises ValueError if the part has no such head.

        >>> lmtt.head_output(run.parts[0], 3).shape == run.value(0).shape
        True
    """
    of_kind(part, Part, "part", "one of run.parts")
    if not part.n_heads:
        raise ValueError(f"only an attention part has heads, got {part!r}")
    return head_vectors(part.linear[0], integer(head, f"head of layer {part.layer}", 0, part.n_heads - 1)).output()


def onward(run: Run, vectors: Tensor, pos: int, state: int) -> Tensor:
    """Vectors [n, d_model] of a state as they stand in the last one: later frozen steps applied (mostly none)."""
    start, continued = state % len(run.states), chain(run)
    while start not in continued:  # of a second stream: up to where it joins the first
        found = _next(run, start)
        if found is None:
            break
        start, path = found
        vectors = path.apply(vectors, pos % run.n_tokens)
    for s in reversed(continued):
        if s > start:
            vectors = run.states[s].path.apply(vectors, pos % run.n_tokens)
    return vectors


def _next(run: Run, state: int) -> tuple[int, Path | Spread] | None:
    """The state that continues this one, or that it is added to whole, and how it enters there."""
    for s in run.states[state + 1 :]:
        if s.carried == state:
            return s.index, s.path
    skips = ((s.index, p) for s in run.states[state + 1 :] for p in s.parts if p.kind == "skip" and p.reads == state)
    return next(((k, p.writes[0].path) for k, p in skips if len(p.writes) == 1), None)


def chain(run: Run) -> list[int]:
    """The states that the last one continues, from the top down."""
    chain: list[int] = []
    s: int | None = len(run.states) - 1
    while s is not None:
        chain.append(s)
        s = run.states[s].carried
    return chain


def readout_of(run: Run) -> Readout:
    if run.readout is None:
        raise ValueError(
            "this model's logits are not a linear read-out of its last state, so vectors cannot be read as tokens"
        )
    return run.readout


def _token_list(run: Run, ids: Tensor) -> list[Token]:
    return run.model.vocabulary(ids.tolist())


def tokens_of(run: Run, ids: Tensor) -> dict[int, Token]:
    unique = ids.unique().tolist()
    return dict(zip(unique, run.model.vocabulary(unique), strict=True))
