"""The proximities of a tile in machine code, where numba is installed: for the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import torch
from torch import Tensor

from .tiles import OV, Tile

_KEYS = 64  # OV outputs of this many keys stay in the cache
_LISTED = 32  # at most this many coordinates are worth a look at all keys
_ALONE = 1 << 14  # below this many numbers a second thread does not pay

_ROUNDING = {"reassoc", "contract", "nsz", "nnan"}  # not "ninf": the last level of a query may be infinite


def proximities(tile: Tile) -> Tensor:
    """[head, query, key]"""
    w, ov = tile.whole, tile.ov
    if ov.by_coordinate is None:
        _prepare(ov)
    given: list[Any] = [tile.dot, tile.weight, ov.value, ov.by_coordinate, ov.reach]
    given += [w.sign, w.size, w.order, w.level, w.slack, w.taken, w.unit, w.unit.new_empty(tile.dot.shape[1], 2, _KEYS)]
    _in_threads(_proximities, tile.dot.shape[1], tile.dot.numel(), [*(x.numpy() for x in given), tile.start])
    return tile.dot


def add(near: Tensor, first_head: int, total: Tensor, largest: Tensor, top: Tensor) -> None:
    """Adds proximities [head, query, key] to their sum, maximum and top head [query, key], in place."""
    given = [near.numpy(), first_head, total.numpy(), largest.numpy(), top.numpy()]
    _in_threads(_add, near.shape[1], near.numel(), given)


def _prepare(ov: OV) -> None:
    """The OV outputs of `_KEYS` keys at a time with the keys together: [head, block, d_model, key]; and their reach."""
    n_heads, n_keys, d_model = ov.value.shape
    n_blocks = -(-n_keys // _KEYS)
    ov.by_coordinate = ov.value.new_empty(n_heads, n_blocks, d_model, _KEYS)
    ov.reach = ov.value.new_empty(n_heads, n_keys)
    given = [ov.value.numpy(), ov.by_coordinate.numpy(), ov.reach.numpy()]
    _in_threads(_turned, n_heads * n_blocks, ov.value.numel(), given)


def _in_threads(work: Callable[..., None], n: int, n_numbers: int, given: list[Any]) -> None:
    """Python threads and no parallel loops of numba: those end the process when two notebooks' threads enter them."""
    n_threads = min(torch.get_num_threads(), n)
    if n_numbers < _ALONE or n_threads == 1:
        return work(*given, 0, n)
    ends = [n * i // n_threads for i in range(n_threads + 1)]
    others = [_threads().submit(work, *given, *ends[i : i + 2]) for i in range(1, n_threads)]
    work(*given, *ends[:2])
    for other in others:
        other.result()
    return None


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "lmtt")


def _machine_code(f: Callable[..., None]) -> Any:
    """Compiled when first called, and kept on disk where a folder can be written."""
    try:
        return numba.njit(nogil=True, cache=True, fastmath=_ROUNDING)(f)
    except RuntimeError:  # no folder that can be written: compiled anew in every process
        return numba.njit(nogil=True, fastmath=_ROUNDING)(f)


@_machine_code
def _turned(ov, turned, reach, start, stop):  # type: ignore[no-untyped-def]
    """[head, key, d_model] -> [head, block, d_model, key] and the largest |ov|, for some of the blocks of all heads."""
    n_blocks, d_model, n_keys = turned.shape[1:]
    zero = ov.dtype.type(0)
    for i in range(start, stop):
        h, b = i // n_blocks, i % n_blocks
        n = min(n_keys, ov.shape[1] - b * n_keys)
        turned[h, b, :, n:] = zero
        for k in range(n):
            row, largest = ov[h, b * n_keys + k], zero
            for c in range(d_model):
                x = abs(row[c])
                largest = x if x > largest else largest
            reach[h, b * n_keys + k] = largest
        for c in range(0, d_model - 7, 8):  # eight at a time, so that whole cache lines are read
            for k in range(n):
                x = ov[h, b * n_keys + k, c : c + 8]
                x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
                to = turned[h, b, c : c + 8, k]
                to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7] = x0, x1, x2, x3, x4, x5, x6, x7
        for c in range(d_model - d_model % 8, d_model):
            for k in range(n):
                turned[h, b, c, k] = ov[h, b * n_keys + k, c]


