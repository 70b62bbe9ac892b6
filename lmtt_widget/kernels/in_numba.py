"""The proximities of a tile in machine code, where numba is installed: for the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import torch
from torch import Tensor

from .tiles import GROUP, Sums, Tile

BLOCK = 64  # OV outputs of this many keys stay in the cache
_BUCKETS = 256

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
    if ov.reach is None:
        ov.reach = ov.value.new_empty(*ov.value.shape[:2], ov.value.shape[3])
        _reach(ov.value.numpy(), w.unit.reciprocal().numpy(), ov.reach.numpy())
    block = ov.value.shape[3]
    given: list[Any] = [tile.dot, tile.weight, ov.value, ov.reach]
    given += [w.sign, w.size, w.order, w.level, w.slack, w.taken, w.unit.new_zeros(3, block)]
    given += [into.sum, into.max, into.top, into.heads[tile.first_head : tile.first_head + len(tile.dot)]]
    given.append(tile.team.borrow("here", (3, tile.dot.shape[1], block), tile.dot))
    _proximities(*(x.numpy() for x in given), tile.start, tile.first_head)


def add_each(tile: Tile, into: Sums) -> None:
    """The same of tiles of several writes, each number with an axis [write] before its own."""
    w, ov = tile.whole, tile.ov.value
    block = ov.shape[4]
    given: list[Any] = [tile.dot, tile.weight, ov, ov.new_empty(*ov.shape[1:3], block), w.unit.reciprocal()]
    given += [w.sign, w.size, w.order, w.level, w.slack, w.taken, w.unit.new_zeros(3, block)]
    given += [into.sum, into.max, into.top, into.heads]
    given.append(tile.team.borrow("here", (3, tile.dot.shape[2], block), tile.dot))
    _each(*(x.numpy() for x in given))


def smallest(size: Tensor) -> tuple[Tensor, Tensor]:
    """All coordinates of each row, the smallest first but for a sixteenth of their size, and their levels."""
    # Of positive numbers the bits are in the same order: exponent and four bits more say which bucket one belongs to.
    kind, shift = (torch.int32, 19) if size.dtype == torch.float32 else (torch.int64, 48)
    n, d_model = size.shape
    order = torch.empty(n, d_model, dtype=torch.int32)
    level = size.new_full((n, d_model + 1), math.inf)
    given = size.view(kind), level.view(kind), order, order.new_empty(_BUCKETS), order.new_empty(d_model)
    _smallest(*(x.numpy() for x in given), shift)
    return order, level


def is_made() -> bool:
    """Is there machine code on disk, of these very sources? True also where none can be kept, and nothing is to wait
    for."""
    try:  # numba does not say it otherwise
        return all(f._cache._cache_file._load_index() for f in (_proximities, _each))
    except (AttributeError, OSError):
        return True


def _machine_code(f: Callable[..., None]) -> Any:
    """Compiled when first called, and kept on disk where a folder can be written."""
    try:
        return numba.njit(nogil=True, cache=True, fastmath=_ROUNDING)(f)
    except RuntimeError:  # no folder that can be written: compiled anew in every process
        return numba.njit(nogil=True, fastmath=_ROUNDING)(f)


@_machine_code
def _smallest(size, level, order, buckets, at, shift):  # type: ignore[no-untyped-def]
    for row in range(len(size)):
        most = 0
        for c in range(size.shape[1]):
            most = max(most, size[row, c])
        least = (most >> shift) - len(buckets) + 1  # what is smaller is in the first bucket
        buckets[:] = 0
        for c in range(size.shape[1]):
            at[c] = max(0, (size[row, c] >> shift) - least)
        for c in range(size.shape[1]):
            buckets[at[c]] += 1
        total = 0
        for i in range(len(buckets)):  # from here on buckets[i] is where the next of bucket i goes
            here = buckets[i]
            buckets[i] = total
            total += here
        for c in range(size.shape[1]):
            i = at[c]
            order[row, buckets[i]] = c
            level[row, buckets[i]] = (least + i) << shift if i else 0
            buckets[i] += 1


@_machine_code
def _reach(ov, per_unit, reach):  # type: ignore[no-untyped-def]
    """The largest |ov_c| / unit_c of every key: [block, head, d_model, key] -> [block, head, key]."""
    n_heads, d_model, n_keys = ov.shape[1:]
    zero = ov.dtype.type(0)
    for i in range(len(ov) * n_heads):
        b, h = i // n_heads, i % n_heads
        largest = reach[b, h]
        largest[:] = zero
        for c in range(d_model):
            row, per = ov[b, h, c], per_unit[c]
            for k in range(n_keys):
                x = abs(row[k]) * per
                largest[k] = x if x > largest[k] else largest[k]


@_machine_code
def _overshoot(over, weight, ov, sign, size, order, level, q, done, edge, g, n):  # type: ignore[no-untyped-def]
    """Adds the overshoot of keys g..g + n at a query's coordinates from `done` on up to the edge; where that is."""
    zero = ov.dtype.type(0)
    to, w = over[g : g + n], weight[g : g + n]
    while done + 4 <= len(ov) and level[q, done] < edge:
        c0, c1, c2, c3 = order[q, done], order[q, done + 1], order[q, done + 2], order[q, done + 3]
        x0, x1, x2, x3 = ov[c0, g : g + n], ov[c1, g : g + n], ov[c2, g : g + n], ov[c3, g : g + n]
        s0, s1, s2, s3 = sign[q, c0], sign[q, c1], sign[q, c2], sign[q, c3]
        y0, y1, y2, y3 = size[q, c0], size[q, c1], size[q, c2], size[q, c3]
        for k in range(n):
            z0, z1 = w[k] * s0 * x0[k] - y0, w[k] * s1 * x1[k] - y1
            z2, z3 = w[k] * s2 * x2[k] - y2, w[k] * s3 * x3[k] - y3
            z0, z1 = z0 if z0 > zero else zero, z1 if z1 > zero else zero
            z2, z3 = z2 if z2 > zero else zero, z3 if z3 > zero else zero
            to[k] += (z0 + z1) + (z2 + z3)
        done += 4
    while level[q, done] < edge:  # of the last three; after all of them the level is infinite
        c = order[q, done]
        x, s, y = ov[c, g : g + n], sign[q, c], size[q, c]
        for k in range(n):
            z = w[k] * s * x[k] - y
            to[k] += z if z > zero else zero
        done += 1
    return done


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
def _add_sums(here, total, largest, top):  # type: ignore[no-untyped-def]
    for k in range(len(total)):
        total[k] += here[0, k]
    for k in range(len(total)):
        top[k] = int(here[2, k]) if here[1, k] > largest[k] else top[k]
    for k in range(len(total)):
        largest[k] = here[1, k] if here[1, k] > largest[k] else largest[k]


