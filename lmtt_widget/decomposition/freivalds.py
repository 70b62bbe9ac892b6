"""Every row of a linear map checked at the price of eight columns.

y = x W is compared as y S = x (W S), where S adds up the outputs of eight blocks under random signs (Freivalds 1977):
a row that is off in one coordinate is off in that block's sum.
Knows nothing of the tape or the residual stream.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
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
    projected, reach = _projected(weight, y, owner)
    return _missed(x, y, bias, projected, reach, x if sizes is None else sizes)


def errors_of_alike(
    maps: Sequence[tuple[Tensor, Tensor, Tensor, Tensor | None, nn.Module | None]],
) -> Tensor:
    """The same of several maps of the same sizes at once: [map]; of each x, y, weight, bias, owner."""
    xs, ys, weights, biases, owners = zip(*maps, strict=True)
    x, y = torch.stack(xs), torch.stack(ys)
    seen = [_projected(w, y, owner) for w, owner in zip(weights, owners, strict=True)]
    projected, reach = (torch.stack(of) for of in zip(*seen, strict=True))
    return _missed(x, y, None if biases[0] is None else torch.stack(biases), projected, reach, x)


def _missed(x: Tensor, y: Tensor, bias: Tensor | None, projected: Tensor, reach: Tensor, added: Tensor) -> Tensor:
    """[...] of x [..., row, in], y [..., row, out], bias [..., out], projected [..., block, in], reach [..., block]."""
    wide = torch.promote_types(y.dtype, torch.float32)
    signs = _signs(y.shape[-1], y.device, wide).to(projected.device)
    # Few rows times many columns: a product of few columns takes half as long again.
    got = projected @ x.to(projected.device, wide).mT
    y = y.to(projected.device, wide)
    if bias is not None:
        bias = bias.to(got.device, wide)
        got = got + (bias @ signs.T)[..., None]
    # What is added up in float32 and then stored in half precision is rounded once, not at every step.
    once = min(1.0, torch.finfo(torch.float32).eps / torch.finfo(x.dtype).eps)
    size = once * torch.linalg.vector_norm(added.to(got.device), dim=-1, dtype=wide)[..., None, :] * reach[..., None]
    if once < 1:  # the output was rounded by itself
        size += (signs.abs() @ y.square().mT).sqrt_()
    elif bias is not None:
        size += (bias.square() @ signs.abs().T).sqrt_()[..., None]
    return backward_error((signs @ y.mT).to(x.dtype if x.dtype == torch.float64 else wide), got, size, (-2, -1))


@lru_cache(8)
def _signs(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[block, n], one sign in every column."""
    at = torch.arange(n, device=device)
    sign = 1 - 2 * ((at * 2654435761 >> 7) % 2)
    return torch.zeros(_BLOCKS, n, dtype=dtype, device=device).scatter_(0, (at % _BLOCKS)[None], sign[None].to(dtype))


def _projected(weight: Tensor, y: Tensor, owner: nn.Module | None) -> tuple[Tensor, Tensor]:
    """W S [block, in], and the norm of |W| |S| [block], for outputs like y."""
    wide = torch.promote_types(y.dtype, torch.float32)
    if weight.is_inference():
        owner = None
    state = None if owner is None else (weight.data_ptr(), weight._version, weight.shape, weight.device, wide)
    found = None if owner is None else _known.get(owner)
    if found is not None and found[0] == state:
        return found[1], found[2]
    w, signs = weight.to(wide), _signs(weight.shape[1], y.device, wide).to(weight.device)
    made = signs @ w.T, torch.linalg.vector_norm(signs.abs() @ w.abs().T, dim=-1)
    if owner is not None:
        _known[owner] = (state, *made)
    return made
