"""The proximities of every head and key of an attention write, summed over heads or one by one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from ..decomposition.layers import LinearWrite
from .tiles import tiles, whole_for

KernelName = Literal["auto", "torch", "numba", "compiled"]


@dataclass(frozen=True)
class Kernel:
    """One way to compute the same numbers."""

    name: str
    proximities: Callable[..., Tensor]
    add: Callable[..., None]
    why: str = ""  # not the one that was asked for, or that would be faster

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


@dataclass
class ProximitySums:
    """Over the heads of one attention write."""

    sum: Tensor  # [query, key]
    max: Tensor  # [query, key]
    top: Tensor  # [query, key], int16, the head with the largest
    off: Tensor  # [query], no sum of these proximities is further from the exact one


def kernel_for(device: torch.device, name: KernelName = "auto") -> Kernel:
    """The kernel of that name, or the fastest there is; plain torch with the reason where it cannot run.

    Raises ValueError for an unknown name.
    """
    if name not in ("auto", "torch", "numba", "compiled"):
        raise ValueError(f'kernel must be "auto", "numba", "compiled" or "torch", got {name!r}')
    if name == "auto":
        name = "numba" if device.type == "cpu" else "compiled"
    if name == "numba" and device.type != "cpu":
        return _torch(f"numba is for the CPU and the model is on {device}")
    return _kernel(name, device.type)


@cache
def _kernel(name: KernelName, device: str) -> Kernel:
    if name == "torch":
        return _torch()
    try:
        made: Any = importlib.import_module(f"{__package__}.in_numba" if name == "numba" else f"{__package__}.compiled")
    except ImportError as e:
        return _torch(f"numba is not installed ({e}); pip install 'lmtt-widget[fast]'")
    if name == "compiled":
        why = made.why_not(device)
        if why:
            return _torch(why)
    return Kernel(name, made.proximities, made.add)


def _torch(why: str = "") -> Kernel:
    from . import in_torch

    return Kernel("torch", in_torch.proximities, in_torch.add, why)


def proximity_sums(
    write: LinearWrite,
    whole: Tensor,
    *,
    kernel: Kernel,
    slack: Tensor | None = None,
) -> ProximitySums:
    """Sum, maximum and top head over the heads of max(0, |y|_1 - |y - z|_1), for every query and key.

    whole [query, d_model], the state y that the write enters. slack [query]: a vector z whose sign(y) . z, which is
    never less than its proximity, is not above it is taken to be that near.
    (Ferrando & Voita 2024, arXiv:2403.00824)
    """
    assert write.heads is not None
    n = len(whole)
    total = whole.new_zeros(n, n)
    largest, top = torch.zeros_like(total), torch.zeros(n, n, dtype=torch.int16, device=whole.device)
    prepared = whole_for(write, whole, slack)
    for tile in tiles(write, prepared, range(n), range(write.heads.n_heads)):
        here = slice(tile.start, tile.stop), slice(0, tile.stop)
        near = kernel.proximities(tile)
        kernel.add(near, tile.first_head, total[here], largest[here], top[here])
    return ProximitySums(total, largest, top, prepared.taken)


def head_proximities(
    write: LinearWrite, whole: Tensor, queries: range, heads: range | None = None, *, kernel: Kernel
) -> Tensor:
    """The proximity of every head's vectors at some queries: [head, query, key].

    whole [query, d_model]: the state at all queries. heads: consecutive ones; None: all.
    """
    assert write.heads is not None
    heads = range(write.heads.n_heads) if heads is None else heads
    found = whole.new_zeros(len(heads), len(queries), len(whole))
    prepared = whole_for(write, whole[queries.start : queries.stop])
    for tile in tiles(write, prepared, queries, range(heads[0], heads[-1] + 1)):
        first, row = tile.first_head - heads[0], tile.start - queries.start
        near = kernel.proximities(tile)
        found[first : first + len(near), row : row + near.shape[1], : tile.stop] = near
    return found
