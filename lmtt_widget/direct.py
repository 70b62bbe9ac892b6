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
from .run import Run


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
