"""Which tensors of a tape share memory, and what the others are once one of them is written.

    x = a + b;  v = x.view(2, -1);  v += y        x is now  view(v after +=)
    x = a + b;  x[:, 3].add_(y)                   x is now  x before, with row 3 taken from the view after add_

Knows nothing of nodes, models or the residual stream: tensors in, places in memory out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def version(x: Tensor) -> int:
    """How often torch knows the memory of `x` to have been written; views share it, `.data` and numpy do not count."""
    try:
        return x._version
    except RuntimeError:  # made in inference mode, where torch does not count
        return 0


def memory(x: Tensor) -> int | None:
    """A number that tensors in the same memory share; None for tensors without memory of their own."""
    try:
        return x.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None


def span(x: Tensor) -> tuple[int, int]:
    """The first byte of `x` in its memory and the one after its last."""
    last = sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True)) if x.numel() else -1
    first = int(x.storage_offset())
    return first * x.element_size(), (first + last + 1) * x.element_size()


def overlap(x: Tensor, y: Tensor) -> bool:
    """May a write to one of two tensors in the same memory change the other?"""
    (a, b), (c, d) = span(x), span(y)
    return a < d and c < b


def is_whole_view(x: Tensor, y: Tensor) -> bool:
    """Are these the same numbers in the same order?"""
    return (
        x.dtype == y.dtype
        and x.numel() == y.numel()
        and x.storage_offset() == y.storage_offset()
        and ((x.is_contiguous() and y.is_contiguous()) or (x.shape == y.shape and x.stride() == y.stride()))
    )


def rows_from(x: Tensor, written: Tensor) -> Tensor | None:
    """[row of x] -> the row of `written` that lies at the same place, -1: none; None where rows are not whole."""
    width = x.shape[-1] if x.ndim else 0
    if x.dtype != written.dtype or not width or not written.ndim or written.shape[-1] != width:
        return None
    if width > 1 and (x.stride(-1) != 1 or written.stride(-1) != 1):
        return None
    mine, theirs = _row_starts(x), _row_starts(written)
    near = (mine[:, None] - theirs[None]).abs()
    if bool(((near > 0) & (near < width)).any()):  # rows that lie across each other
        return None
    hit, at = (near == 0).max(1)
    return torch.where(hit, at, -1)


def _row_starts(x: Tensor) -> Tensor:
    starts = torch.tensor([x.storage_offset()])
    for n, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True):
        starts = (starts[:, None] + torch.arange(n) * stride).reshape(-1)
    return starts


@dataclass
class Aliases:
    """The tensors that a tape has met, by the memory they lie in."""

    def __post_init__(self) -> None:
        self._new: list[Tensor] = []  # sorted in when something is written, which most layers never do
        self._met: dict[int, dict[int, Tensor]] = {}
        self.meet = self._new.append

    def of(self, x: Tensor) -> list[Tensor]:
        """All tensors that were met in the memory of `x`, itself included."""
        for y in self._new:
            where = memory(y)
            if where is not None:
                self._met.setdefault(where, {})[id(y)] = y
        self._new.clear()
        where = memory(x)
        return [] if where is None else [y for y in self._met.get(where, {}).values() if memory(y) == where]

    def clear(self) -> None:
        self._new.clear()
        self._met.clear()
