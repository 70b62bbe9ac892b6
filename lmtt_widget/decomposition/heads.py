"""The attention heads behind a write: pattern, values, and where each head lands.

`find_heads(z)` looks behind the input z of an output projection for `softmax(..) @ V` and expresses z as

    z[query] = offset[query] + sum_head gate[query, slots[head]] * (pattern[head, query] @ value[head])   at slots[head]

by replaying the recorded shape and scale calls between product and z on test tensors: codes find where every (head,
coordinate) lands, ones find the elementwise gate. No layout of heads is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice

import torch
from torch import Tensor

from .linear import is_linear
from .nodes import Node, behind, called, plain, replay
from .ops import ADD, DIV, IDENTITY, MUL, NEG, NORM, SUB, VIEW
from .plans import NO_PLAN, Plan
from .products import Product, beside, is_attention_product, odd_rows, read_product
from .rounding import backward_error
from .rules import norm_factor

_SHAPE = IDENTITY | VIEW | {
    "transpose", "permute", "swapaxes", "movedim", "__getitem__", "chunk", "split", "unbind", "cat", "expand", "narrow",
    "t", "select", "index_select", "repeat_interleave", "stack", "tensor_split", "pad",
}  # fmt: skip
_LINEAR = _SHAPE | ADD | SUB | MUL | DIV | NEG | NORM | {"masked_fill"}
_UNKNOWN = torch.tensor(math.nan)


@dataclass
class Heads:
    """The heads of one attention part, in the order in which the model computed them."""

    products: list[Product]
    offset: Tensor | None  # [query, z]: what is in z besides the heads; belongs to the constants
    error: Tensor = _UNKNOWN  # [], how far the heads miss z, relative to what is added up
    future: Tensor = _UNKNOWN  # [], largest attention paid to a later token; 0 in a causal model

    @property
    def n_heads(self) -> int:
        return sum(p.n_heads for p in self.products)

    @property
    def is_plain(self) -> bool:
        """One product, whose heads stand in z one after the other and are all that is in it."""
        return len(self.products) == 1 and self.products[0].begins == 0 and self.offset is None

    def made_from(self) -> tuple[list[Node], list[tuple[Node, ...]]]:
        """The calls that made the values and the patterns; told once, so that the tape need not be kept."""
        values = [p.made_by for p in self.products if p.made_by is not None]
        patterns = [p.asked_by for p in self.products]
        for p in self.products:
            p.made_by, p.asked_by = None, ()
        return values, patterns

    def pattern(self, query: Sequence[int] | slice = slice(None)) -> Tensor:
        """Attention probabilities [head, query, key], float32 or better."""
        made = [p.pattern(query) for p in self.products]
        wide = torch.promote_types(made[0].dtype, torch.float32)
        return torch.cat([m.to(wide) for m in made])

    def head(self, index: int) -> tuple[Product, int]:
        """The product a head belongs to, and the head's number in it."""
        for p in self.products:
            if index < p.n_heads:
                return p, index
            index -= p.n_heads
        raise IndexError(index)


def find_heads(z: Node, n_tokens: int, plan: Plan = NO_PLAN) -> Heads | None:
    """The heads that make up z, still to be checked; None if no attention product leads to z.

    Raises ValueError when a product leads to z but cannot be followed.
    """
    found = plan.nodes("products", [z], lambda: _products_behind(z))
    if not found:
        return None
    width = z.shape[-1]
    wide = torch.promote_types(z.value.dtype, torch.float32)
    if len(found) == 1 and plan.answer("plain merge", [z], lambda: _is_plain_merge(z, found[0])):
        product = read_product(found[0])
        _check_slots(product, n_tokens)
        product.slots = _in_order(width, product.n_heads, z.value.device)
        product.begins = 0
        return Heads([product], None)

    nothing = {n: torch.zeros_like(n.value) for n in found}
    offset = _replayed(z, nothing).reshape(n_tokens, width).to(wide)
    products: list[Product] = []
    for n in found:
        product = read_product(n)
        product.n_heads = n.value.numel() // (product.n_queries * product.value.shape[-1])
        _check_slots(product, n_tokens)
        products += _place(z, n, product, nothing, offset, n_tokens)
    return Heads(products, offset if bool(offset.any()) else None)


@lru_cache(32)
def _in_order(width: int, n_heads: int, device: torch.device) -> Tensor:
    return torch.arange(width, device=device).reshape(n_heads, -1)


def _check_slots(product: Product, n_tokens: int) -> None:
    n_keys, n_queries = product.value.shape[1], product.n_queries
    if n_keys != n_tokens or n_queries != n_tokens:
        raise ValueError(f"attention of {n_queries} queries over {n_keys} keys, for {n_tokens} tokens")


def _products_behind(z: Node, limit: int = 400) -> list[Node]:
    return [n for n in islice(behind([z], partial(_ends, z)), limit) if is_attention_product(n)]


