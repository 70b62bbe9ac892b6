"""Every row of a linear map checked at the price of sixteen columns.

y = x W is compared as y S = x (W S), where S adds up the outputs of sixteen blocks under random signs (Freivalds 1977):
a row that is off in one coordinate is off in that block's sum.
Knows nothing of the tape or the residual stream.
"""

from __future__ import annotations

import weakref
from functools import lru_cache

import torch
from torch import Tensor, nn

from .rounding import backward_error

_BLOCKS = 16
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
    got = x.to(projected.device, wide) @ projected
    y = y.to(projected.device, wide)
    if bias is not None:
        got = got + bias.to(got.device, wide) @ signs
    # What is added up in float32 and then stored in half precision is rounded once, not at every step.
    once = min(1.0, torch.finfo(torch.float32).eps / torch.finfo(x.dtype).eps)
    added = x if sizes is None else sizes
    size = once * torch.linalg.vector_norm(added.to(got.device), dim=-1, keepdim=True, dtype=wide) * reach
    if once < 1:  # the output was rounded by itself
        size += (y.square() @ signs.abs()).sqrt_()
    elif bias is not None:
        size += (bias.to(got.device, wide).square() @ signs.abs()).sqrt_()
    return backward_error((y @ signs).to(x.dtype if x.dtype == torch.float64 else wide), got, size)


@lru_cache(8)
def _signs(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[n, block], one sign in every row."""
    at = torch.arange(n, device=device)
    sign = 1 - 2 * ((at * 2654435761 >> 7) % 2)
    return torch.zeros(n, _BLOCKS, dtype=dtype, device=device).scatter_(
        1, (at % _BLOCKS)[:, None], sign[:, None].to(dtype)
    )


def _projected(weight: Tensor, signs: Tensor, owner: nn.Module | None) -> tuple[Tensor, Tensor]:
    """W S [in, block], and the norm of |W| |S| [block]."""
    if weight.is_inference():
        owner = None
    state = None if owner is None else (weight.data_ptr(), weight._version, weight.shape, weight.device, signs.dtype)
    found = None if owner is None else _known.get(owner)
    if found is not None and found[0] == state:
        return found[1], found[2]
    w = weight.to(signs.dtype)
    made = w @ signs.to(w.device), torch.linalg.vector_norm(w.abs() @ signs.abs().to(w.device), dim=0)
    if owner is not None:
        _known[owner] = (state, *made)
    return made
