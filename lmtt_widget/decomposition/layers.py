"""The layers of a model as they run: each one's tape read as states and the writes that enter them."""

from __future__ import annotations

import contextlib
import re
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial, wraps
from types import TracebackType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from .heads import Heads, find_heads, is_attention_product
from .readout import Readout, read_out
from .residual import (
    IDENTITY,
    MATMUL,
    MUL,
    VIEW,
    LinearMap,
    Path,
    Spread,
    Streams,
    Walk,
    is_constant,
    is_linear,
    linear_leaf,
    together,
    weight_label,
)
from .tape import Node, Tape, is_linear_module

_F = TypeVar("_F", bound=Callable[..., Any])
WriteKind = Literal["attention", "mlp", "mixer", "skip", "embedding", "constant", "opaque"]


class UndecomposableError(RuntimeError):
    """The model cannot be written exactly as a residual stream plus parts; the message says where and why."""


class ForwardError(RuntimeError):
    """The model's own forward pass failed; the message says in which module, the cause is the model's exception."""


@dataclass
class Write:
    """One vector per row that was added to the stream."""

    kind: WriteKind
    module: str  # path of the module or parameter; a label only
    path: Path | Spread
    output: Tensor  # [leaf row, d_model], before the path
    reads: int = -1  # index of the state it was computed from; -1: none

    def total(self, n_rows: int) -> Tensor:
        return self.path.total(self.output, n_rows)


@dataclass
class LinearWrite(Write):
    """The output of a linear map: input W + b."""

    map: LinearMap = field(kw_only=True)
    input: Tensor = field(kw_only=True)  # [leaf row, n]: z of an attention write, neuron values of an MLP write
    heads: Heads | None = None
    gate: Tensor | None = None  # [leaf row, n]: before its activation, where the input is act(gate) * up
    up: Tensor | None = None  # [leaf row, n]
    error: Tensor | None = None  # [], largest relative error of `input W + b = output`

    def expert(self, row: int) -> int | None:
        """The number of the expert that wrote leaf row `row`: by its batched weight or by the label."""
        if self.map.group:
            return row // self.map.group
        found = re.search(r"experts?\b.*?(\d+)", self.module)
        return int(found[1]) if found else None


@dataclass
class LayerState:
    value: Tensor  # [pos, d_model]
    carried: tuple[int, Path | Spread] | None  # index of the state it continues, with its frozen steps
    writes: list[Write]
    error: Tensor  # [], largest relative error of the sum


@dataclass
class Layer:
    index: int
    module: str
    states: list[LayerState]  # those made in it


@dataclass
class Recording:
    layers: list[Layer] = field(default_factory=list)
    embedding: LayerState | None = None
    readout: Readout | None = None
    logits: Tensor | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is exact, but not resolved as usual


def find_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers: of a list not inside another, as long as the config says, where most parameters are.

    Lists of the same kinds of layers belong to it (a model of several stacks).

    Raises UndecomposableError if there is none.
    """
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config(decoder=True)
    lengths = {
        getattr(config, k, None) for k in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
    }
    get_decoder: Any = getattr(model, "get_decoder", None)
    decoder = get_decoder() if get_decoder is not None else None
    lists = (_outer_lists(decoder) if isinstance(decoder, nn.Module) else []) or _outer_lists(model)
    if not lists:
        raise UndecomposableError(f"{type(model).__name__}: no list of decoder layers found; pass layers=...")
    best = max(lists, key=lambda c: (len(c) in lengths, sum(p.numel() for p in c.parameters())))
    kinds = {type(m) for m in best}
    return [m for c in lists if {type(m) for m in c} == kinds for m in c]


def run_recorded(
    model: nn.Module,
    layers: Iterable[nn.Module],
    n_tokens: int,
    inputs: dict[str, Any],
    *,
    check_all: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Recording:
    """One ordinary forward pass of `model(**inputs)`, each layer read as it ends.

    progress(done, total) is called after each layer. The hooks are gone afterwards, also after an exception.

    Raises UndecomposableError where a layer's output is not its input plus something, ForwardError where the model
    itself fails.
    """
    recorder = _Recorder(model, list(dict.fromkeys(layers)), n_tokens, check_all)
    recorder.progress = progress
    with recorder.hooks(), torch.no_grad(), recorder.tape:
        try:
            logits = forward_logits(model, inputs)
        except UndecomposableError:
            raise
        except Exception as e:
            where = recorder.module_that_failed(e.__traceback__)
            if where is None:
                raise
            raise ForwardError(f"the model's forward pass failed in {where}: {type(e).__name__}: {e}") from e
    if isinstance(logits, Tensor):
        recorder.result.logits = logits
        with torch.no_grad(), plain_precision():
            recorder.result.readout = recorder.readout(logits)
    return recorder.result


def forward_logits(model: nn.Module, inputs: dict[str, Any]) -> Any:
    """What `model(**inputs)` gives as logits; the argument named "" goes by position."""
    named = {k: v for k, v in inputs.items() if k}
    output = model(inputs[""], **named) if "" in inputs else model(**named)
    return getattr(output, "logits", output[0] if isinstance(output, (tuple, list)) else output)


@contextlib.contextmanager
def plain_precision() -> Iterator[None]:
    """Sums and products of what was recorded run in the dtype of their operands, also inside a user's autocast."""
    with contextlib.ExitStack() as off:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                off.enter_context(torch.autocast(device, enabled=False))
        yield


