"""One leaf of a state's terms read as a write: attention, MLP, mixer, skip or constant, and the state it was made from.

Knows nothing of how states follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from .aliases import memory
from .followed import MOST, stays_with_its_token
from .heads import find_heads
from .later import Later
from .linear import constant_sources, is_constant, linear_leaf, weight_label
from .mapped import columns, gate_and_up, rows_of
from .mixing import looks_by_keys, mixes_tokens, row_by_row
from .modules import named_modules
from .nodes import Node, behind, brought
from .paths import Path
from .plans import NO_PLAN
from .products import Product, is_attention_product
from .streams import Spread
from .writes import LayerState, LinearWrite, Write

_FEW, _MANY = 64, 1 << 20  # whole numbers of one value that are looked at, of a long prompt and of a short one


class Names:
    """What a model calls its modules and parameters, by their id; labels only."""

    def __init__(self, model: nn.Module) -> None:
        self._model, named = model, named_modules(model)
        self.every = list(named.values())
        self.modules = {id(m): name for name, m in named.items()}
        self.buffers = {id(b) for m in self.every for b in m._buffers.values()}

    @cached_property
    def parameters(self) -> dict[int, str]:
        return {id(p): name for name, p in self._model.named_parameters()}


class LeafReader:
    """What every leaf is asked, given the states so far; what cannot be read is said in `problems`."""

    def __init__(self, names: Names, n_tokens: int, check_rows: list[int] | None) -> None:
        self.names, self.n_tokens, self.check_rows = names, n_tokens, check_rows
        self.width, self.side = 0, 1  # of one stream; how many of them stand side by side in one axis
        self.states: list[Node] = []  # oldest first
        self._index: dict[Node, int] = {}  # of those that a state may continue, while it is read
        self.tops: list[Node] = []  # the latest of them; of two streams that layers hand on beside each other, of each
        self.later = Later(n_tokens, check_rows)
        self.problems: list[str] = []
        self.notes: list[str] = []  # what is exact, but not resolved as usual
        self._taped_before: list[Tensor] = []  # made before the first layer (position tables, per-layer inputs)
        self.changed_but_not_read: dict[Node, LayerState] = {}  # what is put in place of states, by their nodes
        self._by_row: dict[tuple[Node, str], bool] = {}  # of the layer that is read
        self._plan = NO_PLAN  # of the layer that is read
        self._end: Node | None = None  # of that layer
        self._brought: dict[Node, Tensor] = {}  # whole numbers of it, from an accelerator
        self._copies: dict[Node, Tensor] = {}  # of the latest states: what the run keeps of each
        self._values: dict[int, int] = {}  # the memory of attention's values -> the state they were made from

    def said_of(self, x: Tensor) -> Hashable:
        """Whatever is asked of a parameter or constant besides its shape."""
        if type(x) is nn.Parameter:
            return x.stride(), False
        if type(x) is not Tensor or x.layout != torch.strided:
            return None
        return x.stride(), x.is_floating_point() and id(x) not in self.names.buffers, self._is_unknown(x)

    def _asked(self, question: str, about: Sequence[Node], find: Callable[[], bool]) -> bool:
        """What depends on how calls hang together since the states so far."""
        return self._plan.answer(question, [*about, self.states[-1]], find)

    def _first_met(self, n: Node, stops: Container[Node]) -> list[Node]:
        """The states that a value was computed from, not looking behind any."""
        return self._plan.nodes("met", [n, self.states[-1]], lambda: first_met(n, stops))

    def keeps_rows(
        self, node: Node, stops: Container[Node] = (), axis: int | None = None, tables: bool = False
    ) -> bool:
        """Did only calls that work on each row by itself lead to this value, but for attention's own products?

        axis: along which the tokens stand; None: as in the stream. tables: beside numbers that were made before (sines
        of positions).
        """
        ends = lambda n: n in stops or is_attention_product(n)  # noqa: E731
        known = lambda n: self._stays_in_row(n) or (tables and n.op == "const")  # noqa: E731
        if all(ends(n) or known(n) for n in behind([node], ends)):
            return True
        before = lambda n: tables or not self._is_unexplained(n)  # noqa: E731
        return self.n_tokens <= MOST and stays_with_its_token(
            node, self.n_tokens, stops, before, axis=axis, tables=tables, here=self._here
        )

    def _here(self, n: Node) -> Tensor:
        """A node's value, on the CPU if it is of whole numbers: those of a layer come all at once."""
        if n.value.device.type == "cpu" or n.value.is_floating_point():
            return n.value
        if n not in self._brought:
            ends = [n] if self._end is None else [n, self._end]
            self._brought |= brought(behind(ends, self.states.__contains__), _FEW if self.n_tokens > MOST else _MANY)
        return self._brought.get(n, n.value)

    def _stays_in_row(self, n: Node) -> bool:
        """Asked of most nodes of a layer several times; a node that was made anew since is another question."""
        key = n, n.op
        if key not in self._by_row:
            self._by_row[key] = row_by_row(n) and not self._is_unexplained(n)
        return self._by_row[key]

    def _looks_by_keys(self, by: tuple[Node, ...], stops: Container[Node]) -> bool:
        """Was this pattern, or were queries and keys, made so that no later token can matter but by its own weight?"""
        keeps = partial(self.keeps_rows, stops=stops, axis=-2, tables=True)
        return looks_by_keys(by[0], keeps) if len(by) == 1 else bool(by) and all(keeps(n) for n in by)

    def _is_unexplained(self, n: Node) -> bool:
        """Numbers that nothing on the tape made and that are no weights: perhaps made by a call that was not seen."""
        return n.op == "const" and n._value.is_floating_point() and id(n._value) not in self.names.buffers

    def _write(self, leaf: Node, path: Path | Spread, rows: Tensor, where: str) -> Write:
        if leaf.op == "embedding":
            return Write("skip", "embedding again", path, rows, 0)
        linear = linear_leaf(leaf)
        if linear is None:
            return self._unmapped(leaf, path, rows, where)
        mapping, x = linear
        label = (
            self.names.modules.get(id(leaf.module), "?")
            if leaf.module
            else weight_label(leaf, self.names.parameters, self._here)
        )
        stops = self._index
        reads = max((stops[n] for n in self._first_met(leaf, stops)), default=-1)
        write = LinearWrite("mlp", label, path, rows, reads, map=mapping, input=rows_of(x.value))
        if leaf.value.numel() == self.n_tokens * self.width and path.rows is None:
            try:
                write.heads = find_heads(x, self.n_tokens, self._plan)
            except ValueError as e:
                self.problems.append(f"{where}: {label}: {e}")
        if write.heads is not None:
            write.kind = "attention"
            write.reads = max(self._reads_values(product, stops, reads) for product in write.heads.products)
        elif path.shifted or reads < 0 or self._asked("mixes", [x], lambda: mixes_tokens(x, stops)):
            write.kind = "mixer"  # also where made of something that is no state: of any token
        elif gated := self._plan.nodes("gate", [x], lambda: gate_and_up(x)):
            write.gate, write.up = (rows_of(n.value) for n in gated)
            write.gated_by = tuple(found for n in gated if (found := columns(n)) is not None)
        if write.heads is not None:
            values, patterns = write.heads.made_from()
            simple = (self._asked("values", [n], partial(self.keeps_rows, n, stops, -2)) for n in values)
            write.simple = all(simple)
            write.looks_back = all(self._asked("keys", by, partial(self._looks_by_keys, by, stops)) for by in patterns)
        self._check(write)
        if self._asked("another stream", [leaf], lambda: self._reads_another_stream(leaf, stops)):
            self.problems.append(
                f"{where}: {label} is made of a second tensor that layers hand on beside the stream; a picture has one "
                "stream, so what came through the other would be missing"
            )
        return write

    def _check(self, write: LinearWrite) -> None:
        """Whether heads and map give what the model made, now or later."""
        if write.heads is not None:
            self.later.heads(write)
        self.later.map(write)

    def _reads_values(self, product: Product, stops: dict[Node, int], reads: int) -> int:
        """The state that values were made from, in this layer or, where they are those of an earlier one, there."""
        made_by = product.made_by
        here = [] if made_by is None else [stops[n] for n in self._first_met(made_by, stops)]
        where = memory(product.value) or 0
        if here:
            self._values[where] = max(here)
        return self._values.get(where, reads)

    def _reads_another_stream(self, leaf: Node, stops: Container[Node]) -> bool:
        """Does something as large as the stream enter, that is neither a state of this layer nor made before them?"""
        return any(
            n.op == "const" and n not in stops and n.shape[-1:] == (self.width,) and self._is_unknown(n.value)
            for n in behind(leaf.parents(), stops.__contains__)
        )

    def _is_unknown(self, x: Tensor) -> bool:
        """As large as the stream, and neither a buffer nor made before the first layer."""
        return (
            x.is_floating_point()
            and x.numel() >= self.n_tokens * self.width
            and id(x) not in self.names.buffers
            and (memory(x) is None or all(memory(x) != memory(v) for v in self._taped_before))
        )

    def _unmapped(self, leaf: Node, path: Path | Spread, rows: Tensor, where: str) -> Write:
        source = leaf
        while source.op not in ("param", "const") and source.args and isinstance(source.args[0], Node):
            source = source.args[0]
        foreign = source.op == "const" and self._is_unknown(source.value)
        if is_constant(leaf) and not foreign:
            known = all(n.op == "param" or id(n._value) in self.names.buffers for n in constant_sources(leaf))
            return Write("constant", self.names.parameters.get(id(leaf.value), leaf.op), path, rows, simple=known)
        met = {n: k for k, n in enumerate(self.states)}
        if not foreign and mixes_tokens(leaf, met) and (label := self._learned(leaf, met)):
            self.notes.append(
                f"{where}: {label} adds what is no output of a linear map, so it is shown as a mixer, whole"
            )
            return Write("mixer", label, path, rows, max((met[n] for n in first_met(leaf, met)), default=-1))
        made_by = "a call outside torch (custom kernel, TorchScript)" if foreign else f"`{leaf.op}`"
        self.problems.append(f"{where}: adds a vector made by {made_by} that is not the output of a linear map")
        return Write("opaque", leaf.op, path, rows)

    def _learned(self, leaf: Node, stops: Container[Node]) -> str | None:
        """A module or parameter between the states and a vector, the last one that was used."""
        used = sorted(behind([leaf], stops.__contains__), key=lambda n: -n.time)
        for n in (p for m in used for p in (m, *m.parents())):
            label = self.names.modules.get(id(n.module)) or self.names.parameters.get(id(n.value))
            if label:
                return label
        return None


def first_met(leaf: Node, stops: Container[Node]) -> list[Node]:
    """The stops that the leaf was computed from, not looking behind any."""
    return [n for n in behind(leaf.parents(), stops.__contains__) if n in stops]
