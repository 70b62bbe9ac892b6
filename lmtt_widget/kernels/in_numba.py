"""The proximities of a tile in machine code, where numba is installed: for the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import torch
from torch import Tensor

from .threads import Team
from .tiles import OV, Sums, Tile

_KEYS = 64  # OV outputs of this many keys stay in the cache
_NARROW = 128  # coordinates
_LISTED = 32  # at most this many coordinates are worth a look at all keys

_ROUNDING = {"reassoc", "contract", "nsz", "nnan"}  # not "ninf": the last level of a query may be infinite


def proximities(tile: Tile) -> Tensor:
    """[head, query, key]"""
    _run(tile, Sums.zeros(tile.dot, 0, 0, 0))
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
    given += [into.sum, into.max, into.top, into.heads[tile.first_head : tile.first_head + len(tile.dot)]]
    given.append(tile.team.borrow("here", (3, tile.dot.shape[1], _KEYS), tile.dot))
    _proximities(*(x.numpy() for x in given), tile.start, tile.first_head)


def smallest(size: Tensor, level: Tensor, order: Tensor) -> None:
    """The smallest numbers of each row, ascending, into `level`, and where they are into `order` (as many or less)."""
    # Of positive numbers the bits are in the same order: exponent and three bits more say which bucket one belongs to.
    kind, shift, n = (torch.int32, 20, 1 << 11) if size.dtype == torch.float32 else (torch.int64, 49, 1 << 14)
    if size.shape[1] <= _NARROW:  # the exponent alone: most buckets would be empty
        shift, n = shift + 3, n >> 3
    given = [size, size.view(kind), level, order, order.new_empty(n), order.new_empty(2, size.shape[1])]
    _smallest(*(x.numpy() for x in given), shift)


def _prepare(ov: OV, team: Team) -> None:
    """The OV outputs of `_KEYS` keys at a time with the keys together: [head, block, d_model, key]; and their reach."""
    n_heads, n_keys, d_model = ov.value.shape
    ov.by_coordinate = team.borrow("by_coordinate", (n_heads, -(-n_keys // _KEYS), d_model, _KEYS), ov.value)
    ov.reach = ov.value.new_empty(n_heads, n_keys)
    _turn(ov.value.numpy(), ov.by_coordinate.numpy(), ov.reach.numpy())


def is_made() -> bool:
    """Is there machine code on disk, of these very sources? True also where none can be kept, and nothing is to wait
    for."""
    try:  # numba does not say it otherwise
        return bool(_proximities._cache._cache_file._load_index())
    except (AttributeError, OSError):
        return True


def _machine_code(f: Callable[..., None]) -> Any:
    """Compiled when first called, and kept on disk where a folder can be written."""
    try:
        return numba.njit(nogil=True, cache=True, fastmath=_ROUNDING)(f)
    except RuntimeError:  # no folder that can be written: compiled anew in every process
        return numba.njit(nogil=True, fastmath=_ROUNDING)(f)


@_machine_code
def _smallest(size, bits, level, order, buckets, scratch, shift):  # type: ignore[no-untyped-def]
    n, n_listed, at, found = level.shape[1], order.shape[1], scratch[0], scratch[1]
    for row in range(len(size)):
        buckets[:] = 0
        for c in range(size.shape[1]):
            at[c] = bits[row, c] >> shift
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
def _summed(near):  # type: ignore[no-untyped-def]
    found = near.dtype.type(0)
    for k in range(len(near)):
        found += near[k]
    return found


@_machine_code
def _add(near, total, largest, top, head):  # type: ignore[no-untyped-def]
    for k in range(len(near)):  # in a longer function the compiler makes no vector instructions of it
        x = near[k]
        total[k] += x
        better = x > largest[k]
        largest[k] = x if better else largest[k]
        top[k] = head if better else top[k]


@_machine_code
def _proximities(  # type: ignore[no-untyped-def]
    dot, weight, ov, turned, reach, sign, size, order, level, slack, taken, unit, scratch, total, largest, top,
    heads, here, first, first_head
):  # fmt: skip
    """Proximities of a tile that begins at query `first`, in place of `dot`; added to their sums, if there are any."""
    n_heads, n_queries, n_keys = dot.shape
    n_listed, block, summed = order.shape[1], turned.shape[3], len(total) > 0
    zero = dot.dtype.type(0)
    for b in range(turned.shape[1]):
        k0 = b * block
        n = min(block, n_keys - k0)
        q0 = min(max(0, k0 - first), n_queries)  # earlier queries do not see these keys
        if n > 0:
            dot[:, :q0, k0 : k0 + n] = zero
        if summed:
            here[:] = zero
        for h in range(n_heads):
            for q in range(q0, n_queries):
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
                    while done + 4 <= min(n_listed, _LISTED) and level[q, done] < usual:
                        c0, c1, c2, c3 = order[q, done], order[q, done + 1], order[q, done + 2], order[q, done + 3]
                        x0, x1, x2, x3 = turned[h, b, c0], turned[h, b, c1], turned[h, b, c2], turned[h, b, c3]
                        s0, s1, s2, s3 = sign[q, c0], sign[q, c1], sign[q, c2], sign[q, c3]
                        y0, y1, y2, y3 = level[q, done], level[q, done + 1], level[q, done + 2], level[q, done + 3]
                        u0, u1, u2, u3 = unit[c0], unit[c1], unit[c2], unit[c3]
                        for k in range(n):
                            z0, z1 = w[k] * s0 * x0[k] - y0, w[k] * s1 * x1[k] - y1
                            z2, z3 = w[k] * s2 * x2[k] - y2, w[k] * s3 * x3[k] - y3
                            over[k] += (u0 * (z0 if z0 > zero else zero) + u1 * (z1 if z1 > zero else zero)) + (
                                u2 * (z2 if z2 > zero else zero) + u3 * (z3 if z3 > zero else zero)
                            )
                        done += 4
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
                if summed:
                    _add(near, here[0, q], here[1, q], here[2, q], zero + first_head + h)
                    heads[h, q] += _summed(near)  # while it is near the processor
        if summed:
            for q in range(q0, n_queries):
                for k in range(n):
                    total[q, k0 + k] += here[0, q, k]
                    if here[1, q, k] > largest[q, k0 + k]:
                        largest[q, k0 + k] = here[1, q, k]
                        top[q, k0 + k] = here[2, q, k]