def in_plain_precision(f: _F) -> _F:
    """`f` under `plain_precision`."""

    @wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        with plain_precision():
            return f(*args, **kwargs)

    return call  # type: ignore[return-value]


_turns: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()
_counting = threading.Lock()
_n_recordings = 0
_stance = contextlib.ExitStack()


def turn(layers: Sequence[nn.Module]) -> Any:
    """A lock per model, known by its layers: they are the same whatever wraps them (PEFT, a user's module)."""
    with _counting:
        return _turns.setdefault(layers[0], threading.RLock())


@contextlib.contextmanager
def _no_compiled_graphs() -> Iterator[None]:
    # The stance belongs to the process, not to the thread: the first recording sets it, the last one puts it back.
    global _n_recordings
    with _counting:
        if _n_recordings == 0 and hasattr(torch.compiler, "set_stance"):
            _stance.enter_context(torch.compiler.set_stance("force_eager"))
        _n_recordings += 1
    try:
        yield
    finally:
        with _counting:
            _n_recordings -= 1
            if _n_recordings == 0:
                _stance.close()


@contextlib.contextmanager
def readable(model: Any) -> Iterator[list[str]]:
    """Makes the forward pass visible to torch functions: no compiled graphs, flash or flex kernels, grouped experts.

    Yields what was switched, in words. Everything is restored on exit; sdpa and eager stay as they are. The switches
    belong to the model, so recordings of one model take turns (`turn`).
    """
    config = getattr(model, "config", None)
    switched: list[str] = []
    with contextlib.ExitStack() as restore:
        restore.enter_context(_no_compiled_graphs())
        attention = getattr(config, "_attn_implementation", None)
        if attention not in (None, "eager", "sdpa"):
            # Before transformers 4.53 there is no such method, and a model looks into its config at every call.
            switch = getattr(model, "set_attn_implementation", partial(setattr, config, "_attn_implementation"))
            switch("eager")
            restore.callback(switch, attention)
            switched.append(f"attention ran as eager instead of {attention}")
        experts = getattr(config, "_experts_implementation", None)
        if experts not in (None, "eager") and hasattr(model, "set_experts_implementation") and _has_experts(model):
            model.set_experts_implementation("eager")
            restore.callback(model.set_experts_implementation, experts)
            switched.append(f"experts ran as eager instead of {experts}")
        yield switched


