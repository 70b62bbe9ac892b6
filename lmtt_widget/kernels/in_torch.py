"""The proximities of a tile in plain torch, on any device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .tiles import Sums, Tile

_LIST = 1 << 20  # numbers gathered at a time
_AT_ONCE = 8  # coordinates looked at for all vectors in one call
_FIRST = (0, 8, 16, 32, 64)  # how many that may be in all
_ONE_BY_ONE = 2000  # looking at one vector by itself costs about as much as so many in a row


def overshoot(weight: Tensor, ov: Tensor, sign: Tensor, size: Tensor, unit: Tensor) -> Tensor:
    """sum_c max(0, sign(y_c) z_c - |y_c|) of vectors z = weight * ov * unit: [n] of [n, c]."""
    return ((weight[:, None] * ov * sign - size).clamp_min(0) * unit).sum(-1)


def first_overshoot(
    over: Tensor, z: Tensor, weight: Tensor, turned: Tensor, order: Tensor, sign: Tensor, size: Tensor, unit: Tensor
) -> None:
    """Adds the same over the first coordinates of every query [query, n] to `over`, for all vectors of a tile.

    over, weight [head, query, key], z [head, query, n, key] in which to compute, turned [head, d_model, key].
    """
    factor, level = (sign * unit)[..., None], (size * unit)[..., None]
    for n in range(0, order.shape[1], z.shape[2]):
        some = slice(n, n + z.shape[2])
        torch.index_select(turned, 1, order[:, some].reshape(-1), out=z.flatten(1, 2))
        z.mul_(weight[:, :, None]).mul_(factor[:, some]).sub_(level[:, some]).clamp_min_(0)
        over += z.sum(2)


def proximities(
    tile: Tile,
    overshoot: Callable[..., Tensor] = overshoot,
    first_overshoot: Callable[..., None] = first_overshoot,
) -> Tensor:
    """[head, query, key]"""
    whole, ov = tile.whole, tile.ov
    d_model = ov.value.shape[-1]
    if ov.by_coordinate is None or ov.reach is None:
        ov.reach = torch.maximum(ov.value.amax(-1), -ov.value.amin(-1))  # aminmax takes twenty times as long
        turned = ov.value.transpose(1, 2)
        ov.by_coordinate = tile.team.borrow("by_coordinate", tuple(turned.shape), turned).copy_(turned)
    near = tile.dot.mul_(tile.weight).clamp_min_(0)
    edge, over = (tile.team.borrow(name, tuple(near.shape), near) for name in ("edge", "over"))
    z = tile.team.borrow("z", (*near.shape[:2], _AT_ONCE, near.shape[2]), near)
    taken = near <= whole.slack[:, None]
    if near.device.type != "cpu" or bool(whole.slack.any()):  # an accelerator is not waited for
        whole.taken += torch.where(taken, near, 0).sum((0, 2))
    torch.abs(tile.weight, out=edge).mul_(ov.reach[:, None, : tile.stop]).masked_fill_(taken, 0)
    listed = whole.order.long()
    n_listed = listed.shape[1]

    n, n_far, n_long = _first(edge, whole.level)
    over.zero_()
    if n:
        c = listed[:, :n]
        sign, unit = whole.sign.gather(1, c), whole.unit[c]
        turned = ov.by_coordinate[..., : tile.stop]
        first_overshoot(over, z, tile.weight, turned, c, sign, whole.level[:, :n], unit)
    flat = ov.value.reshape(-1, d_model)
    degree = (edge > whole.level[:, n, None]).to(torch.uint8) + (edge > whole.level[:, n_listed, None])
    for most, some in zip((d_model, n_listed), _further(degree.reshape(-1), n_long, n_far), strict=True):
        for at in some.split(max(1, _LIST // most)):
            k, q, h = at % edge.shape[2], at // edge.shape[2] % edge.shape[1], at // edge[0].numel()
            row, weight = h * ov.value.shape[1] + k, tile.weight[h, q, k]
            if most == d_model:
                over[h, q, k] = overshoot(weight, flat[row], whole.sign[q], whole.size[q], whole.unit)
            else:
                c = listed[q]
                sign = whole.sign[q[:, None], c]
                over[h, q, k] = overshoot(weight, flat[row[:, None], c], sign, whole.level[q, :-1], whole.unit[c])
    return near.sub_(over.mul_(2).masked_fill_(taken, 0)).clamp_min_(0)


def add(tile: Tile, into: Sums, proximities: Callable[[Tile], Tensor] = proximities) -> None:
    """Adds the proximities of a tile to their sums."""
    near = proximities(tile)
    total, largest, top = (x[:, : tile.stop] for x in (into.sum, into.max, into.top))
    total += near.sum(0)
    into.add_heads(tile, near)
    best = near.max(0)
    top.copy_(torch.where(best.values > largest, (best.indices + tile.first_head).to(top.dtype), top))
    torch.maximum(largest, best.values, out=largest)


def smallest(size: Tensor, level: Tensor, order: Tensor) -> None:
    """The smallest numbers of each row, ascending, into `level`, and where they are into `order` (as many or less)."""
    found = size.topk(level.shape[1], largest=False)
    level.copy_(found.values)
    order.copy_(found.indices[:, : order.shape[1]])


def _further(degree: Tensor, n_long: int, n_far: int) -> tuple[Tensor, Tensor]:
    """Where vectors need all coordinates (2), and where a short list of them (1); how many there are is known."""
    if degree.device.type == "cpu":
        return (degree == 2).nonzero()[:, 0], (degree == 1).nonzero()[:, 0]
    order = degree.argsort(descending=True, stable=True)  # `nonzero` would wait for the device
    return order[:n_long], order[n_long:n_far]


def _first(edge: Tensor, level: Tensor) -> tuple[int, int, int]:
    """How many coordinates are best looked at for all vectors at once; how many vectors reach further, and how many of
    them beyond the listed ones: these are done one by one."""
    last = level.shape[1] - 1
    ns = [n for n in _FIRST if n <= last]
    *further, beyond = torch.stack([(edge > level[:, n, None]).sum() for n in (*ns, last)]).tolist()
    costs = [n * edge.numel() + _ONE_BY_ONE * more for n, more in zip(ns, further, strict=True)]
    best = costs.index(min(costs))
    return ns[best], further[best], beyond
