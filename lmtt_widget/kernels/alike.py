"""Small attention writes that are alike, attributed together: each call costs more than its numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from ..decomposition.later import alike, kind_of_heads, layout
from ..decomposition.products import beside
from ..decomposition.writes import LinearWrite
from .sums import Kernel, proximity_sums
from .threads import Team
from .tiles import OV, Sums, Tile, Whole, block_of, filled

TOGETHER = 1 << 20  # numbers of all writes that are attributed at once

_T = TypeVar("_T", bound=Sums | Whole)


def together(writes: Sequence[LinearWrite], kinds: Sequence[Hashable]) -> Iterator[list[int]]:
    """The numbers of those that are attributed at once, each of the same of `kinds` as the others."""
    every = [(kind, _kind(w) or k) for k, (w, kind) in enumerate(zip(writes, kinds, strict=True))]
    return alike(list(range(len(writes))), every.__getitem__, lambda k: _size(writes[k]), TOGETHER)


def sums_of_alike(
    writes: Sequence[LinearWrite],
    whole: Tensor,
    *,
    kernel: Kernel,
    slack: Tensor | None,
    team: Team,
    each: Tensor | None,
) -> Sums:
    """What `proximity_sums` gives of each of some writes of one kind, with an axis [write] before all others.

    whole [write, query, d_model], slack [write, query], each [write, head, query, key].
    """
    if len(writes) == 1:
        slack, each = (None if x is None else x[0] for x in (slack, each))
        one = proximity_sums(writes[0], whole[0], kernel=kernel, slack=slack, team=team, each=each)
        return Sums(*(getattr(one, f.name)[None] for f in fields(one)))
    n_writes, n, _ = whole.shape
    product = beside([w.heads.products[0] for w in writes if w.heads is not None])
    paths, factors = zip(*(split for w in writes if (split := w.path.per_query()) is not None), strict=True)
    weight = torch.stack([path.apply(_weight(w, whole)) for w, path in zip(writes, paths, strict=True)])
    compared = _whole_for(writes, whole, slack, kernel)
    value = product.values().to(whole).unflatten(0, (n_writes, -1))
    n_heads, d_head = value.shape[1], value.shape[3]
    ov = _ov(value, weight.unflatten(1, (n_heads, d_head)), kernel.block)
    asked = (compared.sign @ weight.mT).unflatten(2, (n_heads, d_head)).transpose(1, 2)
    dot = asked @ value.mT
    pattern = product.pattern().to(whole).reshape(dot.shape)
    if product.scores is None or not product.scores[3]:  # it may look at later keys
        pattern = pattern.tril()
    if factors[0] is not None:
        pattern = pattern * torch.stack([f.to(whole) for f in factors])[:, None, :, None]
    tile = Tile(0, 0, n, compared, pattern, dot, OV(ov), team)
    total, largest = whole.new_zeros(2, n_writes, n, n)
    top, heads = torch.zeros_like(total, dtype=torch.int16), whole.new_zeros(n_writes, n_heads, n)
    found = Sums(total, largest, top, heads, compared.taken)
    if kernel.add_each is not None:
        kernel.add_each(tile, found)
    else:
        for k in range(n_writes):
            alone = replace(tile, whole=_nth(compared, k), weight=pattern[k], dot=dot[k], ov=OV(ov[k]))
            kernel.add(alone, _nth(found, k))
    if each is not None:
        each.copy_(dot)
    return found


def _kind(write: LinearWrite) -> Hashable:
    """What writes have in common that can be attributed together; None for one that cannot."""
    split, weight = write.path.per_query(), write.map.weight()
    if write.heads is None or split is None or weight is None or len(write.heads.products) > 1:
        return None
    product = write.heads.products[0]
    same = product.n_heads, layout(write.output), layout(weight), layout(split[1])
    return None if product.gate is not None else (*same, kind_of_heads(write))


def _size(write: LinearWrite) -> int:
    n_heads = write.heads.n_heads if write.heads is not None else 0
    n_tokens, d_model = write.output.shape
    return numbers(n_heads, n_tokens, d_model, write.input.shape[-1])


def numbers(n_heads: int, n_tokens: int, d_model: int, width: int) -> int:
    """About how many are held at once to attribute a write of heads that fill z [query, width]."""
    return n_heads * n_tokens * (3 * n_tokens + d_model) + width * d_model


def _weight(write: LinearWrite, like: Tensor) -> Tensor:
    """The rows of the output projection that its heads write through: [head * d_head, d_model]."""
    product, weight = write.heads.products[0], write.map.weight()  # type: ignore[union-attr]
    product.first_slot()  # looked up once
    rows = product.places()
    return weight[rows if isinstance(rows, slice) else rows.to(weight.device)].to(like)  # type: ignore[index, union-attr]


def _ov(value: Tensor, through: Tensor, block: int) -> Tensor:
    """The OV outputs of values [write, head, key, d_head] through [write, head, d_head, d_model], as a kernel wants
    them: [write, head, key, d_model], or [write, block, head, d_model, key]."""
    if not block:
        return value @ through
    block = block_of(block, value.shape[2])
    some = filled(value.flatten(0, 1), block).unflatten(1, (-1, block)).unflatten(0, value.shape[:2])
    return (through.mT[:, :, None] @ some.mT).transpose(1, 2).contiguous()


def _whole_for(writes: Sequence[LinearWrite], whole: Tensor, slack: Tensor | None, kernel: Kernel) -> Whole:
    """What `whole_for` gives of each."""
    n_writes, n, _ = whole.shape
    output = torch.stack([w.path.apply(w.output.to(whole.dtype)) for w in writes]).to(whole.device)
    unit = output.square().mean(1).sqrt()
    unit = unit + unit.mean(1, keepdim=True) / 100 + 1e-30
    size = whole.abs()
    sign = torch.ge(whole, 0).to(whole).mul_(2).sub_(1)
    order, level = (x.unflatten(0, (n_writes, n)) for x in kernel.smallest((size / unit[:, None]).flatten(0, 1)))
    none = whole.new_zeros(n_writes, n)
    return Whole(sign, size, order, level, none if slack is None else slack.contiguous(), none.clone(), unit)


def _nth(of: _T, k: int) -> _T:
    return type(of)(*(getattr(of, f.name)[k] for f in fields(of)))
