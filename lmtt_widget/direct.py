"""What every head adds from every key to a token's logit at one position; knows nothing of questions and screens.

Only what is written at that position has a direct effect on its logit, so this is one row of every attention map.
(Elhage et al. 2021, a mathematical framework for transformer circuits: direct effects through the residual stream.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .attribution import direct_effects
from .decomposition.vectors import head_vectors
from .given import integer, of_kind, place
from .run import RECORDED, Run


@dataclass(frozen=True)
class DirectEffects:
    """Signed direct effects on a token's logit, minus the foil's, at one position."""

    heads: dict[int, Tensor]  # attention part -> [head, key]
    parts: dict[int, float]  # any other part with shares -> its whole effect


def effects_at(run: Run, pos: int, token: int, foil: int | None = None) -> DirectEffects:
    """The effects of everything written at a position. Raises ValueError where logits are no linear read-out."""
    row = pos % run.n_tokens
    heads, parts = {}, {}
    for part in run.parts:
        if part.heads is not None:
            vectors = [head_vectors(part.linear[0], h).block(row, row + 1)[0] for h in range(part.n_heads)]
            found = direct_effects(run, torch.cat(vectors), row, part.state, token, foil)
            heads[part.number] = found.reshape(part.n_heads, -1).float().cpu()
        elif part.kind in ("mlp", "mixer", "skip"):
            output = part.output_at(row, run.n_tokens)[None]
            parts[part.number] = float(direct_effects(run, output, row, part.state, token, foil)[0])
    return DirectEffects(heads, parts)


@dataclass(frozen=True)
class ChangedHead:
    """What one head adds directly to a logit in two passes over a prompt, in logits.

    >>> edited = lmtt.record(model, run, interventions=[lmtt.Edit({"kind": "mlp", "state": 4})])
    >>> found = lmtt.changed_heads(run, edited, token=5, k=1)[0]
    >>> found.change == found.effect - found.before
    True
    """

    part: int
    state: int
    layer: int | None
    head: int
    before: float
    effect: float

    @property
    def change(self) -> float:
        return self.effect - self.before


def changed_heads(
    run: Run, edited: Run, *, token: int, foil: int | None = None, pos: int = -1, k: int = 5
) -> list[ChangedHead]:
    """The k heads whose direct effect on a token's logit (minus the foil's) an edit changed most, first.

    A head that rose where others were cut may have stepped in for them (self-repair: McGrath et al. 2023,
    arXiv:2307.15771; Rushing & Nanda 2024, arXiv:2402.15390).

    edited: `record(model, run, interventions=...)`. Raises ValueError for runs of two prompts, or where the logits are
    no linear read-out of the last state.

        >>> cut = lmtt.Edit({"kind": "edge", "state": 5, "query": 13, "key": 1})
        >>> edited = lmtt.record(model, run, interventions=[cut])
        >>> found = lmtt.changed_heads(run, edited, token=model.token_id(" Mary"))
        >>> len(found), abs(found[0].change) >= abs(found[4].change)
        (5, True)
    """
    of_kind(run, Run, "run", RECORDED)
    of_kind(edited, Run, "edited", RECORDED)
    k, pos = integer(k, "k", 1), place(pos, run.n_tokens, "pos")
    if edited.token_ids.tolist() != run.token_ids.tolist():
        raise ValueError(
            f"the edited run is of another prompt ({edited.n_tokens} tokens) than the run ({run.n_tokens} tokens); "
            "record(model, run, interventions=...) makes one of the same"
        )
    before, after = (effects_at(one, pos, token, foil).heads for one in (run, edited))
    found = [
        ChangedHead(part, run.parts[part].state, run.parts[part].layer, h, float(before[part][h].sum()), float(x.sum()))
        for part, heads in after.items()
        for h, x in enumerate(heads)
    ]
    return sorted(found, key=lambda head: -abs(head.change))[:k]
