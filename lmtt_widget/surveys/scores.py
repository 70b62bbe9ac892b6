"""One number for every head of a model, from many prompts, with its interval and what chance would give.

Knows nothing of torch, models or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .statistics import Differences, Interval


def frame(records: Sequence[dict[str, Any]] | dict[str, Any]) -> Any:
    """Records as a data frame: of Polars where it is installed, else of pandas.

    Raises ModuleNotFoundError where neither is.
    """
    try:
        import polars

        return polars.DataFrame(records)
    except ModuleNotFoundError:
        pass
    try:
        import pandas
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a data frame needs polars or pandas: pip install polars; records come from to_dict()", name="polars"
        ) from None
    return pandas.DataFrame(records)


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """A score of every head [layer, head] over many prompts; NaN where a layer has no such head.

    `apart` says where it differs from chance, all heads together: where no head did anything, some head would be
    marked in one of twenty surveys.

        >>> many = lmtt.survey(model, [prompt, "The capital of France is Rome."], folder / "scores")
        >>> found = many.role("previous")
        >>> found.value.shape, found.n_prompts
        ((4, 8), 2)
        >>> found.best(1)
        [(1, 3)]
    """

    name: str
    layers: tuple[int | None, ...]  # of each row
    value: np.ndarray  # [layer, head]
    low: np.ndarray  # [layer, head], of the interval of 95 %
    high: np.ndarray  # [layer, head]
    chance: np.ndarray | None  # [layer, head]; None where it is not known what chance would give
    apart: np.ndarray | None  # [layer, head], bool; None where there is no chance to differ from
    n_queries: int | None  # that were looked at; None where the unit is the prompt
    n_prompts: int  # different ones
    n_duplicates: int = 0  # that were left out
    n_refused: int = 0

    def best(self, k: int = 5) -> list[tuple[int | None, int]]:
        """The layer and head of the k largest values, largest first."""
        order = np.argsort(-np.nan_to_num(self.value, nan=-np.inf), axis=None, kind="stable")[:k]
        at = (np.unravel_index(i, self.value.shape) for i in order)
        return [(self.layers[row], int(head)) for row, head in at if not np.isnan(self.value[row, head])]

    def to_dict(self) -> list[dict[str, Any]]:
        """One record per head, ready for a data frame."""
        records = []
        for (row, head), value in np.ndenumerate(self.value):
            if not np.isnan(value):
                record = {"layer": self.layers[row], "head": head, "value": float(value)}
                record |= {"low": float(self.low[row, head]), "high": float(self.high[row, head])}
                if self.chance is not None and self.apart is not None:
                    record |= {"chance": float(self.chance[row, head]), "apart": bool(self.apart[row, head])}
                records.append(record | {"n_queries": self.n_queries, "n_prompts": self.n_prompts})
        return records

    def to_frame(self) -> Any:
        """The same as a data frame of Polars or pandas."""
        return frame(self.to_dict())

    def __repr__(self) -> str:
        at = {layer: row for row, layer in enumerate(self.layers)}
        heads = []
        for layer, head in self.best(4):
            row = at[layer]
            heads.append(
                f"{layer}.{head} {self.value[row, head]:.3f} [{self.low[row, head]:.3f}, {self.high[row, head]:.3f}]"
            )
        queries = "" if self.n_queries is None else f"{self.n_queries} queries of "
        less = f", {self.n_duplicates} duplicates left out" if self.n_duplicates else ""
        less += f", {self.n_refused} refused" if self.n_refused else ""
        return f"ScoreMap({self.name}, {queries}{self.n_prompts} prompts{less}): " + ", ".join(heads)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The mean of a score in one set of prompts minus that in another, for every head [layer, head].

    p is corrected for all heads together: of two random halves of one set, some head has p < .05 in one of twenty.

        >>> many = lmtt.survey(model, [[5, 6, k] for k in range(7, 11)], folder / "compared")
        >>> many.compare("number < 2", "number >= 2", times=50).p.shape
        (4, 8)
    """

    name: str
    layers: tuple[int | None, ...]
    difference: np.ndarray  # [layer, head]
    low: np.ndarray  # [layer, head], of the interval of 95 % of each head by itself
    high: np.ndarray  # [layer, head]
    t: np.ndarray  # [layer, head], Welch's
    p: np.ndarray  # [layer, head], by the largest |t| of shuffled sets
    n_prompts: tuple[int, int]

    def to_dict(self) -> list[dict[str, Any]]:
        """One record per head, ready for a data frame."""
        names = ("difference", "low", "high", "t", "p")
        return [
            {"layer": self.layers[row], "head": head} | {n: float(getattr(self, n)[row, head]) for n in names}
            for (row, head), d in np.ndenumerate(self.difference)
            if not np.isnan(d)
        ]

    def to_frame(self) -> Any:
        """The same as a data frame of Polars or pandas."""
        return frame(self.to_dict())

    def __repr__(self) -> str:
        found = sorted((r for r in self.to_dict() if r["p"] < 0.05), key=lambda r: r["p"])
        said = ", ".join(f"{r['layer']}.{r['head']} {r['difference']:+.3f} (p {r['p']:.3f})" for r in found[:4])
        return (
            f"Comparison({self.name}, {self.n_prompts[0]} and {self.n_prompts[1]} prompts): {said or 'no difference'}"
        )


def scattered(found: Interval | Differences, there: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a result [cell] as maps [layer, head]: there, bool, says where the cells belong."""
    maps = {}
    for name in found.__dataclass_fields__:
        values = getattr(found, name)
        if isinstance(values, np.ndarray):
            maps[name] = on_map(values, there)
    return maps


def on_map(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Values [cell] as a map [layer, head], NaN (or False) elsewhere."""
    made = np.zeros(there.shape, bool) if values.dtype == bool else np.full(there.shape, np.nan)
    made[there] = values
    return made
