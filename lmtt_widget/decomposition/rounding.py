"""How far a sum misses its whole, measured against what rounding can explain."""

from __future__ import annotations

import torch
from torch import Tensor


def backward_error(whole: Tensor, total: Tensor, size: Tensor, axes: tuple[int, ...] = ()) -> Tensor:
    """The largest |whole - total| / (|whole| + size) over some axes, by default all: without waiting for the device.

    size: the sizes of the summands added up, sum |summand|, at each coordinate. Rounding makes this a few units of the
    last place, however much the summands cancel; a part that is missing makes it near 1 at every coordinate where
    nothing else is as large, whatever the size of other coordinates. (Higham 2002, Accuracy and Stability of Numerical
    Algorithms, section 4.2.)
    """
    wide = torch.promote_types(whole.dtype, torch.float32)
    # Below the smallest normal number there are no more units of the last place.
    size = size.to(whole.device, wide) + torch.finfo(whole.dtype).tiny
    whole = whole.to(wide)
    missed = (total.to(whole.device, wide) - whole).abs_() / size.add_(whole.abs())
    return missed.amax(axes) if axes else missed.max()
