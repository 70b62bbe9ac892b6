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

GROUP = 16  # keys; blocks of keys are whole groups
_TILE = 1 << 18  # numbers in one tile: a MB, so that it stays in the cache
_OV = 1 << 22  # numbers in the OV outputs that are held at a time
_WEIGHT = 1 << 24  # numbers of a weight that are held in another dtype at a time


@dataclass
class Whole:
    """What the vectors of one write are compared with: a state at some queries, in units of its own."""

    sign: Tensor  # [query, d_model], 1 or -1; 1 for 0, so that the rule holds there too
    size: Tensor  # [query, d_model], |y|
    order: Tensor  # [query, n], int32: the coordinates with the smallest |y| / unit first
    level: Tensor  # [query, n + 1], ascending; from there on no |y| / unit is smaller, listed or not
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

    value: Tensor  # [head, key, d_model]; for a kernel that asks for blocks of keys [block, head, d_model, key]
    reach: Tensor | None = None  # the largest |value| / unit of every head and key
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
    smallest: Callable[[Tensor], tuple[Tensor, Tensor]],
    team: Team,
) -> Whole:
    """A state's values [query, d_model] prepared for the vectors of one write."""
    n_queries, d_model = value.shape
    # Any positive unit gives the same result; what the write adds tells which coordinates are large for all keys.
    unit = write.path.apply(write.output.to(value.dtype)).to(value.device).square().mean(0).sqrt()
    unit = unit + unit.mean() / 100 + 1e-30
    sign, size = (team.borrow(name, (n_queries, d_model), value) for name in ("sign", "size"))

    def fill(queries: range) -> tuple[Tensor, Tensor]:
        some = slice(queries.start, queries.stop)
        in_units = team.borrow("in units", (len(queries), d_model), value)
        torch.div(torch.abs(value[some], out=size[some]), unit, out=in_units)
        torch.ge(value[some], 0, out=sign[some]).mul_(2).sub_(1)
        return smallest(in_units)

    found = team.spread(fill, n_queries)
    order, level = found[0] if len(found) == 1 else map(torch.cat, zip(*found, strict=True))
    none = value.new_zeros(n_queries)
    return Whole(sign, size, order, level, none if slack is None else slack, none.clone(), unit)


def tiles(write: LinearWrite, whole: Whole, queries: range, heads: range, team: Team, block: int = 0) -> Iterator[Tile]:
    """The tiles that cover these queries and heads; `whole` starts at the first of the queries.

    The memory of a tile is used for the next one. block: how many keys' OV outputs stand together, if any.
    """
    assert write.heads is not None
    split, first = write.path.per_query(), 0
    for product in write.heads.products:
        mine = range(max(heads.start, first), min(heads.stop, first + product.n_heads))
        together = split is not None and product.gate is None
        most = _WEIGHT // (product.value.shape[2] if together else queries.stop) // whole.unit.numel()
        for group in _groups(slice(mine.start - first, mine.stop - first), most):
            found = (_together if together else _by_query)(write, product, group, whole, queries, team, block)
            for tile in found:
                tile.first_head += first
                yield tile
        first += product.n_heads


def _groups(heads: slice, most: int) -> Iterator[slice]:
    """These heads in groups of about the same size."""
    n = heads.stop - heads.start
    step = math.ceil(n / math.ceil(n / max(1, most))) if n > 0 else 1
    for start in range(heads.start, heads.stop, step):
        yield slice(start, min(start + step, heads.stop))


