"""Values of the residual stream as one row per token, also where a model runs several streams beside each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from .paths import Center, Path, Scale


@dataclass(frozen=True)
class Streams:
    """How the rows of a value of the residual stream are laid out: one per token and parallel stream."""

    n: int = 1
    n_tokens: int = 0
    shape: tuple[int, ...] = ()  # of the value
    token_first: bool = True  # the rows of a token follow each other; else those of a stream

    @classmethod
    def of(cls, shape: tuple[int, ...], n_tokens: int, width: int = 0) -> Streams | None:
        """The layout of a value of this shape, or None if it is none of `n_tokens` tokens.

        width: of one stream, where several may stand side by side in the last axis.
        """
        match shape:
            case (1, pos, d) | (pos, 1, d) if pos == n_tokens:
                return cls(d // width if width else 1, n_tokens, shape)
            case (1, pos, n, _) if pos == n_tokens:
                return cls(n, n_tokens, shape)
            case (n, 1, pos, _) if pos == n_tokens:
                return cls(n, n_tokens, shape, token_first=False)
        return None

    @property
    def width(self) -> int:
        """Of one stream: d_model."""
        return math.prod(self.shape) // (self.n * self.n_tokens)

    def rows(self, value: Tensor) -> Tensor:
        """One vector per token, its streams one after the other: [pos, stream * d_model]."""
        value = value.detach()
        if not self.token_first:
            value = value.permute(1, 2, 0, 3)
        return value.reshape(-1, self.n * self.width)

    def shaped(self, rows: Tensor) -> Tensor:
        """The inverse of `rows`; a value of one stream only is put into all of them."""
        if rows.shape[-1] != self.n * self.width:
            rows = rows.repeat(1, self.n)
        if self.token_first:
            return rows.reshape(self.shape)
        return rows.reshape(self.n_tokens, self.n, -1).transpose(0, 1).reshape(self.shape)

    def token(self, row: Tensor) -> Tensor:
        """The token that each row belongs to."""
        return row // self.n if self.token_first else row % self.n_tokens

    def stream(self, row: Tensor) -> Tensor:
        """The stream that each row belongs to."""
        return row % self.n if self.token_first else row // self.n_tokens


@dataclass(frozen=True)
class Spread:
    """The paths of one leaf from or into several parallel streams, taken together: what `Path` is for one stream."""

    paths: tuple[Path, ...]
    leaf: Streams | None  # the leaf's layout; None: its rows are no tokens (one expert's)
    state: Streams

    @property
    def steps(self) -> tuple[Spread]:
        return (self,)

    @property
    def shifted(self) -> bool:
        return any(p.shifted for p in self.paths)

    @property
    def picked(self) -> bool:
        return any(p.picked for p in self.paths)

    @cached_property
    def rows(self) -> Tensor | None:
        """[leaf row] -> token; None: the same."""
        if self.leaf is not None:
            return None
        into = torch.stack([self._into(p) for p in self.paths]).amax(0)
        tokens = torch.where(into >= 0, self.state.token(into), -1)
        same = len(tokens) == self.state.n_tokens and bool((tokens == torch.arange(len(tokens)).to(tokens)).all())
        return None if same else tokens

    def apply(self, x: Tensor, row: int | None = None) -> Tensor:
        """x [leaf row, stream * d_model], or vectors [..., stream * d_model] of one leaf row, as they enter."""
        n_in = self.leaf.n if self.leaf else 1
        width = x.shape[-1] // n_in
        x = x.reshape(*x.shape[:-1], n_in, width)
        out = x.new_zeros(*x.shape[:-2], self.state.n, width)
        for path in self.paths:
            into = self._into(path).to(x.device)
            stream = torch.where(into >= 0, self.state.stream(into), -1)
            for s in range(n_in):
                leaf_rows = self._leaf_rows(s, len(into), x.device)
                if row is not None:
                    r = int(leaf_rows[row])
                    if stream[r] >= 0:
                        out[..., stream[r], :] += path.apply(x[..., s, :], r)
                    continue
                y = replace(path, steps=tuple(_of_rows(step, leaf_rows) for step in path.steps)).apply(x[:, s])
                to = stream[leaf_rows]
                keep = to >= 0
                out.index_put_((keep.nonzero()[:, 0], to[keep]), y[keep], accumulate=True)
        return out.flatten(-2)

    def total(self, x: Tensor, n_rows: int) -> Tensor:
        """What a leaf of values x adds to each of the state's tokens: [pos, stream * d_model]."""
        return Path(rows=self.rows).total(self.apply(x), n_rows)

    def of_sizes(self) -> Spread:
        return replace(self, paths=tuple(p.of_sizes() for p in self.paths))

    def leaf_rows(self, row: int) -> list[int]:
        return Path(rows=self.rows).leaf_rows(row)

    def factor(self, _row: int) -> None:
        return None

    def described(self, _row: int) -> list[str]:
        return [f"from {self.leaf.n if self.leaf else 1} into {self.state.n} parallel streams, by frozen weights"]

    def per_query(self) -> None:
        return None

    def _into(self, path: Path) -> Tensor:
        if path.rows is not None:
            return path.rows
        assert self.leaf is not None
        return torch.arange(self.leaf.n * self.leaf.n_tokens)

    def _leaf_rows(self, stream: int, n_rows: int, device: torch.device) -> Tensor:
        every = torch.arange(n_rows, device=device)
        if self.leaf is None or self.leaf.n == 1:
            return every
        mine = every[self.leaf.stream(every) == stream]
        return mine[self.leaf.token(mine).argsort()]


def _of_rows(step: Scale | Center, rows: Tensor) -> Scale | Center:
    """The step as it is for some of the leaf's rows."""
    if isinstance(step, Center) or step.factor.ndim == 0 or step.factor.shape[0] == 1:
        return step
    return Scale(step.factor[rows.to(step.factor.device)])
