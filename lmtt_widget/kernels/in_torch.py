"""The proximities of a tile in plain torch, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .tiles import Sums, Tile

_LIST = 1 << 20  # numbers gathered at a time
_AT_ONCE = 8  # coordinates looked at for all vectors in one call
_FIRST = (0, 8, 16, 32, 64)  # how many that may be in all
_RUN = 32  # numbers that are looked at together
_SAMPLED = 8  # every so manieth query tells what is best for all
_ONE_BY_ONE = 2000  # looking at one vector by itself costs about as much as so many in a row


def overshoot(weight: Tensor, ov: Tensor, sign: Tensor, size: Tensor) -> Tensor:
    """sum_c max(0, sign(y_c) z_c - |y_c|) of vectors z = weight * ov: [n] of [n, c]."""
    return (weight[:, None] * ov * sign - size).clamp_min(0).sum(-1)


def first_overshoot(
    over: Tensor, z: Tensor, weight: Tensor, turned: Tensor, order: Tensor, sign: Tensor, size: Tensor
) -> None:
    """Adds the same over the first coordinates of every query [query, n] to `over`, for all vectors of a tile.

    over, weight [.., query, key], z [.., query, n, key] in which to compute, turned [.., d_model, key]; .. is one head,
    or it is the axis of heads.
    """
    sign, size = sign[..., None], size[..., None]
    for n in range(0, order.shape[1], z.shape[-2]):
        some = slice(n, n + z.shape[-2])
        torch.index_select(turned, -2, order[:, some].reshape(-1), out=z.flatten(-3, -2))
        z.mul_(weight[..., None, :]).mul_(sign[:, some]).sub_(size[:, some]).clamp_min_(0)
        over += z.sum(-2)


def proximities(
    tile: Tile,
    overshoot: Callable[..., Tensor] = overshoot,
    first_overshoot: Callable[..., None] = first_overshoot,
) -> Tensor:
    """[head, query, key]"""
    whole, ov = tile.whole, tile.ov
    d_model, on_cpu = ov.value.shape[-1], tile.dot.device.type == "cpu"
    if ov.by_coordinate is None or ov.reach is None:
        turned = ov.value.transpose(1, 2)
        memory = tile.team.borrow("by_coordinate", tuple(turned.shape), turned)
        in_units = torch.div(ov.value, whole.unit, out=memory.view(ov.value.shape))
        ov.reach = torch.maximum(in_units.amax(-1), -in_units.amin(-1))  # aminmax takes twenty times as long
        ov.by_coordinate = memory.copy_(turned)
    near = tile.dot.mul_(tile.weight).clamp_min_(0)
    edge, over, further = (tile.team.borrow(name, tuple(near.shape), near) for name in ("edge", "over", "further"))
    is_sloppy = not on_cpu or bool(whole.slack.any())  # an accelerator is not waited for
    # 1 where a vector is looked at. Signs, because what is true or false takes torch four to forty times as long.
    above = torch.sub(near, whole.slack[:, None], out=further).clamp_min_(0) if is_sloppy else near
    compared = torch.sign(above, out=further)
    torch.abs(tile.weight, out=edge).mul_(ov.reach[:, None, : tile.stop]).mul_(compared)
    if is_sloppy:
        compared = compared.clone()  # its memory is needed
        whole.taken += (near - near * compared).sum((0, 2))
    listed, n_listed = whole.order, whole.order.shape[1]
    sign, size = (x.gather(1, listed) for x in (whole.sign, whole.size))

    n, n_far, n_long = _first(edge, whole.level)
    over.zero_()
    if n:
        given = listed[:, :n], sign[:, :n], size[:, :n]
        turned = ov.by_coordinate[..., : tile.stop]
        if on_cpu:  # one by one: what is computed stays in the cache
            z = tile.team.borrow("z", (near.shape[1], _AT_ONCE, near.shape[2]), near)
            for head in range(len(near)):
                first_overshoot(over[head], z, tile.weight[head], turned[head], *given)
        else:
            z = near.new_empty(*near.shape[:2], _AT_ONCE, near.shape[2])
            first_overshoot(over, z, tile.weight, turned, *given)
    flat = ov.value.reshape(-1, d_model)
    torch.sub(edge, whole.level[:, n, None], out=further)
    longer = _far(further, edge, whole.level[:, n_listed], n_far, n_long)
    for most, some in zip((d_model, n_listed), longer, strict=True):
        for at in some.split(max(1, _LIST // most)):
            k, q, h = at % edge.shape[2], at // edge.shape[2] % edge.shape[1], at // edge[0].numel()
            row, weight = h * ov.value.shape[1] + k, tile.weight[h, q, k]
            if most == d_model:
                over[h, q, k] = overshoot(weight, flat[row], whole.sign[q], whole.size[q])
            else:
                over[h, q, k] = overshoot(weight, flat[row[:, None], listed[q]], sign[q], size[q])
    if is_sloppy:  # without a slack, vectors that are not compared are not near anyway
        over.mul_(compared)
    return near.sub_(over.mul_(2)).clamp_min_(0)


def add(tile: Tile, into: Sums, proximities: Callable[[Tile], Tensor] = proximities) -> None:
    """Adds the proximities of a tile to their sums."""
    near = proximities(tile)
    total, largest, top = (x[:, : tile.stop] for x in (into.sum, into.max, into.top))
    total += near.sum(0)
    into.add_heads(tile, near)
    best = near.amax(0)  # with `max`, which finds the head too, most of the time would go there
    head = torch.zeros_like(best)
    for h in reversed(range(len(near))):  # of equal ones the first
        head.sub_(h).mul_((best - near[h]).sign_()).add_(h)
    better = (best - largest).sign_().clamp_min_(0)
    top.copy_(torch.lerp(top.to(best), head.add_(tile.first_head), better))
    torch.maximum(largest, best, out=largest)


def smallest(size: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the smallest numbers' places, ascending, and they themselves and the next one, infinite if none."""
    d_model = size.shape[1]
    n = min(d_model, max(16, d_model // 8))
    found = size.topk(min(n + 1, d_model), largest=False)
    level = found.values if n < d_model else torch.nn.functional.pad(found.values, (0, 1), value=math.inf)
    return found.indices[:, :n], level


def _far(further: Tensor, edge: Tensor, last: Tensor, n_far: int, n_long: int) -> tuple[Tensor, Tensor]:
    """Where vectors need all coordinates, and where a short list of them.

    further [head, query, key]: above 0 where one of the two; last [query]: the level above which `edge` needs all.
    """
    flat = further.flatten()
    if further.device.type != "cpu":  # `nonzero` would wait for the device; how many there are is known
        order = ((flat > 0).to(torch.uint8) + (edge > last[:, None]).flatten()).argsort(descending=True, stable=True)
        return order[:n_long], order[n_long:n_far]
    whole = flat.numel() // _RUN * _RUN
    runs = (flat[:whole].view(-1, _RUN).amax(1) > 0).nonzero()[:, 0]  # mostly few: these are looked at closely
    at = (runs[:, None] * _RUN + torch.arange(_RUN)).flatten()
    at = torch.cat([at, torch.arange(whole, flat.numel())])
    at = at[flat[at] > 0]
    needs_all = edge.flatten()[at] > last[at // edge.shape[2] % edge.shape[1]]
    return at[needs_all], at[~needs_all]


def _first(edge: Tensor, level: Tensor) -> tuple[int, int, int]:
    """How many coordinates are best looked at for all vectors at once; on an accelerator also how many vectors reach
    further, and how many of them beyond the listed ones: these are done one by one."""
    last = level.shape[1] - 1
    ns = [n for n in _FIRST if n <= last]
    if edge.device.type == "cpu":  # some queries tell as well
        edge, level = edge[:, ::_SAMPLED], level[::_SAMPLED]
    *further, beyond = torch.stack([(edge > level[:, n, None]).sum() for n in (*ns, last)]).tolist()
    costs = [n * edge.numel() + _ONE_BY_ONE * more for n, more in zip(ns, further, strict=True)]
    best = costs.index(min(costs))
    return ns[best], further[best], beyond
