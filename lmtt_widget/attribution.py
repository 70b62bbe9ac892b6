"""What every part adds directly to a token's logit, with a sign: effects that add up to the logit.

Direct is what a vector adds by itself, at the end; what later layers make of it is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .decomposition.vectors import constant_vector, query_vectors
from .given import integer, of_kind, one_of, place
from .lens import chain, onward, readout_of, tokens_of
from .run import RECORDED, Run
from .tokens import Token


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
    of_kind(run, Run, "run", RECORDED)
    one_of(by, ("part", "head"), "by")
    readout, row, last_id = readout_of(run), place(pos, run.n_tokens, "pos"), run.logits.shape[-1] - 1
    token = int(run.logits[row].argmax()) if token is None else integer(token, "a token id", 0, last_id)
    foil = None if foil is None else integer(foil, "a token id", 0, last_id)

    whose: list[tuple[str, int | None, int | None, int | None]] = []  # what each vector is of: as in Effect
    vectors = []
    on_chain = set(chain(run))
    for k, part in enumerate(run.parts):
        if part.state not in on_chain:
            continue
        if part.kind == "attention" and by == "head":
            whose += [("head", part.layer, k, h) for h in range(part.n_heads)]
            written = query_vectors(part.linear[0], row)
            rest = constant_vector(part.linear[0], row)[None]
            if bool((rest != 0).any()):
                whose.append(("constant", part.layer, k, None))
                written = torch.cat([written, rest])
        else:
            whose.append((part.kind, part.layer, k, None))
            written = part.output_at(row, run.n_tokens)[None]
        vectors.append(onward(run, written, pos, part.state).to(readout.last.value.device))
    values = _direct(run, torch.cat(vectors), row, token, foil).tolist()
    effects = [Effect(*of, value) for of, value in zip(whose, values, strict=True)]
    columns = torch.tensor([token] if foil is None else [token, foil], device=run.logits.device)
    constant = readout.constant(row, columns)
    if constant is not None:
        c = constant.tolist()
        effects.append(Effect("final norm and unembedding", None, None, None, c[0] - (c[1] if foil is not None else 0)))
    logits = _before_cap(run, row)[columns].tolist()
    names = tokens_of(run, columns)
    return LogitAttribution(
        names[token],
        None if foil is None else names[foil],
        row,
        effects,
        logits[0] - (logits[1] if foil is not None else 0),
    )


def direct_effects(run: Run, vectors: Tensor, pos: int, state: int, token: int, foil: int | None = None) -> Tensor:
    """What vectors [n, d_model] of a state add directly to a token's logit (minus the foil's) at a position: [n].

    With the final norm frozen as it was, so effects add up. Raises ValueError where the model's logits are no linear
    read-out of its last state. (Wang et al. 2022, arXiv:2211.00593)

        >>> added = run.part("mlp", layer=3).output(run.n_tokens)[13]
        >>> effects = lmtt.direct_effects(run, torch.stack([added, 2 * added]), 13, 8, token=5)
        >>> round(float(effects[1] / effects[0]), 4)
        2.0
    """
    of_kind(run, Run, "run", RECORDED)
    of_kind(vectors, Tensor, "vectors", "[n, d_model]")
    state = place(state, len(run.states), "state")
    if vectors.shape[1:] != run.states[state].value.shape[1:]:
        raise ValueError(f"vectors must have the shape [n, d_model], got {list(vectors.shape)}")
    last_id, row = run.logits.shape[-1] - 1, place(pos, run.n_tokens, "pos")
    token = integer(token, "a token id", 0, last_id)
    foil = None if foil is None else integer(foil, "a token id", 0, last_id)
    return _direct(run, onward(run, vectors, row, state), row, token, foil)


def _direct(run: Run, vectors: Tensor, row: int, token: int, foil: int | None) -> Tensor:
    """The same of vectors as they stand in the last state."""
    columns = torch.tensor([token] if foil is None else [token, foil], device=run.logits.device)
    got = readout_of(run).direct(vectors, row, columns)
    return got[:, 0] if foil is None else got[:, 0] - got[:, 1]


def _before_cap(run: Run, row: int) -> Tensor:
    logits = run.logits[row].to(torch.promote_types(run.logits.dtype, torch.float32))
    cap = readout_of(run).cap
    return logits if cap is None else cap * torch.atanh(logits / cap)


def log_odds(logits: Tensor, token: int, foil: int | None) -> Tensor:
    """Of a token against a foil, or against all others: nats, of logits [..., d_vocab]."""
    if foil is not None:
        return logits[..., token] - logits[..., foil]
    others = torch.arange(logits.shape[-1], device=logits.device) != token
    return logits[..., token] - logits[..., others].logsumexp(-1)
