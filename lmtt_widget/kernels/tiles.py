"""An attention write cut into tiles of heads, queries and keys, each with what the exact rule needs.

    prox = max(0, lin - 2 over),   lin = sign(y) . z,   over = sum_c max(0, sign(y_c) z_c - |y_c|)

A head's vectors are z[query, key] = weight[query, key] * ov[key], so lin is an attention-shaped product of sign(y),
pulled back through the output projection, with the values. Only a coordinate where z overshoots y adds to `over`.
Every coordinate is measured in a unit of its own; in the order of |y_c| / unit_c those that can overshoot come first:
they are below weight * reach, reach being the largest |ov_c| / unit_c of the key. So what is left to add up is short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..decomposition.products import Product
from ..decomposition.vectors import ov_outputs
from ..decomposition.writes import LinearWrite
from .threads import Team

_TILE = 1 << 18  # numbers in one tile: a MB, so that it stays in the cache
_OV = 1 << 22  # numbers in the OV outputs that are held at a time


@dataclass
class Whole:
    """What the vectors of one write are compared with: a state at some queries, in units of its own."""

    sign: Tensor  # [query, d_model], 1 or -1; 1 for 0, so that the rule holds there too
    size: Tensor  # [query, d_model], |y| / unit
    order: Tensor  # [query, n], int32: the coordinates with the smallest sizes, ascending
    level: Tensor  # [query, n + 1], their sizes and the next one (infinite if there is none)
    slack: Tensor  # [query]; a vector whose lin is not above it is taken to be as near as lin
    taken: Tensor  # [query], the sum of these lin so far: no sum of proximities is further off
    unit: Tensor  # [d_model]

    def rows(self, start: int, stop: int) -> Whole:
        """Views of some queries."""
        if stop - start == len(self.sign):
            return self
        each = self.sign, self.size, self.order, self.level, self.slack, self.taken
        sign, size, order, level, slack, taken = (x[start:stop] for x in each)
        return Whole(sign, size, order, level, slack, taken, self.unit)


@dataclass
class OV:
    """The OV outputs that some tiles share; a kernel adds what it needs of them when it first sees them."""

    value: Tensor  # [head, key, d_model], / unit
    reach: Tensor | None = None  # [head, key], the largest |value|
    by_coordinate: Tensor | None = None  # the values in another order


@dataclass
class Sums:
    """The proximities of the vectors of one write, over heads and over keys."""

    sum: Tensor  # [query, key]
    max: Tensor  # [query, key]
    top: Tensor  # [query, key], int16, the head with the largest
    heads: Tensor  # [head, query], summed over keys
    off: Tensor  # [query], no sum of these proximities is further from the exact one

    @classmethod
    def zeros(cls, like: Tensor, n_queries: int, n_keys: int, n_heads: int) -> Sums:
        total = like.new_zeros(n_queries, n_keys)
        largest, top = torch.zeros_like(total), torch.zeros_like(total, dtype=torch.int16)
        return cls(total, largest, top, like.new_zeros(n_heads, n_queries), like.new_zeros(n_queries))

    def rows(self, start: int, stop: int) -> Sums:
        """Views of some queries."""
        here = slice(start, stop)
        return Sums(self.sum[here], self.max[here], self.top[here], self.heads[:, here], self.off[here])

    def add_heads(self, tile: Tile, near: Tensor) -> None:
        """Adds the proximities [head, query, key] of a tile, summed over keys."""
        self.heads[tile.first_head : tile.first_head + len(near)] += near.sum(-1)


@dataclass
class Tile:
    """The vectors that some heads move from keys 0..stop to queries start..stop."""

    first_head: int
    start: int
    stop: int
    whole: Whole  # of these queries
    weight: Tensor  # [head, query, key]; 0 for later keys, which are no parts
    dot: Tensor  # [head, query, key], lin / weight; a kernel leaves the proximities here
    ov: OV  # of these keys and maybe later ones
    team: Team


def whole_for(
    write: LinearWrite,
    value: Tensor,
    slack: Tensor | None,
    smallest: Callable[[Tensor, Tensor, Tensor], None],
    team: Team,
) -> Whole:
    """A state's values [query, d_model] prepared for the vectors of one write."""
    n_queries, d_model = value.shape
    # Any positive unit gives the same result; what the write adds tells which coordinates are large for all keys.
    unit = write.path.apply(write.output.to(value.dtype)).to(value.device).square().mean(0).sqrt()
    unit = unit + unit.mean() / 100 + 1e-30
    n = min(d_model, max(16, d_model // 8))
    sign, size = (team.borrow(name, (n_queries, d_model), value) for name in ("sign", "size"))
    level = value.new_full((n_queries, n + 1), math.inf)
    order = torch.zeros(n_queries, n, dtype=torch.int32, device=value.device)

    def fill(queries: range) -> None:
        some = slice(queries.start, queries.stop)
        torch.div(torch.abs(value[some], out=size[some]), unit, out=size[some])
        torch.ge(value[some], 0, out=sign[some]).mul_(2).sub_(1)
        smallest(size[some], level[some, : min(n + 1, d_model)], order[some])

    team.spread(fill, n_queries)
    none = value.new_zeros(n_queries)
    return Whole(sign, size, order, level, none if slack is None else slack, none.clone(), unit)


def tiles(write: LinearWrite, whole: Whole, queries: range, heads: range, team: Team) -> Iterator[Tile]:
    """The tiles that cover these queries and heads; `whole` starts at the first of the queries.

    The memory of a tile is used for the next one.
    """
    assert write.heads is not None
    split, first = write.path.per_query(), 0
    for product in write.heads.products:
        mine = range(max(heads.start, first), min(heads.stop, first + product.n_heads))
        most = max(1, _OV // (queries.stop * whole.unit.numel()))
        step = math.ceil(len(mine) / math.ceil(len(mine) / most)) if mine else 1  # groups of about the same size
        for start in mine[::step]:
            group = slice(start - first, min(start + step, mine.stop) - first)
            if split is None or product.gate is not None:
                found = _by_query(write, product, group, whole, queries, team)
            else:
                found = _together(write, product, group, whole, queries, team)
            for tile in found:
                tile.first_head += first
                yield tile
        first += product.n_heads


def _together(
    write: LinearWrite, product: Product, heads: slice, whole: Whole, queries: range, team: Team
) -> Iterator[Tile]:
    """Tiles of heads whose OV outputs are the same for all queries, but for one factor."""
    split = write.path.per_query()
    assert split is not None
    path, factor = split
    value = _values(product, heads, queries.stop, whole)  # [head, key, d_head]
    n_heads, n_keys, d_head = value.shape
    weight = _weight(write, product, heads, whole)
    if weight is not None:
        weight = path.apply(weight.to(whole.unit)) if path.steps else weight
        through = _in_units(weight, whole.unit, team)
        ov = team.borrow("ov", (n_heads, n_keys, weight.shape[1]), whole.unit)
        torch.matmul(value, through.reshape(n_heads, d_head, -1), out=ov)
        asked = team.borrow("asked", (len(queries), weight.shape[0]), whole.unit)
        if weight.dtype == whole.unit.dtype:
            torch.matmul(whole.sign, weight.T, out=asked)
        else:  # of a weight in half precision one copy in float32 is enough
            torch.matmul(whole.sign * whole.unit, through.T, out=asked)
        asked = asked.reshape(-1, n_heads, d_head).transpose(0, 1)
        offered = value
    else:
        ov = path.apply(_called(write, product, heads, value)) / whole.unit
        asked, offered = (whole.sign * whole.unit).expand(n_heads, -1, -1), ov
    shared = OV(ov)
    if factor is not None:
        factor = factor.to(whole.unit)
    start, area = queries.start, _TILE // n_heads
    while start < queries.stop:
        stop = min(queries.stop, start + max(1, int(math.sqrt(start * start / 4 + area) - start / 2)))
        rows = slice(start - queries.start, stop - queries.start)
        pattern = _pattern(product, heads, start, stop, whole, team)
        if factor is not None:
            pattern.mul_(factor[start:stop, None])
        dot = team.borrow("dot", (n_heads, stop - start, stop), whole.unit)
        torch.matmul(asked[:, rows], offered[:, :stop].transpose(1, 2), out=dot)
        yield Tile(heads.start, start, stop, whole.rows(rows.start, rows.stop), pattern, dot, shared, team)
        start = stop


def _by_query(
    write: LinearWrite, product: Product, heads: slice, whole: Whole, queries: range, team: Team
) -> Iterator[Tile]:
    """One tile per query, where every query sees the OV outputs through a gate or factors of its own."""
    value = _values(product, heads, queries.stop, whole)
    weight = _weight(write, product, heads, whole)
    for query in queries:
        stop, row = query + 1, query - queries.start
        seen = value[:, :stop]
        if product.gate is not None:
            seen = seen * product.gate[query, product.slots[heads]].to(whole.unit)[:, None]
        if weight is not None:
            through = (write.path.apply(weight.to(whole.unit), query) / whole.unit).reshape(*seen.shape[::2], -1)
            ov = torch.matmul(seen, through, out=team.borrow("ov", (*seen.shape[:2], through.shape[2]), whole.unit))
        else:
            ov = write.path.apply(_called(write, product, heads, seen), query) / whole.unit
        here = whole.rows(row, row + 1)
        dot = ov @ (here.sign[0] * whole.unit)
        pattern = _pattern(product, heads, query, stop, whole, team)
        yield Tile(heads.start, query, stop, here, pattern, dot[:, None], OV(ov), team)


def _values(product: Product, heads: slice, stop: int, whole: Whole) -> Tensor:
    """[head, key, d_head]"""
    each = product.n_heads // product.value.shape[0]
    if each == 1:
        return product.value[heads, :stop].to(whole.unit)
    of = torch.arange(heads.start, heads.stop, device=product.value.device) // each
    return product.value[of, :stop].to(whole.unit)


def _weight(write: LinearWrite, product: Product, heads: slice, whole: Whole) -> Tensor | None:
    """The rows of the output projection that these heads write through, in its own dtype: [head * d_head, d_model]."""
    weight = write.map.weight()
    if weight is None:
        return None
    first, d_head = product.first_slot(), product.slots.shape[1]
    if first is not None:
        return weight[first + heads.start * d_head : first + heads.stop * d_head].to(whole.unit.device)
    return weight.index_select(0, product.slots[heads].reshape(-1).to(weight.device)).to(whole.unit.device)


def _in_units(weight: Tensor, unit: Tensor, team: Team) -> Tensor:
    """weight / unit [n, d_model], which lies in memory as the weight does: to turn it would take most of the time."""
    n, d_model = weight.shape
    is_turned = weight.stride(0) < weight.stride(1)
    through = team.borrow("through", (d_model, n) if is_turned else (n, d_model), unit)
    through = through.t() if is_turned else through
    if weight.dtype == unit.dtype:
        return torch.div(weight, unit, out=through)
    return through.copy_(weight).div_(unit)  # a division of two dtypes would make a copy of its own


def _called(write: LinearWrite, product: Product, heads: slice, value: Tensor) -> Tensor:
    """The same projection where its weight cannot be read: [head, key, d_model]."""
    numbers = range(heads.start, heads.stop)
    return torch.stack([ov_outputs(write, product, h, v) for h, v in zip(numbers, value, strict=True)]).to(value)


def _pattern(product: Product, heads: slice, start: int, stop: int, whole: Whole, team: Team) -> Tensor:
    """[head, query, key] up to the last of the queries; later keys are no parts."""
    into = team.borrow("pattern", (heads.stop - heads.start, stop - start, stop), whole.unit)
    made = product.pattern(slice(start, stop), heads, stop, into)
    if made is not into:
        made = into.copy_(made)
    if product.scores is None or not product.scores[3]:  # it may look at later keys
        made[..., start:].tril_()
    return made
