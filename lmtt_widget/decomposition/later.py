"""Small checks of layers that are alike, made at once: in a small model each call costs more than its numbers.

A check that waits has NaN for its error, which nothing passes. Knows nothing of the tape.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

import torch
from torch import Tensor, nn

from .freivalds import errors_of_alike
from .heads import FEW, check_heads
from .mapped import map_error
from .writes import LinearWrite

_SMALL = 1 << 16  # numbers of one write that are compared
_MOST = 1 << 21  # of all that are compared at once


class Later:
    """The writes whose heads and maps are still to be compared with what the model made of them."""

    def __init__(self, n_tokens: int, check_rows: list[int] | None, waits: bool = True) -> None:
        self.n_tokens, self.check_rows, self.waits = n_tokens, check_rows, waits
        self._heads: list[LinearWrite] = []
        self._maps: list[LinearWrite] = []

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
        if self.waits and few and not w.map.group and w.map.weight() is not None:
            self._maps.append(w)
        else:
            w.error = map_error(w, self.n_tokens, self.check_rows)

    def compare(self) -> None:
        """Makes the checks that wait."""
        heads, self._heads, maps, self._maps = self._heads, [], self._maps, []
        for some in _alike(heads, _kind_of_heads, lambda w: w.input.numel() + w.heads.n_heads * self.n_tokens**2):  # type: ignore[union-attr]
            z = torch.stack([w.input.reshape(self.n_tokens, -1) for w in some])
            check_heads([w.heads for w in some if w.heads is not None], z, self.check_rows)
        for some in _alike(maps, _kind_of_map, lambda w: w.input.numel() + w.output.numel()):
            found = errors_of_alike([_of_map(w) for w in some])
            for w, error in zip(some, found.unbind(), strict=True):
                w.error = error


def _alike(
    writes: list[LinearWrite], kind: Callable[[LinearWrite], Hashable], size: Callable[[LinearWrite], int]
) -> Iterator[list[LinearWrite]]:
    """Those of one kind together, as many as are compared at once."""
    groups: dict[Hashable, list[LinearWrite]] = {}
    for w in writes:
        groups.setdefault(kind(w), []).append(w)
    for group in groups.values():
        step = max(1, _MOST // max(1, size(group[0])))
        yield from (group[k : k + step] for k in range(0, len(group), step))


def _kind_of_heads(w: LinearWrite) -> Hashable:
    p = w.heads.products[0]  # type: ignore[union-attr]
    if p.scores is None:
        return _layout(w.input), _layout(p.value), _layout(p.made)
    query, key, mask, causal, scale = p.scores
    same = None if mask is None else (mask.data_ptr(), mask.stride())  # whatever was written there has other memory
    return _layout(w.input), _layout(p.value), _layout(query), _layout(key), _layout(mask), same, causal, scale


def _kind_of_map(w: LinearWrite) -> Hashable:
    x, y, weight, bias, _ = _of_map(w)
    return _layout(x), _layout(y), _layout(weight), _layout(bias)


def _layout(x: Tensor | None) -> Hashable:
    return None if x is None else (x.shape, x.dtype, x.device)


def _of_map(w: LinearWrite) -> tuple[Tensor, Tensor, Tensor, Tensor | None, nn.Module | None]:
    weight, owner = w.map.weight(), w.map.module
    assert weight is not None
    return w.input, w.output, weight, w.map.bias(w.input), owner if isinstance(owner, nn.Module) else None
