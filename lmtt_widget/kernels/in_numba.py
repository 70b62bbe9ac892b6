"""The proximities of a tile in machine code, where numba is installed: for the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from .threads import Team
from .tiles import OV, Sums, Tile

_KEYS = 64  # OV outputs of this many keys stay in the cache
_LISTED = 32  # at most this many coordinates are worth a look at all keys

_ROUNDING = {"reassoc", "contract", "nsz", "nnan"}  # not "ninf": the last level of a query may be infinite


def proximities(tile: Tile) -> Tensor:
    """[head, query, key]"""
    _run(tile, Sums.zeros(tile.dot, 0, 0))
    return tile.dot


def add(tile: Tile, into: Sums) -> None:
    """Adds the proximities of a tile to their sums."""
    _run(tile, into)


def _run(tile: Tile, into: Sums) -> None:
    w, ov = tile.whole, tile.ov
    if ov.by_coordinate is None:
        _prepare(ov, tile.team)
    given: list[Any] = [tile.dot, tile.weight, ov.value, ov.by_coordinate, ov.reach]
    given += [w.sign, w.size, w.order, w.level, w.slack, w.taken, w.unit, w.unit.new_empty(2, _KEYS)]
    given += [into.sum, into.max, into.top]
    _proximities(*(x.numpy() for x in given), tile.start, tile.first_head)


def smallest(size: Tensor, level: Tensor, order: Tensor) -> None:
    """The smallest numbers of each row, ascending, into `level`, and where they are into `order` (as many or less)."""
    _smallest(size.numpy(), level.numpy(), order.numpy())


def _prepare(ov: OV, team: Team) -> None:
    """The OV outputs of `_KEYS` keys at a time with the keys together: [head, block, d_model, key]; and their reach."""
    n_heads, n_keys, d_model = ov.value.shape
    ov.by_coordinate = team.borrow("by_coordinate", (n_heads, -(-n_keys // _KEYS), d_model, _KEYS), ov.value)
    ov.reach = ov.value.new_empty(n_heads, n_keys)
    _turn(ov.value.numpy(), ov.by_coordinate.numpy(), ov.reach.numpy())


def _machine_code(f: Callable[..., None]) -> Any:
    """Compiled when first called, and kept on disk where a folder can be written."""
    try:
        return numba.njit(nogil=True, cache=True, fastmath=_ROUNDING)(f)
    except RuntimeError:  # no folder that can be written: compiled anew in every process
        return numba.njit(nogil=True, fastmath=_ROUNDING)(f)


@_machine_code
def _smallest(size, level, order):  # type: ignore[no-untyped-def]
    n, n_listed = level.shape[1], order.shape[1]
    buckets = np.empty(1 << 11, np.int32)  # of float32 bits: sign, exponent, three bits more
    at, found = np.empty(size.shape[1], np.int32), np.empty(size.shape[1], np.int32)
    for row in range(len(size)):
        buckets[:] = 0
        for c in range(size.shape[1]):
            at[c] = np.float32(size[row, c]).view(np.int32) >> 20
            buckets[at[c]] += 1
        total = last = 0
        while total < n:  # from here on buckets[i] is where the next of bucket i goes
            here = buckets[last]
            buckets[last] = total
            total += here
            last += 1
        for c in range(size.shape[1]):
            if at[c] < last:
                found[buckets[at[c]]] = c
                buckets[at[c]] += 1
        for i in range(1, total):  # almost sorted
            c = found[i]
            x, j = size[row, c], i
            while j > 0 and size[row, found[j - 1]] > x:
                found[j] = found[j - 1]
                j -= 1
            found[j] = c
        for i in range(n):
            level[row, i] = size[row, found[i]]
        order[row] = found[:n_listed]


@_machine_code
def _turn(ov, turned, reach):  # type: ignore[no-untyped-def]
    """[head, key, d_model] -> [head, block, d_model, key] and the largest |ov|."""
    n_blocks, d_model, n_keys = turned.shape[1:]
    zero = ov.dtype.type(0)
    for i in range(len(ov) * n_blocks):
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
    dot, weight, ov, turned, reach, sign, size, order, level, slack, taken, unit, scratch, total, largest, top,
    first, first_head
):  # fmt: skip
    """Proximities of a tile that begins at query `first`, in place of `dot`; added to their sums, if there are any."""
    n_heads, n_queries, n_keys = dot.shape
    n_listed, block = order.shape[1], turned.shape[3]
    zero = dot.dtype.type(0)
    for h in range(n_heads):
        for b in range(turned.shape[1]):
            k0 = b * block
            for q in range(n_queries):
                n = min(block, n_keys - k0)
                if first + q < k0:
                    dot[h, q, k0 : k0 + n] = zero
                    continue
                near, w, far = dot[h, q, k0 : k0 + n], weight[h, q, k0 : k0 + n], reach[h, k0 : k0 + n]
                edge, over = scratch[0, :n], scratch[1, :n]
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
                if widest > level[q, 0]:
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
                                    over[k], w[k], ov[h, k0 + k], edge[k], done, sign[q], size[q], order[q], level[q],
                                    unit,
                                )  # fmt: skip
                    for k in range(n):
                        x = near[k] - 2 * over[k]
                        near[k] = (x if x > zero else zero) if edge[k] > zero else near[k]
                if len(total):
                    sums, most, head = total[q, k0 : k0 + n], largest[q, k0 : k0 + n], top[q, k0 : k0 + n]
                    for k in range(n):
                        sums[k] += near[k]
                    for k in range(n):
                        head[k] = first_head + h if near[k] > most[k] else head[k]
                    for k in range(n):
                        most[k] = near[k] if near[k] > most[k] else most[k]
