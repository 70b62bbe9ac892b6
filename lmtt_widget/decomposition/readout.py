"""From the last state to the logits with the final norm frozen: what any vector adds to each logit."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .freivalds import row_errors
from .linear import LinearMap, is_constant, linear_leaf
from .nodes import Node, behind, called, replay
from .ops import DIV, IDENTITY, MUL, VIEW
from .paths import Path
from .residual import Walk
from .rounding import backward_error
from .streams import Spread, Streams
from .terms import together


@dataclass
class Stage:
    """A linear map, and how its input is made of the last state or of the outputs of earlier stages, steps frozen."""

    ways: list[tuple[Path | Spread, Stage | None]]  # None: from the last state itself; most models have one stage
    constants: list[tuple[Path | Spread, Tensor]]  # added beside them: [row, n] each, the final norm's bias
    map: LinearMap
    like: Tensor  # an input of the map, for its width, dtype and device

    def stages(self) -> Iterator[Stage]:
        """This one and all behind it."""
        yield self
        for _, stage in self.ways:
            if stage is not None:
                yield from stage.stages()

    def direct(self, x: Tensor, row: int | None, outputs: Tensor | slice = slice(None)) -> Tensor:
        """What vectors x [n, d_model] in the last state at `row` add to the output: [n, out]; None: each at its own."""
        return self.map(self.frozen(x, row), outputs=outputs)

    def frozen(self, x: Tensor, row: int | None) -> Tensor:
        """What they add to the input of the map: [n, in]."""
        return self._added([path.apply(x if stage is None else stage.direct(x, row), row) for path, stage in self.ways])

    def sizes(self, x: Tensor, row: int | None, outputs: Tensor | slice = slice(None)) -> Tensor:
        """How much is added up to make the output of vectors x [n, d_model] in the last state: [n, out]."""
        total, bias = self.map.sizes(self.sizes_before(x, row), outputs), self.map.bias(self.like)
        return total if bias is None else total + bias[outputs].abs()

    def sizes_before(self, x: Tensor, row: int | None) -> Tensor:
        """How much is added up to make the input of the map: [n, in]."""
        ways = [(path, x.abs() if stage is None else stage.sizes(x, row)) for path, stage in self.ways]
        ways += [(path, _at(value, row).abs()) for path, value in self.constants]
        return self._added([path.of_sizes().apply(size, row) for path, size in ways])

    def constant(self, row: int | None, outputs: Tensor | slice = slice(None)) -> Tensor | None:
        """What in the output comes from no vector of the last state: [1, out]; None: in each row that has its own."""
        made = [path.apply(_at(value, row), row) for path, value in self.constants]
        earlier = [(path, stage.constant(row)) for path, stage in self.ways if stage is not None]
        made += [path.apply(c, row) for path, c in earlier if c is not None]
        total = self.map(self._added(made), outputs=outputs) if made else None
        bias = self.map.bias(self.like)
        if bias is None:
            return total
        return bias[outputs][None] if total is None else total + bias[outputs]

    def _added(self, made: list[Tensor]) -> Tensor:
        """Their sum, where the map is: the last state may be on another device."""
        here = [x.to(self.like.device) for x in made]
        return sum(here[1:], here[0])


@dataclass
class Readout:
    top: Stage  # the unembedding
    scale: float  # a factor on the logits after the unembedding
    cap: float | None  # logits = cap * tanh(x / cap) afterwards
    last: Node  # the last state, and the input of the unembedding that was made from it
    unembedded: Node
    streams: Streams  # how the last state is laid out
    error: Tensor  # [], relative error of the logits rebuilt from the last state

    def logits(self, states: Tensor, rows: Sequence[int] | slice, normalize: bool = True) -> Tensor:
        """What the model would say if these were its last states [pos, d_model]: logits [row, token] of some rows.

        The final norm is applied to the states themselves, by repeating the model's own calls; or left out (then
        parallel streams are read as their mean).
        """
        return self.unembed(self.final(states, rows, normalize))

    def final(self, states: Tensor, rows: Sequence[int] | slice, normalize: bool = True) -> Tensor:
        """What is unembedded of some rows of a state: [row, n]. Rows of several states may be unembedded together."""
        recorded = self.last.value
        if normalize:
            given = self.streams.shaped(states.to(recorded.device, recorded.dtype))
            with torch.no_grad():
                x = replay(self.unembedded, {self.last: given})
            return x.reshape(-1, x.shape[-1])[rows]
        x = states[rows].to(recorded.device)
        before: list[Stage] = []
        stage = self.top
        while stage.ways[0][1] is not None:
            stage = stage.ways[0][1]
            before.insert(0, stage)
        if x.shape[-1] < stage.like.shape[-1]:  # both streams are read
            x = x.repeat(1, stage.like.shape[-1] // x.shape[-1])
        elif x.shape[-1] > stage.like.shape[-1]:
            x = x.unflatten(-1, (-1, self.streams.width)).mean(-2)
        for stage in before:
            x = _affine(stage.map, x, stage.like)
        return x

    def unembed(self, x: Tensor) -> Tensor:
        """The logits of what `final` made: [row, n] -> [row, token]."""
        logits = _affine(self.top.map, x, self.top.like)
        return self.capped(logits if self.scale == 1 else logits * self.scale)

    def direct(self, x: Tensor, row: int | None, tokens: Tensor | None = None) -> Tensor:
        """What vectors x [n, d_model] in the last state at `row` add to the logits before any cap: [n, token]."""
        return self.top.direct(x, row, self._columns(tokens)) * self.scale

    def frozen(self, x: Tensor, row: int) -> Tensor:
        """What is unembedded of them; rows of several positions may be unembedded together, by `added`."""
        return self.top.frozen(x, row)

    def added(self, x: Tensor) -> Tensor:
        """What the rows that `frozen` made add to the logits before any cap: [n, token]."""
        return self.top.map(x) * self.scale

    def sizes(self, x: Tensor, row: int, tokens: Tensor | None = None) -> Tensor:
        """How much is added up to make the logits of vectors x [n, d_model] before any cap: [n, token]."""
        return self.top.sizes(x, row, self._columns(tokens)) * abs(self.scale)

    def constant(self, row: int, tokens: Tensor | None = None) -> Tensor | None:
        """What in the logits no vector of the stream accounts for (norm bias, unembedding bias): [token]."""
        total = self.top.constant(row, self._columns(tokens))
        return None if total is None else total[0] * self.scale

    def capped(self, logits: Tensor) -> Tensor:
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def _columns(self, tokens: Tensor | None) -> Tensor | slice:
        return slice(None) if tokens is None else tokens.to(self.top.like.device)


@dataclass
class Unembedding:
    """logits = capped(scale * (input W + b)), capped(x) = cap * tanh(x / cap)."""

    made: Node  # input W + b
    input: Node
    scale: float
    cap: float | None


def unembedding(logits: Node) -> Unembedding | None:
    """The linear map behind these logits; None if none leads to them."""
    n, scale, cap = logits, 1.0, None
    after: list[float | None] = []  # factors from the unembedding upward, None for a tanh
    while (found := linear_leaf(n)) is None:
        x = n.args[0] if n.args and isinstance(n.args[0], Node) else None
        if x is None:
            return None
        if n.op in MUL | DIV and len(n.args) == 2:
            c = n.args[1].value if isinstance(n.args[1], Node) else n.args[1]
            if isinstance(c, Tensor) and c.numel() != 1:
                return None
            after.insert(0, float(c) if n.op in MUL else 1 / float(c))
        elif n.op == "tanh":
            after.insert(0, None)
        elif not (n.op in IDENTITY | VIEW | {"__getitem__"} and x.value.numel() == n.value.numel()):
            return None
        n = x
    for factor in after:
        if factor is None:
            cap = 1.0
        elif cap is None:
            scale *= factor
        else:
            cap *= factor
    if cap is not None:  # scale * x, tanh, times cap: the logits before the cap are in units of the cap
        scale *= cap
    return Unembedding(n, found[1], scale, cap)


def read_out(logits: Node, last: Node, width: int, n_tokens: int, check_rows: Sequence[int] | None) -> Readout | None:
    """The readout behind these logits, checked on some rows; None if they are no linear maps of the last state."""
    found = unembedding(logits)
    streams = Streams.of(last.shape, n_tokens, width)
    top = None if found is None else _stage(found.made, last, n_tokens)
    if found is None or top is None or streams is None:
        return None
    readout = Readout(top, found.scale, found.cap, last, found.input, streams, torch.zeros(()))
    readout.error = _error(readout, logits.value, streams.rows(last.value), check_rows)
    return readout


def taken_rows(logits: Node, states: Container[Node], n_tokens: int) -> tuple[Node, Tensor] | None:
    """The call that takes the rows of some tokens, of which these logits are, and which rows; None if there is none."""
    n_rows = math.prod(logits.shape[:-1])
    if n_rows >= n_tokens:
        return None
    for n in behind([logits], states.__contains__):
        x = n.first()
        if n.op not in _TAKES or x is None or [math.prod(y.shape[:-1]) for y in (n, x)] != [n_rows, n_tokens]:
            continue
        numbers = torch.arange(n_tokens, device=x.value.device).reshape(*x.shape[:-1], 1).expand(x.shape)
        rows = called(n, {x: numbers})
        alone = not any(m in states for m in behind([logits], lambda m, n=n: m is n))  # type: ignore[misc]
        if alone and rows.shape == n.shape and bool((rows == rows[..., :1]).all()):
            return n, rows[..., 0].reshape(-1)
    return None


_TAKES = {"__getitem__", "select", "narrow", "index_select", "gather", "take_along_dim"}


def _stage(n: Node, last: Node, n_tokens: int) -> Stage | None:
    """The linear map that made `n`, with everything behind it down to the last state; None if not all is linear."""
    found = linear_leaf(n)
    if found is None:
        return None
    mapping, z = found
    ways: list[tuple[Path | Spread, Stage | None]] = []
    constants = []
    side = last.shape[-1] // z.shape[-1] if len(last.shape) == 3 else 1
    for leaf, path, rows in together(Walk(z.shape[-1], [last], max(side, 1)).terms(z), n_tokens, z.shape):
        if leaf is last:
            ways.append((path, None))
        elif linear_leaf(leaf) is not None:
            stage = _stage(leaf, last, n_tokens)
            if stage is None:
                return None
            ways.append((path, stage))
        elif is_constant(leaf):
            constants.append((path, _constant_rows(leaf, rows)))
        else:
            return None
    return Stage(ways, constants, mapping, z.value.detach().reshape(-1, z.shape[-1])) if ways else None


def _affine(mapping: LinearMap, x: Tensor, like: Tensor) -> Tensor:
    y, bias = mapping(x), mapping.bias(like)
    return y if bias is None else y + bias


def _constant_rows(leaf: Node, rows: Tensor) -> Tensor:
    """The rows of a constant; one where it is the same for all tokens."""
    value = leaf.value.detach()
    return value.reshape(-1, rows.shape[-1]) if value.shape[-1:] == rows.shape[-1:] else rows


def _at(value: Tensor, row: int | None) -> Tensor:
    """[1, n] of one row, or all rows; of what is the same for all tokens its one row."""
    return value if row is None or value.shape[0] == 1 else value[row][None]


def _error(readout: Readout, logits: Tensor, last: Tensor, check_rows: Sequence[int] | None) -> Tensor:
    """Compared on all rows: for all tokens, or for what any row says next and a hundred tokens more, as sums."""
    logits = logits.detach().reshape(-1, logits.shape[-1])
    n_vocab = logits.shape[-1]
    tokens: Tensor | slice = slice(None)
    if check_rows is not None and n_vocab > 97:
        tokens = torch.cat([_spread(n_vocab, logits.device), _largest(logits)]).unique()
    top, scale = readout.top, readout.scale
    constant, weight = top.constant(None, tokens), top.map.weight()
    if (
        isinstance(tokens, Tensor)
        and weight is not None
        and readout.cap is None
        and (constant is None or len(constant) == 1)
    ):
        some = (
            weight.t().index_select(0, tokens.to(weight.device)).t()
        )  # rows of memory, where it is shared with the embedding
        bias = None if constant is None else constant[0] * scale
        before = top.sizes_before(last, None) * abs(scale)
        return row_errors(top.frozen(last, None) * scale, logits.index_select(1, tokens), some, bias, None, before)
    got, size = top.direct(last, None, tokens) * scale, top.sizes(last, None, tokens) * abs(scale)
    got = readout.capped(got if constant is None else got + constant * scale)
    return backward_error(logits[:, tokens], got, size)


@lru_cache(8)
def _spread(n_vocab: int, device: torch.device) -> Tensor:
    return torch.linspace(0, n_vocab - 1, 97).long().to(device)


def _largest(logits: Tensor) -> Tensor:
    """Where the largest number of each row is: [row]; numpy finds it three times as fast on a CPU."""
    if logits.device.type != "cpu" or logits.dtype not in (torch.float32, torch.float64) or type(logits) is not Tensor:
        return logits.argmax(-1)
    return torch.from_numpy(logits.numpy().argmax(-1))