def _is_plain_merge(z: Node, product: Node) -> bool:
    """z = product.transpose(1, 2).reshape(1, token, -1) and nothing else: the usual layout, no replay needed."""
    if len(product.shape) != 4 or product.op == "einsum":
        return False
    swapped = False
    n = z
    while n is not product:
        x = n.args[0] if n.args and isinstance(n.args[0], Node) else None
        if x is None:
            return False
        if (
            n.op in {"transpose", "permute"}
            and not swapped
            and n.args[1:] in ((1, 2), (2, 1), (0, 2, 1, 3), ((0, 2, 1, 3),))
        ):
            swapped = True
        elif n.op in IDENTITY and x.shape == n.shape:
            pass
        elif n.op in VIEW and x.shape[:-2] == n.shape[:-1] and x.shape[-2] * x.shape[-1] == n.shape[-1] and not swapped:
            pass  # the merge of heads, after the swap in time
        elif n.op in VIEW and (x.shape == n.shape or (not swapped and x.shape[-1] == n.shape[-1])):
            pass
        else:
            return False
        n = x
    heads, tokens, width = product.shape[1:]
    return swapped and heads * width == z.shape[-1] and z.value.numel() == tokens * z.shape[-1]


# ---- following ----


def _place(
    z: Node, n: Node, product: Product, nothing: dict[Node, Tensor], offset: Tensor, n_tokens: int
) -> list[Product]:
    """The product with its slots and gate; split by head where heads overlap in z (differential attention)."""
    d_head, width, device, n_heads = product.value.shape[-1], z.shape[-1], z.value.device, product.n_heads
    laid_out = product.laid_out or partial(torch.reshape, shape=n.shape)
    # Two small numbers for each place and not one large: float32 is exact below 2^24, and some devices have no float64.
    numbers = torch.arange(1, n_heads * d_head + 1, dtype=torch.float32, device=device).reshape(n_heads, 1, d_head)
    tokens = torch.arange(1, n_tokens + 1, dtype=torch.float32, device=device)[:, None]
    zeros = {m: torch.zeros(m.shape, device=device) for m in nothing}

    def landing(heads: Tensor) -> Tensor | None:
        """[head, d_head] slots of these heads alone, or None when they do not land cleanly."""
        mask = torch.zeros(n_heads, n_tokens, d_head, device=device)
        mask[heads] = 1
        number, token = (
            _replayed(z, {**zeros, n: laid_out(code * mask)}, shapes_only=True).reshape(n_tokens, width)
            for code in (numbers, tokens)
        )
        used = number > 0
        at = used[0].nonzero().reshape(-1)
        clean = (number == number[:1]).all() & ((token == tokens) | ~used).all()
        if at.numel() != len(heads) * d_head or not bool(clean):
            return None
        slots = torch.full((n_heads * d_head,), -1, dtype=torch.long, device=device)
        slots[number[0, at].round().long() - 1] = at
        slots = slots.reshape(n_heads, d_head)[heads]
        return None if bool((slots < 0).any()) else slots

    def gate(heads: Tensor) -> Tensor:
        ones = torch.zeros(n_heads, n_tokens, d_head, dtype=z.value.dtype, device=device)
        ones[heads] = 1
        return _replayed(z, {**nothing, n: laid_out(ones)}).reshape(n_tokens, width).to(offset.dtype) - offset

    everyone = torch.arange(n_heads, device=device)
    slots = landing(everyone)
    if slots is not None:
        gates = gate(everyone)
        product.slots = slots
        product.gate = None if bool(((gates[:, slots.reshape(-1)] - 1).abs() < 1e-6).all()) else gates
        return [product]
    alone = []
    for h in range(n_heads):
        slots = landing(everyone[h : h + 1])
        if slots is None:
            raise ValueError("the heads cannot be followed from the attention product to the output projection")
        one = slice(h, h + 1)
        pattern = product.pattern()[one]
        gates = gate(everyone[one])
        alone.append(
            Product(product.values()[one], 1, pattern, None, slots, gates, product.made_by, asked_by=product.asked_by)
        )
    return alone


def _replayed(z: Node, given: dict[Node, Tensor], *, shapes_only: bool = False) -> Tensor:
    """z recomputed from `given` through the recorded linear calls; norm statistics and gates stay as recorded."""
    return replay(z, given, keeps=partial(_ends, z), call=partial(_redone, shapes_only=shapes_only))


def _ends(z: Node, n: Node) -> bool:
    """The way back from z through linear calls ends here."""
    return n.op not in _LINEAR or is_attention_product(n) or (n is not z and is_linear(n))