@_machine_code
def _rest(over, weight, ov, edge, done, sign, size, order, level, unit):  # type: ignore[no-untyped-def]
    """The overshoot of one vector, of which the coordinates before `done` are in `over`."""
    zero = ov.dtype.type(0)
    if edge <= level[len(order)]:
        while done < len(order) and level[done] < edge:
            c = order[done]
            x = weight * ov[c] * sign[c] - level[done]
            over += unit[c] * (x if x > zero else zero)
            done += 1
        return over
    over = zero
    for c in range(len(ov)):
        x = weight * ov[c] * sign[c] - size[c]
        over += unit[c] * (x if x > zero else zero)
    return over


@_machine_code
def _proximities(  # type: ignore[no-untyped-def]
    dot, weight, ov, turned, reach, sign, size, order, level, slack, taken, unit, scratch, first, start, stop
):
    """Proximities of queries start..stop of a tile that begins at query `first`, in place of `dot`."""
    n_heads, _, n_keys = dot.shape
    n_listed, block = order.shape[1], turned.shape[3]
    zero = dot.dtype.type(0)
    for h in range(n_heads):
        for b in range(turned.shape[1]):
            k0 = b * block
            for q in range(start, stop):
                n = min(block, n_keys - k0)
                if first + q < k0:
                    dot[h, q, k0 : k0 + n] = zero
                    continue
                near, w, far = dot[h, q, k0 : k0 + n], weight[h, q, k0 : k0 + n], reach[h, k0 : k0 + n]
                edge, over = scratch[q, 0, :n], scratch[q, 1, :n]
                small = slack[q]
                for k in range(n):  # short loops: each becomes vector instructions
                    lin = w[k] * near[k]
                    near[k] = lin if lin > zero else zero
                for k in range(n):
                    edge[k] = abs(w[k]) * far[k] if near[k] > small else zero
                if small > zero:
                    skipped = zero
                    for k in range(n):
                        skipped += near[k] if near[k] <= small else zero
                    taken[q] += skipped
                reached = widest = zero
                for k in range(n):
                    reached += edge[k]
                for k in range(n):
                    widest = edge[k] if edge[k] > widest else widest
                if widest <= level[q, 0]:
                    continue
                for k in range(n):
                    over[k] = zero
                # All keys at once for the first few coordinates, then one by one those that reach further.
                usual = min(widest, 8 * reached / n)
                done = 0
                while done < min(n_listed, _LISTED) and level[q, done] < usual:
                    c = order[q, done]
                    s, at, u, column = sign[q, c], level[q, done], unit[c], turned[h, b, c]
                    for k in range(n):
                        x = w[k] * s * column[k] - at
                        over[k] += u * (x if x > zero else zero)
                    done += 1
                if widest > level[q, done]:
                    for k in range(n):
                        if edge[k] > level[q, done]:
                            over[k] = _rest(
                                over[k], w[k], ov[h, k0 + k], edge[k], done, sign[q], size[q], order[q], level[q], unit
                            )
                for k in range(n):
                    x = near[k] - 2 * over[k]
                    near[k] = (x if x > zero else zero) if edge[k] > zero else near[k]


@_machine_code
def _add(near, first_head, total, largest, top, start, stop):  # type: ignore[no-untyped-def]
    n_heads, _, n_keys = near.shape
    for q in range(start, stop):
        for h in range(n_heads):
            for k in range(n_keys):
                x = near[h, q, k]
                total[q, k] += x
                better = x > largest[q, k]
                largest[q, k] = x if better else largest[q, k]
                top[q, k] = first_head + h if better else top[q, k]
