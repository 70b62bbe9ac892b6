"""How the rows of a leaf enter a state: frozen steps on one row at a time, and the row each is added to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scale:
    factor: Tensor  # [], [1, d_model], [row, 1] or [row, d_model]; frozen at its value in this forward pass


@dataclass(frozen=True)
class Center:
    """Subtraction of the mean over d_model; of sizes, which cannot cancel, its addition."""

    sign: int = -1


@dataclass(frozen=True)
class Path:
    """How the rows of a leaf enter a state: frozen steps, then the row of the state each one is added to."""

    steps: tuple[Scale | Center, ...] = ()
    rows: Tensor | None = None  # [leaf row] -> row of the state, -1: dropped; None: the same row
    shifted: bool = False  # the rows are added to other tokens than those they were made at
    picked: bool = False  # an index says where each row is added (experts), be it all where they were

    def apply(self, x: Tensor, row: int | None = None) -> Tensor:
        """The steps applied to x [row, d_model], or to vectors x [..., d_model] that all belong to leaf row `row`."""
        for step in self.steps:
            if isinstance(step, Center):
                x = x + step.sign * x.mean(-1, keepdim=True)
                continue
            factor = step.factor.to(x.device, x.dtype)
            if row is not None and factor.ndim == 2:
                factor = factor[row if factor.shape[0] > 1 else 0]
            x = x * factor
        return x

    def total(self, x: Tensor, n_rows: int) -> Tensor:
        """What a leaf of values x [leaf row, d_model] adds to each of the state's rows: [row, d_model]."""
        y = self.apply(x)
        if self.rows is None:
            return y if y.shape[0] == n_rows else y.repeat(n_rows // y.shape[0], 1)
        rows = self.rows.to(y.device)
        to = torch.where(rows < 0, n_rows, rows)  # what is dropped, to a row of its own: nobody waits for how many
        return y.new_zeros(n_rows + 1, y.shape[-1]).index_add_(0, to, y)[:n_rows]

    def of_sizes(self) -> Path:
        """How large at most what enters can be, as a path of the leaf's absolute values."""
        sizes = (Center(1) if isinstance(s, Center) else Scale(abs(s.factor * 1)) for s in self.steps)  # of masks, too
        return replace(self, steps=tuple(sizes))

    def factor(self, row: int) -> float | None:
        """The product of the steps that are one number for leaf row `row` (a routing weight, a multiplier), if any."""
        numbers = [
            float(s.factor if s.factor.ndim == 0 else s.factor[row, 0])
            for s in self.steps
            if isinstance(s, Scale) and (s.factor.ndim == 0 or (s.factor.shape[1] == 1 and s.factor.shape[0] > row))
        ]
        return math.prod(numbers) if numbers else None

    def described(self, row: int) -> list[str]:
        """The steps in words, as they are for leaf row `row`."""
        words = []
        for step in self.steps:
            if isinstance(step, Center):
                words.append("minus its mean")
            elif step.factor.ndim == 0 or step.factor.shape[1] == 1:
                f = step.factor if step.factor.ndim == 0 else step.factor[row if step.factor.shape[0] > 1 else 0, 0]
                words.append(f"times {float(f):.3g}")
            else:
                words.append("times a frozen factor per coordinate")
        return words

    def leaf_rows(self, row: int) -> list[int]:
        """The rows of the leaf that are added to this row of the state."""
        return [row] if self.rows is None else (self.rows == row).nonzero().reshape(-1).tolist()

    def per_query(self) -> tuple[Path, Tensor | None] | None:
        """The steps that are the same for all rows, and the product [row] of those that are one number per row.

        None if some step has a factor per row and coordinate, which commutes with nothing.
        """
        shared: list[Scale | Center] = []
        factor: Tensor | None = None
        for step in self.steps:
            if isinstance(step, Center) or step.factor.ndim == 0 or step.factor.shape[0] == 1:
                shared.append(step)
            elif step.factor.shape[1] == 1:
                factor = step.factor[:, 0] if factor is None else factor * step.factor[:, 0]
            else:
                return None
        return Path(tuple(shared)), factor

    def scaled(self, factor: Tensor | float, shape: tuple[int, ...]) -> Path:
        if not isinstance(factor, Tensor):
            return (
                self
                if factor == 1
                else replace(self, steps=(*self.steps, Scale(torch.tensor(float(factor), dtype=torch.float64))))
            )
        if factor.numel() == 1:
            factor = factor.reshape(())
        elif all(n == 1 for n in factor.shape[:-1]):
            factor = factor.reshape(1, -1)
        else:
            factor = factor.expand(*shape[:-1], factor.shape[-1]).reshape(-1, factor.shape[-1])
            if self.rows is not None:
                factor = factor[self.rows.clamp_min(0).to(factor.device)]
        return replace(self, steps=(*self.steps, Scale(factor)))

    def centered(self) -> Path:
        return replace(self, steps=(*self.steps, Center()))

    def moved(self, mapping: Tensor, shifted: bool = False, picked: bool = False) -> Path:
        """The same rows, each added where `mapping` [row] says."""
        rows = mapping if self.rows is None else torch.where(self.rows >= 0, mapping[self.rows.clamp_min(0)], -1)
        return replace(self, rows=rows, shifted=self.shifted or shifted, picked=self.picked or picked)
