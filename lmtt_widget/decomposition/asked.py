"""How the scores of one attention product came about: queries, keys, and what position, mask and sinks add.

score[head, query, key] = scale * q[head, query] . k[head, key] + beside[head, query, key]

The layer concerned is run once more, so that its tape is back: alone where it then gives its recorded state to the bit,
else in a pass that ends there. Knows nothing of parts and shares.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _push_mode

from .alone import Call
from .forward import forward_logits, in_turn, readable
from .frozen import Frozen
from .heard import Hearer
from .linear import is_linear
from .nodes import Node, Place, behind, replay
from .ops import MATMUL
from .products import Product, is_attention_product, read_product
from .restored import Modes, Undo, whatever_happens

_CAPS = {"tanh", "tanh_"}
_SOFTMAX = {"softmax", "_softmax", "log_softmax"}
_SHIFTS = {"max", "amax"}  # a number that is taken from a whole row
_OPERANDS = {"matmul": ((0, "input"), (1, "other")), "baddbmm": ((1, "batch1"), (2, "batch2"))}
_HIDDEN = -1e30  # what a mask adds, or less


@dataclass
class Asked:
    """The scores of one attention product as its queries and keys; the functions are of one state each."""

    query: Frozen
    key: Frozen
    states: tuple[int, int]  # that queries and keys were made from
    lead: tuple[int, ...]  # the axes of heads
    shared: int  # heads that share a key, where the call itself repeats them
    scale: Tensor | float  # broadcasts to [head, query, key]
    beside: Tensor  # [head or 1, query or 1, key]: what is added that is no product
    seen: Tensor  # [head or 1, query or 1, key]: not hidden by a mask
    capped: bool  # the model bends these scores before the softmax
    first: int = 0  # of these heads, the one that is the product's first

    def queries(self, row: int, vectors: Tensor, head: int) -> Tensor:
        """A head's query at a row, where the state there is each of the vectors: [n, d_head]."""
        return self._of_head(self.query.at(row, vectors), self.first + head)

    def keys(self, row: int, vectors: Tensor, head: int) -> Tensor:
        """The same of its key."""
        return self._of_head(self.key.at(row, vectors), (self.first + head) // self.shared)

    def all_keys(self, value: Tensor, head: int) -> Tensor:
        """A head's keys where the state is a value [pos, d_model]: [key, d_head]."""
        made = self.key.everywhere(value)
        return self._of_head(made.movedim(self.key.axis[self.key.node], 0), (self.first + head) // self.shared)

    def recorded_query(self, row: int, head: int) -> Tensor:
        """A head's query as the pass made it: [d_head]."""
        made = self.query.node.value.movedim(self.query.axis[self.query.node], 0)
        return self._of_head(made, self.first + head)[row]

    def recorded_keys(self, head: int) -> Tensor:
        """A head's keys as the pass made them: [key, d_head]."""
        made = self.key.node.value.movedim(self.key.axis[self.key.node], 0)
        return self._of_head(made, (self.first + head) // self.shared)

    def number(self, x: Tensor | float, head: int, query: int) -> Tensor:
        """What `scale`, `beside` or `seen` is for a head at a query: [key] or []."""
        if not isinstance(x, Tensor) or x.ndim == 0:
            return torch.as_tensor(x, dtype=torch.float64, device=self.beside.device)
        return x[self.first + head if len(x) > 1 else 0, query if x.shape[1] > 1 else 0]

    def _of_head(self, x: Tensor, head: int) -> Tensor:
        lead = self.lead if self.shared == 1 else x.shape[1:-1]
        return x.expand(len(x), *lead, x.shape[-1]).reshape(len(x), -1, x.shape[-1])[:, head]


class _Done(Exception):
    """The layer has run; no error."""


class _Asker(Hearer):
    """Hears a pass as far as one layer, and keeps what is on its tape."""

    def __init__(self, model: nn.Module, layers: list[nn.Module], n_tokens: int, wanted: int) -> None:
        super().__init__(model, layers, n_tokens, False)
        self.wanted, self.latest = wanted, 0
        self.state: dict[Node, int] = {}
        self.nodes: list[Node] = []
        self.ended: Tensor | None = None  # what the layer gave

    def heard(self, state: int, x: Tensor) -> None:
        self.latest = state
        if id(x) in self.tape.nodes:
            self.state[self.tape.nodes[id(x)]] = state

    def _continue_from(self, *ends: Tensor) -> None:
        super()._continue_from(*ends)
        self.state = {self.reader.states[-1]: self.latest}

    def _read(self, outs: Sequence[Node], where: str, module: str, _kind: Hashable | None = None) -> None:
        if self.number == self.wanted:
            first = next(iter(self.state))
            self.nodes, self.ended = list(behind(outs, lambda n: n is first)), outs[0].value
            raise _Done
        super()._read(outs, where, module)


@dataclass(frozen=True, eq=False)
class Heard:
    """What was recorded: its tokens, where its states were made, and the product of a layer that is asked about."""

    n_tokens: int
    places: Sequence[tuple[int, Place | None]]  # of the states, by their numbers
    layer: int
    product: Product


@dataclass(frozen=True, eq=False)
class Alone:
    """A layer as it was called, its recorded state before and after, and where the latter was made."""

    call: Call
    start: Tensor  # [pos, d_model]
    end: Tensor
    place: Place | None


def asked(
    model: nn.Module, layers: Sequence[nn.Module], inputs: dict[str, Any], heard: Heard, alone: Alone | None = None
) -> Asked:
    """The scores behind a product of a layer that was recorded, by running this layer alone where that will do.

    Raises ValueError where they are no products of queries and keys of one state each.
    """
    if alone is not None and alone.place is not None:
        with suppress(ValueError, TypeError, RuntimeError):
            asker = _asker(model, layers, heard)
            asker.number, asker.latest, asker.tape.stretch = heard.layer, alone.call.state, alone.place[0] - 1
            _run(asker, model, partial(alone.call.again, alone.start))
            if asker.ended is not None and torch.equal(asker.ended.reshape(alone.end.shape), alone.end):
                return _found(asker, heard.product)
    asker = _asker(model, layers, heard)
    _run(asker, model, partial(forward_logits, model, inputs))
    return _found(asker, heard.product)


def _asker(model: nn.Module, layers: Sequence[nn.Module], heard: Heard) -> _Asker:
    asker = _Asker(model, list(dict.fromkeys(layers)), heard.n_tokens, heard.layer)
    for index, place in heard.places:
        if place is not None and index:
            asker.tape.listeners[place] = partial(asker.heard, index)
    return asker


def _run(asker: _Asker, model: nn.Module, work: Callable[[], object]) -> None:
    def passed(undo: Undo) -> None:
        readable(model, undo)
        undo += [Modes().restore, asker.unhook]
        asker.hook()
        torch.set_grad_enabled(False)
        _push_mode(asker.tape)
        with suppress(_Done):
            work()

    in_turn(list(asker.layers), lambda: whatever_happens(passed))


def _found(asker: _Asker, product: Product) -> Asked:
    with torch.no_grad():
        for n in asker.nodes:
            first = _first_head(read_product(n), product) if is_attention_product(n) else None
            if first is not None:
                made = _of_kernel(n, asker) if n.op == "scaled_dot_product_attention" else _of_pattern(n, asker)
                made.first = first
                return made
    raise ValueError("the pass did not make this attention again, so it is not known how its scores were made")


def _first_head(p: Product, other: Product) -> int | None:
    """The head of one product that is the first of another, where they are the same heads."""
    if p.scores is not None and other.scores is not None:
        q, same = p.scores[0], other.scores[0]
        return 0 if q.shape == same.shape and torch.equal(q, same) else None
    made, same = p.pattern(), other.pattern()[:1]
    if made.shape[1:] != same.shape[1:]:
        return None
    alike = (made == same).flatten(1).all(1).nonzero()
    return int(alike[0, 0]) if len(alike) else None


def _of_kernel(n: Node, asker: _Asker) -> Asked:
    p = read_product(n)
    assert p.scores is not None
    q, k, mask, causal, scale = p.scores
    size = q.shape[1]
    beside = torch.zeros(1, 1, size, dtype=q.dtype, device=q.device)
    if mask is not None:
        is_bool = mask.dtype == torch.bool
        beside = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -torch.inf) if is_bool else mask
    if causal:
        later = torch.ones(size, size, dtype=torch.bool, device=q.device).triu(1)
        beside = beside.expand(len(beside), size, size).masked_fill(later, -torch.inf)
    query, key = n.argument(0, "query"), n.argument(1, "key")
    return _made(query, key, asker, tuple(query.shape[:-2]), len(q) // len(k), scale, beside, beside > _HIDDEN, False)


def _of_pattern(n: Node, asker: _Asker) -> Asked:
    pattern = read_product(n).asked_by[0]
    softmax = [m for m in behind([pattern], lambda m: m.op in _SOFTMAX) if m.op in _SOFTMAX]
    if len(softmax) != 1:
        raise ValueError("its pattern is not one softmax of scores")
    scores = softmax[0].first()
    assert scores is not None
    around = list(behind([scores], _is_product))
    products = [m for m in around if _is_product(m)]
    if len(products) != 1:
        made = ", ".join(dict.fromkeys(m.op for m in products)) or "no product"
        raise ValueError(f"its scores are made by {made}, not by one product of queries and keys")
    product = products[0]
    caps = [m for m in around if m.op in _CAPS]
    until = caps[0].first() if caps else scores
    assert until is not None
    query, key = (product.argument(k, name) for k, name in _OPERANDS.get(product.op, _OPERANDS["matmul"]))
    added, alpha = torch.zeros_like(product.value), 1.0
    if product.op == "baddbmm":
        alpha = product.kwargs.get("alpha", 1)
        added = added + product.argument(0, "input").value * product.kwargs.get("beta", 1)

    def given(x: Tensor) -> Tensor:
        def stays(m: Node) -> bool:
            return m.op in _SHIFTS

        out = replay(until, {product: x}, keeps=stays) if until is not product else x
        return out.reshape(-1, *out.shape[-2:])[..., : product.shape[-1]]

    beside, whole = given(added), given(added + alpha)
    half = given(added + alpha / 2)
    scale = whole - beside
    seen = scores.value.reshape(-1, *scores.shape[-2:])[..., : product.shape[-1]] > _HIDDEN
    scale = torch.where(beside > _HIDDEN, scale, 0)
    if product.op == "einsum" or not torch.allclose(scale[seen], 2 * (half - beside)[seen], rtol=1e-4, atol=1e-6):
        raise ValueError("its scores are made of queries and keys in a way that is not known")
    return _made(query, key, asker, tuple(product.shape[:-2]), 1, scale, beside, seen, bool(caps))


def _is_product(n: Node) -> bool:
    two = n.op in MATMUL | {"baddbmm", "einsum"} and not is_linear(n)
    return two and n.shape[-1:] == n.shape[-2:-1]


def _made(query: Node, key: Node, asker: _Asker, lead: tuple[int, ...], shared: int, *rest: Any) -> Asked:
    functions, states = [], []
    for what, n in (("query", query), ("key", key)):
        met = [m for m in behind([n], asker.state.__contains__) if m in asker.state]
        if len(met) != 1:
            how = (
                "several states" if met else "no state of this layer (an earlier layer's keys, or a call outside torch)"
            )
            raise ValueError(f"its {what} is made of {how}")
        try:
            functions.append(Frozen(n, met[0], asker.reader.n_tokens))
        except ValueError as e:
            raise ValueError(f"its {what} cannot be split: {e}") from e
        states.append(asker.state[met[0]])
    return Asked(functions[0], functions[1], (states[0], states[1]), lead, shared, *rest)
