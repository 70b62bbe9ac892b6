"""Small checks of layers that are alike, made at once: in a small model each call costs more than its numbers.

A check that waits has NaN for its error, which nothing passes. Knows nothing of the tape.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from .freivalds import errors_of_alike
from .heads import FEW, check_heads
from .mapped import map_error
from .writes import LinearWrite

_T = TypeVar("_T")
_SMALL = 1 << 16  # numbers of one write that are compared
TOGETHER = 1 << 18  # of all that are compared at once


class Later:
    """The writes whose heads and maps are still to be compared with what the model made of them."""

    def __init__(self, n_tokens: int, check_rows: list[int] | None, waits: bool = True) -> None:
        self.n_tokens, self.check_rows, self.waits = n_tokens, check_rows, waits
        self._heads: list[LinearWrite] = []
        self._maps: list[_Map] = []

    def heads(self, w: LinearWrite) -> None:
        """Checks the heads of a write, now or when `compare` is called."""
        assert w.heads is not None
        if self.waits and self.n_tokens <= FEW and w.heads.is_plain and w.input.numel() <= _SMALL:
            self._heads.append(w)
        else:
            check_heads([w.heads], w.input.reshape(1, self.n_tokens, -1), self.check_rows)

    def map(self, w: LinearWrite) -> None:
        """The same of `input W + b = output`."""
        few = 0 < w.input.numel() <= _SMALL and w.output.numel() <= _SMALL and self.check_rows is not None
        weight = w.map.weight() if self.waits and few and not w.map.group else None
        if weight is None:
            w.error = map_error(w, self.n_tokens, self.check_rows)
        else:
            owner = w.map.module if isinstance(w.map.module, nn.Module) else None
            self._maps.append(_Map(w, weight, w.map.bias(w.input), owner))

    def compare(self) -> None:
        """Makes the checks that wait."""
        heads, self._heads, maps, self._maps = self._heads, [], self._maps, []
        for some in alike(heads, kind_of_heads, lambda w: w.input.numel() + w.heads.n_heads * self.n_tokens**2):  # type: ignore[union-attr]
            z = torch.stack([w.input.reshape(self.n_tokens, -1) for w in some])
            check_heads([w.heads for w in some if w.heads is not None], z, self.check_rows)
        for same in alike(maps, _kind_of_map, lambda m: m.write.input.numel() + m.write.output.numel()):
            found = errors_of_alike([(m.write.input, m.write.output, m.weight, m.bias, m.owner) for m in same])
            for m, error in zip(same, found.unbind(), strict=True):
                m.write.error = error


@dataclass(frozen=True, eq=False)
class _Map:
    write: LinearWrite
    weight: Tensor
    bias: Tensor | None
    owner: nn.Module | None


def alike(
    waiting: list[_T], kind: Callable[[_T], Hashable], size: Callable[[_T], int], most: int = TOGETHER
) -> Iterator[list[_T]]:
    """Those of one kind together, as many as `most` numbers are."""
    groups: dict[Hashable, list[_T]] = {}
    for x in waiting:
        groups.setdefault(kind(x), []).append(x)
    for group in groups.values():
        step = max(1, most // max(1, size(group[0])))
        yield from (group[k : k + step] for k in range(0, len(group), step))


def kind_of_heads(w: LinearWrite) -> Hashable:
    p = w.heads.products[0]  # type: ignore[union-attr]
    if p.scores is None:
        return layout(w.input), layout(p.value), layout(p.made)
    query, key, mask, causal, scale = p.scores
    same = None if mask is None else (mask.data_ptr(), mask.stride())  # whatever was written there has other memory
    return layout(w.input), layout(p.value), layout(query), layout(key), layout(mask), same, causal, scale


def _kind_of_map(m: _Map) -> Hashable:
    return layout(m.write.input), layout(m.write.output), layout(m.weight), layout(m.bias)


def layout(x: Tensor | None) -> Hashable:
    return None if x is None else (x.shape, x.dtype, x.device)
