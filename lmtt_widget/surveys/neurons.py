"""Gated neurons over many prompts: how often each was in which case of its signs, and the prompts where most.

Knows nothing of files. Of each prompt only the token where a case is strongest may become a context, so that eight
contexts are eight prompts.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from ..gated import is_gated, sign_cases
from ..run import Run
from .cases import CASES, COLUMNS, N_CONTEXTS, strongest


class Tally:
    """What the prompts of a chunk say of every gated neuron; the same prompt twice counts once."""

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()
        self._of: dict[tuple[int, int | None, str | None], dict[str, np.ndarray]] = {}

    def add(self, run: Run, number: int) -> None:
        """Raises ValueError for a model without gated neurons."""
        ids = tuple(run.token_ids.tolist())
        if ids in self._seen:
            return
        self._seen.add(ids)
        gated = [part for part in run.parts if is_gated(part)]
        if not gated:
            raise ValueError('this model has no neurons with a gate, so keep must not name "neurons"')
        for part in gated:
            for expert, cases in sign_cases(run, part).items():
                key = part.number, part.layer, None if expert is None else str(expert)
                value, pos = cases.value.numpy()[..., None], cases.pos.numpy()[..., None]
                found = {"value": value, "number": np.where(pos < 0, -1, number), "pos": pos}
                mine = self._of.get(key)
                count = cases.count.numpy() + (0 if mine is None else mine["count"])
                self._of[key] = strongest([found] if mine is None else [mine, found]) | {"count": count}

    def columns(self) -> dict[str, Any]:
        """One row for each neuron, arrays [row, n]."""
        rows: dict[str, list[Any]] = {"part": [], "layer": [], "expert": [], "neuron": []}
        for (part, layer, expert), of in self._of.items():
            n = len(of["count"])
            for name, x in (("part", part), ("layer", layer), ("expert", expert)):
                rows[name] += [x] * n
            rows["neuron"] += range(n)
        sizes = {"count": len(CASES)} | dict.fromkeys(COLUMNS[1:], len(CASES) * N_CONTEXTS)
        kinds = {"count": np.int32, "value": np.float32, "number": np.int32, "pos": np.int32}
        arrays = {
            name: np.concatenate([np.zeros((0, n)), *(of[name].reshape(-1, n) for of in self._of.values())])
            for name, n in sizes.items()
        }
        return rows | {name: array.astype(kinds[name]) for name, array in arrays.items()}