def _redone(n: Node, values: Mapping[Node, Tensor], *, shapes_only: bool) -> Tensor:
    moving = [isinstance(x, Node) and x in values for x in n.args]
    a = [plain(x, values) for x in n.args]
    if n.op in MUL | DIV:
        if (moving[0] and moving[1]) or (n.op in DIV and moving[1]):
            raise ValueError(f"`{n.op}` of two quantities that both depend on the attention product")
        if shapes_only:
            return torch.broadcast_to(a[0] if moving[0] else a[1], n.shape)
        return a[0] * a[1] if n.op in MUL else a[0] / a[1]
    if n.op in ADD | SUB:
        if shapes_only:
            nothing = torch.zeros(n.shape, device=n.value.device)
            return sum((x for x, m in zip(a[:2], moving, strict=False) if m), nothing)
        return a[0] + (-1 if n.op in SUB else 1) * n.kwargs.get("alpha", 1) * a[1]
    if n.op in NORM:
        if shapes_only:
            return a[0]
        if n.op == "layer_norm":
            raise ValueError(
                "a LayerNorm between the attention product and the output projection subtracts a mean over heads"
            )
        weight = n.argument(2, "weight")
        x = a[0] * norm_factor(n)
        return x * weight.value if isinstance(weight, Node) else x
    if n.op in IDENTITY or n.op == "masked_fill" or (n.op in NEG and shapes_only):
        return a[0]
    if n.op in {"view", "reshape", "_unsafe_view"}:
        return a[0].reshape(n.shape)
    return called(n, values)


FEW = 96  # tokens of a prompt whose rows are all checked


def check_heads(alike: Sequence[Heads], z: Tensor, check_rows: Sequence[int] | None) -> None:
    """Enters how far heads miss z [write, query, z], on some rows (None: all), and what they pay to later tokens.

    Several at once are plain and of the same shapes.
    """
    n, n_tokens, width = z.shape
    heads, products = alike[0], alike[0].products if len(alike) == 1 else [beside([h.products[0] for h in alike])]
    every = check_rows is None or n_tokens <= FEW
    some = () if check_rows is None else check_rows
    rows = slice(None) if every else sorted({*some, *(r for p in products for r in odd_rows(p))})
    truth = z[:, rows]
    wide = torch.promote_types(truth.dtype, torch.float32)
    future = torch.zeros(n, device=truth.device)
    found: list[tuple[slice | Tensor, Tensor, Tensor]] = []
    for p in products:
        pattern, value, at = p.pattern(rows).to(wide), p.values().to(wide), p.places()
        if p.scores is None or not p.scores[3]:  # else it cannot
            numbers = torch.arange(n_tokens, device=truth.device)
            later = pattern * (numbers > numbers[rows][:, None])
            future = torch.maximum(future, later.reshape(n, -1).amax(-1).float())
        out, sizes = pattern @ value, pattern @ value.abs() * (1 + p.unsureness(rows, pattern))  # [head, query, d_head]
        both = [x.unflatten(0, (n, -1)).transpose(1, 2).flatten(2) for x in (out, sizes)]
        if p.gate is not None:
            gate = p.gate[rows][:, at].to(wide)
            both = [both[0] * gate, (both[1] * gate).abs()]
        found.append((at, both[0], both[1]))
    at, rebuilt, size = found[0]
    whole = isinstance(at, slice) and rebuilt.shape[-1] == width
    if heads.offset is not None or not whole:  # else, as mostly, one product makes all of it
        rebuilt = torch.zeros_like(truth, dtype=wide)
        if heads.offset is not None:
            rebuilt += heads.offset[rows]
        size = rebuilt.abs()
        for places, out, sizes in found:
            rebuilt[..., places] += out
            size[..., places] += sizes
    error = backward_error(truth, rebuilt, size, (-2, -1))
    for p in products:
        if not every and p.made is not None:
            future = torch.maximum(future, p.made.triu(1).max().float())
            if len(products) == 1 and p.gate is None:
                error = torch.maximum(error, _error_of_made(p, p.made, heads.offset, z[0]))
    for h, of, later in zip(alike, error.unbind(), future.unbind(), strict=True):
        h.error, h.future = of, later


def _error_of_made(p: Product, pattern: Tensor, offset: Tensor | None, z: Tensor) -> Tensor:
    """All rows of a pattern that the model made itself, by the sums of each head's coordinates under random signs."""
    wide = torch.promote_types(z.dtype, torch.float32)
    z = z.to(wide) if offset is None else z.to(wide) - offset.to(wide)
    value, d_head = p.values().to(wide), p.slots.shape[1]
    sign = (1 - 2 * ((torch.arange(d_head, device=z.device) * 2654435761 >> 7) % 2)).to(wide)
    both = torch.stack([value @ sign, value.abs().sum(-1)], -1)  # [head, key, 2]
    got, size = (pattern.to(wide) @ both).unbind(-1)  # [head, query] each
    return backward_error(z[:, p.slots.reshape(-1)].unflatten(1, p.slots.shape) @ sign, got.T, size.T)
