"""Every row of a linear map checked at the price of eight columns.

y = x W is compared as y S = x (W S), where S adds up the outputs of eight blocks under random signs (Freivalds 1977):
a row that is off in one coordinate is off in that block's sum.
Knows nothing of the tape or the residual stream.
"""

from __future__ import annotations

import weakref
from functools import lru_cache

import torch
from torch import Tensor, nn

from .rounding import backward_error

_BLOCKS = 8
_known: weakref.WeakKeyDictionary[nn.Module, tuple[object, Tensor, Tensor]] = weakref.WeakKeyDictionary()


def row_errors(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, owner: nn.Module | None, sizes: Tensor | None = None
) -> Tensor:
    """The backward error of y = x W + b over all rows: []; x [row, in], y [row, out], weight [in, out].

    owner: the module whose weight it is; what was computed of it is kept until it is written again. sizes: of what was
    added up to make x, [row, in], if that is more than x itself.
    """
    wide = torch.promote_types(y.dtype, torch.float32)
    signs = _signs(weight.shape[1], y.device, wide)
    projected, reach = _projected(weight, signs, owner)
    # Few rows times many columns: a product of few columns takes half as long again.
    got = projected @ x.to(projected.device, wide).T
    y = y.to(projected.device, wide)
    if bias is not None:
        got = got + (signs @ bias.to(got.device, wide))[:, None]
    # What is added up in float32 and then stored in half precision is rounded once, not at every step.
    once = min(1.0, torch.finfo(torch.float32).eps / torch.finfo(x.dtype).eps)
    added = x if sizes is None else sizes
    size = once * torch.linalg.vector_norm(added.to(got.device), dim=-1, dtype=wide) * reach[:, None]
    if once < 1:  # the output was rounded by itself
        size += (signs.abs() @ y.square().T).sqrt_()
    elif bias is not None:
        size += (signs.abs() @ bias.to(got.device, wide).square()).sqrt_()[:, None]
    return backward_error((signs @ y.T).to(x.dtype if x.dtype == torch.float64 else wide), got, size)


@lru_cache(8)
def _signs(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[block, n], one sign in every column."""
    at = torch.arange(n, device=device)
    sign = 1 - 2 * ((at * 2654435761 >> 7) % 2)
    return torch.zeros(_BLOCKS, n, dtype=dtype, device=device).scatter_(0, (at % _BLOCKS)[None], sign[None].to(dtype))


def _projected(weight: Tensor, signs: Tensor, owner: nn.Module | None) -> tuple[Tensor, Tensor]:
    """W S [block, in], and the norm of |W| |S| [block]."""
    if weight.is_inference():
        owner = None
    state = None if owner is None else (weight.data_ptr(), weight._version, weight.shape, weight.device, signs.dtype)
    found = None if owner is None else _known.get(owner)
    if found is not None and found[0] == state:
        return found[1], found[2]
    w, signs = weight.to(signs.dtype), signs.to(weight.device)
    made = signs @ w.T, torch.linalg.vector_norm(signs.abs() @ w.abs().T, dim=-1)
    if owner is not None:
        _known[owner] = (state, *made)
    return made