class _Recorder:
    def __init__(self, model: nn.Module, layers: list[nn.Module], n_tokens: int, check_all: bool) -> None:
        self.model, self.layers, self.n_tokens = model, layers, n_tokens
        self.check_rows = None if check_all else sorted({0, n_tokens // 2, n_tokens - 1})
        self.tape, self.result = Tape(), Recording()
        self.modules = {id(m): name for name, m in model.named_modules()}
        self.buffers = {id(b) for b in model.buffers()}
        self.taped_before: list[Tensor] = []  # made before the first layer (position tables, per-layer inputs)
        self.width = 0
        self.states: list[Node] = []
        self.between: list[Node] = []  # values like the stream that were made outside of layers, in case one is reused
        self.number = 0  # of the layer that runs
        self.progress: Callable[[int, int], None] = lambda *_: None
        self.values: dict[int, int] = {}  # where the values of attention lie in memory -> the state they were made from

    @cached_property
    def parameters(self) -> dict[int, str]:
        return {id(p): name for name, p in self.model.named_parameters()}

    @contextlib.contextmanager
    def hooks(self) -> Iterator[None]:
        thread = threading.get_ident()

        def mine(f: Any) -> Any:
            return lambda *a: f(*a) if threading.get_ident() == thread else None

        handles, inside = [], set[int]()
        try:
            for m in self.model.modules():
                if id(m) in inside:
                    continue
                embeds = isinstance(m, nn.Embedding)
                if embeds or is_linear_module(m):
                    inside.update(id(c) for c in m.modules())
                    handles.append(m.register_forward_pre_hook(mine(self._enter)))
                    leave = self._leave_embedding if embeds else self._leave_linear
                    handles.append(m.register_forward_hook(mine(leave), with_kwargs=True))
            for m in self.layers:
                handles.append(m.register_forward_pre_hook(mine(self._begin), with_kwargs=True))
                handles.append(m.register_forward_hook(mine(self._end)))
            yield
        finally:
            for h in handles:
                h.remove()

    def _enter(self, _module: nn.Module, _args: Any) -> None:
        self.tape.enter_module()

    def _leave_embedding(self, m: nn.Module, _args: Any, _kwargs: Any, out: Any) -> None:
        self.tape.leave_module(m, None, out, "embedding")

    def _leave_linear(self, m: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        x = args[0] if args else next(v for v in kwargs.values() if isinstance(v, Tensor))
        self.tape.leave_module(m, x, out, "call_linear")

    # ---- between layers ----

    def _begin(self, m: nn.Module, args: Any, kwargs: Any) -> None:
        where = f"layer {self.number} ({type(m).__name__})"
        h = _hidden(args, kwargs)
        if h is None:
            raise UndecomposableError(f"{where}: no hidden state among its inputs")
        if Streams.of(tuple(h.shape), self.n_tokens) is None:
            raise UndecomposableError(
                f"{where}: the residual stream has shape {list(h.shape)}; "
                f"expected [1, {self.n_tokens}, d_model], one vector per token (or per token and parallel stream)"
            )
        made = self.tape.nodes.get(id(h))
        with torch.no_grad(), plain_precision(), self.tape.paused():
            if not self.states:
                self.width = h.shape[-1]
                nodes = self.tape.nodes.values()
                self.taped_before = [n.value for n in nodes if n.value.ndim >= 3 and n.value.shape[-1] == self.width]
                self.result.embedding = self._embedding(h, made)
            elif made is not self.states[-1]:
                self._between(h, made, where)
        self.between += [
            n
            for n in self.tape.nodes.values()
            if n.time >= 0 and n.value is not h and n.op != "state" and n.shape == h.shape and n not in self.between
        ]
        self.states[-1:] = [self.tape.add(h, "state")]
        self._forget()

    def module_that_failed(self, traceback: TracebackType | None) -> str | None:
        """The innermost module of the model among the frames; None if this package failed while it read the tape."""
        where = type(self.model).__name__
        while traceback is not None:
            frame, traceback = traceback.tb_frame, traceback.tb_next
            owner = frame.f_locals.get("self")
            if owner is self:
                return None
            if isinstance(owner, nn.Module) and self.modules.get(id(owner)):
                where = f"{self.modules[id(owner)]} ({type(owner).__name__})"
        return where

    def _end(self, m: nn.Module, _args: Any, out: Any) -> None:
        where = f"layer {self.number} ({type(m).__name__})"
        h = out
        while isinstance(h, (tuple, list)):
            h = h[0]
        h = h if isinstance(h, Tensor) else getattr(h, "hidden_states", None)
        node = self.tape.nodes.get(id(h))
        if node is None or h is None:
            raise UndecomposableError(f"{where}: its output does not come from recorded torch calls (a custom kernel?)")
        with torch.no_grad(), plain_precision(), self.tape.paused():
            self.result.layers.append(self._layer(m, node, where))
        self.states[-1:] = [self.tape.add(h, "state")]
        self._forget()
        self.number += 1
        self.progress(self.number, max(self.number, len(self.layers)))

    def _forget(self) -> None:
        """Empties the tape, but for what a later layer may read again."""
        self.tape.clear()
        self.tape.nodes.update((id(n.value), n) for n in (*self.between, *self.states))

    def _embedding(self, h: Tensor, node: Node | None) -> LayerState:
        value = _stream_rows(h, self.n_tokens)
        writes = []
        if node is not None and node.op != "const":
            terms = Walk(self.width).terms(node)
            for leaf, path, rows in together(terms, self.n_tokens, tuple(h.shape)):
                kind: WriteKind = "constant" if is_constant(leaf) else "opaque"
                if leaf.op == "embedding" or is_linear(leaf):
                    kind = "embedding"
                label = self.modules.get(id(leaf.module)) or self.parameters.get(id(leaf.value), leaf.op)
                writes.append(Write(kind, label, path, rows))
        self.states.append(self.tape.node(h))
        error = _error(sum(w.total(self.n_tokens) for w in writes), value) if writes else torch.zeros(())
        return LayerState(value, None, writes, error)

    def _between(self, h: Tensor, made: Node | None, where: str) -> None:
        """A layer's input that is not the output of the layer before: the same values, or a state of its own."""
        before = self.states[-1].value
        if h.shape == before.shape and torch.equal(h.to(before.device), before):
            return
        n_problems = len(self.result.problems)
        try:
            states = [] if made is None else self._states_up_to(made, where)
        except UndecomposableError:
            states = []
        if not states or len(self.result.problems) > n_problems:
            self.result.problems.append(
                f"{where}: its input is not the previous layer's output (something acts between the layers)"
            )
        self.result.layers.append(Layer(self.number, "", states))

    # ---- one layer ----

    def _layer(self, m: nn.Module, out: Node, where: str) -> Layer:
        states = self._states_up_to(out, where)
        kinds = {w.kind for s in states for w in s.writes}
        if "attention" not in kinds and any(is_attention_product(n) for n in self.tape.nodes.values()):
            self.result.notes.append(
                f"{where}: attention does not reach the stream through one linear output projection, so it is shown as "
                "a mixer, without keys"
            )
        return Layer(self.number, self.modules.get(id(m), ""), states)

    def _states_up_to(self, out: Node, where: str) -> list[LayerState]:
        """The states from the latest one to `out`, oldest first."""
        states = []
        for n in self._state_nodes(self.states[-1], out, where):
            state = self._state(n, where)
            if n is out or not _is_copy(state):
                states.append(state)
                self.states.append(n)
        return states

    def _state(self, n: Node, where: str) -> LayerState:
        """A value of the stream as the latest state that it continues, and what was added."""
        index = {id(state): k for k, state in enumerate(self.states)}
        terms = together(Walk(self.width, self.states).terms(n), self.n_tokens, n.shape)
        from_states = [(index[id(leaf)], path, rows) for leaf, path, rows in terms if id(leaf) in index]
        carried = max(from_states, key=lambda found: (found[0], not found[1].steps))
        writes = [self._write(leaf, path, rows, where) for leaf, path, rows in terms if id(leaf) not in index]
        for found in from_states:
            if found is not carried:
                k, path, rows = found
                writes.append(Write("skip", f"skip from state {k}", path, rows, k))
        value = _stream_rows(n.value, self.n_tokens)
        total = carried[1].total(carried[2], self.n_tokens)
        for w in writes:
            total = total + w.total(self.n_tokens).to(total.device)
        return LayerState(value, carried[:2], writes, _error(total, value))

    def _state_nodes(self, start: Node, out: Node, where: str) -> list[Node]:
        """The nodes of the residual path that a branch reads or where it forks, and the output, oldest first."""
        walk = Walk(self.width, self.states)
        terms = walk.terms(out)
        if out.shape != start.shape or not any(t.leaf is start for t in terms):
            ends = ", ".join(sorted({t.leaf.op for t in terms}))
            raise UndecomposableError(
                f"{where}: no linear residual path from its input to its output; the way back ends at {ends}"
            )
        on_path, stack = {}, [out]
        while stack:
            n = stack.pop()
            if id(n) not in on_path and any(t.leaf is start for t in walk.memo.get(id(n), ())):
                on_path[id(n)] = n
                if n is not start:
                    stack.extend(n.parents())
        continued = Counter(id(p) for n in on_path.values() for p in n.parents() if id(p) in on_path and n is not start)
        states = {id(out): out} | {key: on_path[key] for key, times in continued.items() if times > 1}
        for t in terms:
            if all(t.leaf is not s for s in self.states) and not is_constant(t.leaf):
                states.update((id(n), n) for n in _first_met(t.leaf, on_path))
        states.pop(id(start), None)
        return sorted(states.values(), key=lambda n: n.time)

    def _write(self, leaf: Node, path: Path | Spread, rows: Tensor, where: str) -> Write:
        if leaf.op == "embedding":
            return Write("skip", "embedding again", path, rows, 0)
        linear = linear_leaf(leaf)
        if linear is None:
            return self._unmapped(leaf, path, rows, where)
        mapping, x = linear
        label = self.modules.get(id(leaf.module), "?") if leaf.module else weight_label(leaf, self.parameters)
        stops = {id(n): k for k, n in enumerate(self.states)}
        reads = max((stops[id(n)] for n in _first_met(leaf, {id(n): n for n in self.states})), default=-1)
        write = LinearWrite("mlp", label, path, rows, reads, map=mapping, input=_rows(x.value))
        if leaf.value.numel() == self.n_tokens * self.width and path.rows is None:
            try:
                write.heads = find_heads(x, self.n_tokens, self.check_rows)
            except ValueError as e:
                self.result.problems.append(f"{where}: {label}: {e}")
        if write.heads is not None:
            write.kind = "attention"
            for product in write.heads.products:  # keys and values may be those of an earlier layer
                write.reads = self.values.setdefault(product.value.data_ptr(), reads)
        elif _mixes_tokens(x, stops):
            write.kind = "mixer"
        else:
            write.gate, write.up = _gate_and_up(x)
        write.error = self._map_error(write)
        if self._reads_another_stream(leaf, stops):
            self.result.problems.append(
                f"{where}: {label} also reads a second stream, which no state here is a value of"
            )
        return write

    def _reads_another_stream(self, leaf: Node, stops: dict[int, int]) -> bool:
        """Does something as large as the stream enter, that is neither a state of this layer nor made before them?"""
        seen, stack = set(stops), list(leaf.parents())
        while stack:
            n = stack.pop()
            if id(n) in seen:
                continue
            seen.add(id(n))
            stack.extend(n.parents())
            if n.op == "const" and n.shape[-1:] == (self.width,) and self._is_unknown(n.value):
                return True
        return False

    def _is_unknown(self, x: Tensor) -> bool:
        """As large as the stream, and neither a buffer nor made before the first layer."""
        return (
            x.is_floating_point()
            and x.numel() >= self.n_tokens * self.width
            and id(x) not in self.buffers
            and all(x.untyped_storage().data_ptr() != v.untyped_storage().data_ptr() for v in self.taped_before)
        )

    def _unmapped(self, leaf: Node, path: Path | Spread, rows: Tensor, where: str) -> Write:
        source = leaf
        while source.op not in ("param", "const") and source.args and isinstance(source.args[0], Node):
            source = source.args[0]
        foreign = source.op == "const" and self._is_unknown(source.value)
        if is_constant(leaf) and not foreign:
            return Write("constant", self.parameters.get(id(leaf.value), leaf.op), path, rows)
        made_by = "a call outside torch (custom kernel, TorchScript)" if foreign else f"`{leaf.op}`"
        self.result.problems.append(f"{where}: adds a vector made by {made_by} that is not the output of a linear map")
        return Write("opaque", leaf.op, path, rows)

    def _map_error(self, w: LinearWrite) -> Tensor | None:
        """Does input W + b give what the module returned, and is a module whose weight cannot be read additive?

        Unless everything is checked: two rows, and of a plain weight a slice of outputs (reading it all costs time).
        """
        n = w.input.shape[0]
        if n == 0 or w.map.group:
            return None
        rows = torch.arange(n) if self.check_rows is None else torch.tensor(sorted({0, n - 1}))
        x, truth = w.input[rows], w.output[rows]
        bias = w.map.bias(w.input)
        if w.map.weight() is not None:
            some = slice(None) if self.check_rows is None else slice(0, 64)
            y = w.map(x, outputs=some)
            truth, bias = truth[:, some], None if bias is None else bias[some]
        else:  # a row by itself does not show that its inputs are rounded; two parts of it do (0, 1/2 or 1 of each)
            share = ((torch.arange(x.shape[-1], device=x.device) * 2654435761 >> 7) % 3).to(x.dtype) / 2
            y = w.map(x * share) + w.map(x * (1 - share))
        return _error(y if bias is None else y + bias, truth)

    def readout(self, logits: Tensor) -> Readout | None:
        node = self.tape.nodes.get(id(logits))
        if any(is_attention_product(n) for n in self.tape.nodes.values()):
            self.result.problems.append("attention runs after the last layer that was found; pass layers=...")
        return read_out(node, self.states[-1], self.n_tokens, self.check_rows) if node and self.states else None


def _outer_lists(root: nn.Module) -> list[nn.ModuleList]:
    found, stack = [], [root]
    while stack:
        for child in stack.pop().children():
            if not isinstance(child, nn.ModuleList):
                stack.append(child)
            elif len(child) and all(any(e.children()) for e in child):
                found.append(child)
    return found


def _has_experts(model: nn.Module) -> bool:
    return any(hasattr(type(m), "_apply_gate") or hasattr(m, "_is_expert_parallel") for m in model.modules())


def _hidden(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    for a in (*args, kwargs.get("hidden_states"), *kwargs.values()):
        if isinstance(a, Tensor) and a.is_floating_point() and a.ndim >= 3:
            return a
    return None


def _rows(x: Tensor) -> Tensor:
    return x.detach().reshape(-1, x.shape[-1])


def _stream_rows(x: Tensor, n_tokens: int) -> Tensor:
    """A value of the stream as one row per token."""
    streams = Streams.of(tuple(x.shape), n_tokens)
    return _rows(x) if streams is None else streams.rows(x)


def _is_copy(state: LayerState) -> bool:
    """A cast or copy of an earlier state."""
    return state.carried is not None and not state.carried[1].steps and not state.writes


def _error(got: Any, truth: Tensor) -> Tensor:
    """Largest distance of a row from the truth, relative to the row."""
    wide = torch.promote_types(truth.dtype, torch.float32)
    truth = truth.to(wide)
    off = torch.linalg.vector_norm(got.to(truth.device, wide) - truth, dim=-1)
    return (off / torch.linalg.vector_norm(truth, dim=-1).clamp_min(1e-30)).max()


def _first_met(leaf: Node, stops: dict[int, Node]) -> list[Node]:
    """The stops that the leaf was computed from, not looking behind any."""
    met, seen, stack = [], set(), list(leaf.parents())
    while stack:
        n = stack.pop()
        if id(n) not in seen:
            seen.add(id(n))
            if id(n) in stops:
                met.append(n)
            else:
                stack.extend(n.parents())
    return met


def _gate_and_up(x: Node) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """(gate, up) of x = act(gate) * up; neither for an MLP that is not gated."""
    while x.op in IDENTITY | VIEW and isinstance(x.args[0], Node):
        x = x.args[0]
    if x.op not in MUL or len(x.args) != 2 or not all(isinstance(a, Node) and a.shape == x.shape for a in x.args):
        return None, None
    projected = [_is_projection(a) for a in x.args]
    if sum(projected) != 1:
        return None, None
    activated, up = x.args if projected[1] else reversed(x.args)
    before = next((p for p in activated.parents() if p.shape == x.shape), activated)
    return _rows(before.value), _rows(up.value)


def _is_projection(n: Node) -> bool:
    """The output of a linear map, or a slice of one."""
    while n.op in IDENTITY | VIEW | {"chunk", "split", "__getitem__", "unbind", "narrow"} and isinstance(
        n.args[0], Node
    ):
        n = n.args[0]
    return is_linear(n)


_MIXING = {
    "conv1d", "conv2d", "cumsum", "cumprod", "roll", "flip", "diff", "scaled_dot_product_attention", "__setitem__",
    "logcumsumexp", "cummax", "cummin", "fft", "ifft", "rfft", "irfft", "pad", "zero_pad2d",
}  # fmt: skip


def _mixes_tokens(x: Node, stops: dict[int, int]) -> bool:
    """Does a call between the stream and this activation combine different tokens?"""
    seen, stack = set(), [x]
    while stack:
        n = stack.pop()
        if id(n) in seen or id(n) in stops:
            continue
        seen.add(id(n))
        product = n.op in MATMUL or n.op in ("einsum", "baddbmm")
        if n.op in _MIXING or (product and not is_linear(n) and sum(not is_constant(p) for p in n.parents()) > 1):
            return True
        stack.extend(n.parents())
    return False