def _together(
    write: LinearWrite, product: Product, heads: slice, whole: Whole, queries: range, team: Team, block: int
) -> Iterator[Tile]:
    """Tiles of heads whose OV outputs are the same for all queries, but for one factor."""
    split = write.path.per_query()
    assert split is not None
    path, factor = split
    factor = None if factor is None else factor.to(whole.unit)
    weight, d_head = _weight(write, product, heads, whole), product.value.shape[2]
    if weight is not None:
        weight = path.apply(weight.to(whole.unit)) if path.steps else weight
        weight = _widened(weight, whole.unit, team)
        asked = team.borrow("asked", (len(queries), weight.shape[0]), whole.unit)
        asked = torch.matmul(whole.sign, weight.T, out=asked).unflatten(1, (-1, d_head)).transpose(0, 1)
        through = weight.unflatten(0, (-1, d_head))
    for some in _groups(heads, _OV // (queries.stop * whole.unit.numel())):
        here = slice(some.start - heads.start, some.stop - heads.start)
        value = _values(product, some, queries.stop, whole)  # [head, key, d_head]
        n_heads = len(value)
        if weight is not None:
            shared, ask, offered = OV(_ov(value, through[here], team, block)), asked[here], value
        else:
            offered = path.apply(_called(write, product, some, value))
            shared, ask = OV(_in_blocks(offered, block)), whole.sign.expand(n_heads, -1, -1)
        start, area = queries.start, _TILE // n_heads
        while start < queries.stop:
            stop = min(queries.stop, start + max(1, int(math.sqrt(start * start / 4 + area) - start / 2)))
            rows = slice(start - queries.start, stop - queries.start)
            pattern = _pattern(product, some, start, stop, whole, team)
            if factor is not None:
                pattern.mul_(factor[start:stop, None])
            dot = team.borrow("dot", (n_heads, stop - start, stop), whole.unit)
            torch.matmul(ask[:, rows], offered[:, :stop].transpose(1, 2), out=dot)
            yield Tile(some.start, start, stop, whole.rows(rows.start, rows.stop), pattern, dot, shared, team)
            start = stop


def _by_query(
    write: LinearWrite, product: Product, heads: slice, whole: Whole, queries: range, team: Team, block: int
) -> Iterator[Tile]:
    """One tile per query, where every query sees the OV outputs through a gate or factors of its own."""
    value = _values(product, heads, queries.stop, whole)
    weight = _weight(write, product, heads, whole)
    for query in queries:
        stop, row = query + 1, query - queries.start
        here = whole.rows(row, row + 1)
        seen = value[:, :stop]
        if product.gate is not None:
            seen = seen * product.gate[query, product.slots[heads]].to(whole.unit)[:, None]
        if weight is not None:
            through = write.path.apply(weight.to(whole.unit), query).reshape(*seen.shape[::2], -1)
            ov = _ov(seen, through, team, block)
            dot = (seen @ (through @ here.sign[0])[..., None])[..., 0]
        else:
            ov = write.path.apply(_called(write, product, heads, seen), query)
            dot = ov @ here.sign[0]
            ov = _in_blocks(ov, block)
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


def _widened(weight: Tensor, like: Tensor, team: Team) -> Tensor:
    """A weight in the dtype of `like`, which lies in memory as it does: to turn it would take most of the time."""
    if weight.dtype == like.dtype:
        return weight
    wide = team.borrow("wide", tuple(weight.shape), like)
    if weight.stride(0) < weight.stride(1):
        wide = wide.view(weight.shape[1], -1).t()
    return wide.copy_(weight)


def _ov(value: Tensor, through: Tensor, team: Team, block: int) -> Tensor:
    """The OV outputs of values [head, key, d_head] through [head, d_head, d_model], as a kernel wants them."""
    (n_heads, n_keys), d_model = value.shape[:2], through.shape[2]
    if not block:
        return torch.matmul(value, through, out=team.borrow("ov", (n_heads, n_keys, d_model), value))
    block = block_of(block, n_keys)
    found = team.borrow("ov", (-(-n_keys // block), n_heads, d_model, block), value)
    for into, some in zip(found, filled(value, block).split(block, 1), strict=True):
        torch.bmm(through.transpose(1, 2), some.transpose(1, 2), out=into)
    return found


def _in_blocks(ov: Tensor, block: int) -> Tensor:
    """OV outputs [head, key, d_model] as a kernel wants them."""
    if not block:
        return ov
    block = block_of(block, ov.shape[1])
    return filled(ov, block).unflatten(1, (-1, block)).permute(1, 0, 3, 2).contiguous()


def block_of(block: int, n_keys: int) -> int:
    return min(block, -(-n_keys // GROUP) * GROUP)


def filled(x: Tensor, block: int) -> Tensor:
    """[head, key, ..] with zeros for the keys that the last block lacks."""
    missing = -x.shape[1] % block
    return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing else x


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
