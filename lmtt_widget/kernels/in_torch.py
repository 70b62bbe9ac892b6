"""The proximities of a tile in plain torch, on any device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .tiles import Tile

_LIST = 1 << 20  # numbers gathered at a time

Overshoot = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def overshoot(weight: Tensor, ov: Tensor, sign: Tensor, size: Tensor, unit: Tensor) -> Tensor:
    """sum_c max(0, sign(y_c) z_c - |y_c|) of vectors z = weight * ov * unit: [n] of [n, c]."""
    return ((weight[:, None] * ov * sign - size).clamp_min(0) * unit).sum(-1)


def proximities(tile: Tile, overshoot: Overshoot = overshoot) -> Tensor:
    """[head, query, key]"""
    whole, d_model = tile.whole, tile.ov.value.shape[-1]
    near = (tile.weight * tile.dot).clamp_min_(0)
    slack = whole.slack[:, None]
    taken = near <= slack
    whole.taken += torch.where(taken, near, 0).sum((0, 2))
    ov = tile.ov
    if ov.reach is None:
        low, high = ov.value.aminmax(dim=-1)
        ov.reach = torch.maximum(high, -low)
    edge = tile.weight.abs() * ov.reach[:, None, : tile.stop]
    edge.masked_fill_(taken, 0)
    n_keys = tile.ov.value.shape[1]
    flat = tile.ov.value.reshape(-1, d_model)
    n_listed = whole.order.shape[1]
    done = 0
    for n in (*(n for n in (4, 16, 64) if n < n_listed), n_listed, d_model):
        low = whole.level[:, done, None]
        some = edge > low if n == d_model else (edge > low) & (edge <= whole.level[:, n, None])
        head, query, key = some.nonzero(as_tuple=True)
        for at in torch.arange(len(head), device=head.device).split(max(1, _LIST // n)):
            h, q, k = head[at], query[at], key[at]
            row = h * n_keys + k
            weight, lin = tile.weight[h, q, k], near[h, q, k]
            if n == d_model:
                over = overshoot(weight, flat[row], whole.sign[q], whole.size[q], whole.unit)
            else:
                c = whole.order[q, :n].long()
                over = overshoot(
                    weight, flat[row[:, None], c], whole.sign[q[:, None], c], whole.level[q, :n], whole.unit[c]
                )
            near[h, q, k] = (lin - 2 * over).clamp_min_(0)
        if n == n_listed == d_model:
            break
        done = n
    return near


def add(near: Tensor, first_head: int, total: Tensor, largest: Tensor, top: Tensor) -> None:
    """Adds proximities [head, query, key] to their sum, maximum and top head [query, key], in place."""
    total += near.sum(0)
    best = near.max(0)
    better = best.values > largest
    top.copy_(torch.where(better, (best.indices + first_head).to(top.dtype), top))
    torch.maximum(largest, best.values, out=largest)