@_machine_code
def _proximities(  # type: ignore[no-untyped-def]
    dot, weight, ov, reach, sign, size, order, level, slack, taken, scratch, total, largest, top, heads, here,
    first, first_head,
):  # fmt: skip
    """Proximities of a tile that begins at query `first`, in place of `dot`; added to their sums, if there are any."""
    n_heads, n_queries, n_keys = dot.shape
    block, summed = ov.shape[3], len(total) > 0
    zero = dot.dtype.type(0)
    w, edge, over = scratch[0], scratch[1], scratch[2]
    for b in range(len(ov)):
        k0 = b * block
        n = min(block, n_keys - k0)
        if n <= 0:
            break
        q0 = min(max(0, k0 - first), n_queries)  # earlier queries do not see these keys
        dot[:, :q0, k0 : k0 + n] = zero
        edge[n:] = zero
        if summed:
            here[:] = zero
        for h in range(n_heads):
            for q in range(q0, n_queries):
                near, far, pattern = dot[h, q, k0 : k0 + n], reach[b, h], weight[h, q, k0 : k0 + n]
                small = slack[q]
                for k in range(n):  # short loops, no slices assigned: each becomes vector instructions
                    w[k] = pattern[k]
                for k in range(n):
                    lin = w[k] * near[k]
                    near[k] = lin if lin > zero else zero
                for k in range(n):
                    edge[k] = abs(w[k]) * far[k] if near[k] > small else zero
                if small > zero:
                    skipped = zero
                    for k in range(n):
                        skipped += near[k] if near[k] <= small else zero
                    taken[q] += skipped
                widest = second = zero  # of all groups
                at = 0
                for g in range(0, n, GROUP):
                    x = zero
                    for k in range(g, g + GROUP):
                        x = edge[k] if edge[k] > x else x
                    if x > widest:
                        widest, second, at = x, widest, g
                    else:
                        second = max(second, x)
                if widest > level[q, 0]:
                    for k in range(block):
                        over[k] = zero
                    # As far as two groups reach all keys at once, then the one that reaches further.
                    done = _overshoot(over, w, ov[b, h], sign, size, order, level, q, 0, second, 0, block)
                    _overshoot(over, w, ov[b, h], sign, size, order, level, q, done, widest, at, GROUP)
                    for k in range(n):
                        x = near[k] - 2 * over[k]
                        near[k] = (x if x > zero else zero) if edge[k] > zero else near[k]
                if summed:
                    _add(near, here[0, q], here[1, q], here[2, q], zero + first_head + h)
                    heads[h, q] += _summed(near)  # while it is near the processor
        if summed:
            for q in range(q0, n_queries):
                _add_sums(here[:, q, :n], total[q, k0 : k0 + n], largest[q, k0 : k0 + n], top[q, k0 : k0 + n])


@_machine_code
def _each(  # type: ignore[no-untyped-def]
    dot, weight, ov, reach, per_unit, sign, size, order, level, slack, taken, scratch, total, largest, top, heads, here
):
    """`_proximities` of every write; reach, scratch and here are used for the next one."""
    for i in range(len(dot)):
        _reach(ov[i], per_unit[i], reach)
        _proximities(
            dot[i], weight[i], ov[i], reach, sign[i], size[i], order[i], level[i], slack[i], taken[i], scratch,
            total[i], largest[i], top[i], heads[i], here, 0, 0,
        )  # fmt: skip
