"""The layers of a model as they run: found, hooked, each taped and read as it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from types import MappingProxyType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _push_mode

from .alone import call_of
from .below import CallByCall
from .calls import is_linear_module
from .forward import forward_logits, plain_precision
from .hooks import Hook, Hooks
from .linear import CallError
from .modules import modules_of
from .nodes import LostValue, Node, Place, replay
from .plans import kind_of
from .products import is_attention_product
from .read_layer import LayerReader
from .read_leaf import Names
from .readout import Readout, read_out, taken_rows, unembedding
from .restored import Modes, Undo, whatever_happens
from .stacks import find_layers as find_layers
from .stacks import pieces
from .streams import Streams
from .tape import Tape
from .writes import ForwardError, Layer, LayerState, LinearWrite, Recording, UndecomposableError, tensors_in


def run_recorded(
    model: nn.Module,
    layers: Iterable[nn.Module],
    n_tokens: int,
    inputs: dict[str, Any],
    *,
    check_all: bool = False,
    forced: Mapping[Place, Tensor] = MappingProxyType({}),
    changes: Mapping[Place, Change | None] = MappingProxyType({}),
    call_by_call: bool = False,
    slim: bool = False,
    until: Place | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Recording:
    """One ordinary forward pass of `model(**inputs)`, each layer read as it ends.

    forced: values for the pass to go on with in place of what it made at some places; then sums do not close.
    changes: of states, by the place where each is made (None: stays as it is); then the pass goes on with the state
    that was given for the one it made, and sums close again. The states of a layer must all be named.
    call_by_call: what TorchScript and C++ do inside is taped too. slim: only states, what was written and the
    values of heads are kept. until: where a state is changed, at which the pass ends: only `reached` is known then.
    progress(done, total) is called after each layer. The hooks are gone afterwards, also after an exception.

    Raises UndecomposableError where a layer's output is not its input plus something or where what is to be changed is
    not made, ForwardError where the model itself fails.
    """
    recorder = Recorder(model, list(dict.fromkeys(layers)), n_tokens, check_all)
    recorder.progress, recorder.slim, recorder.until = progress, slim, until
    recorder.reader.later.waits = not slim
    recorder.tape.forced.update(forced)
    recorder.left = {place for place, change in changes.items() if change is not None}
    recorder.tape.changes.update((place, partial(recorder.change, change)) for place, change in changes.items())

    def passed(undo: Undo) -> Any:
        undo += [Modes().restore, recorder.unhook]
        recorder.hook()
        torch.set_grad_enabled(False)
        # No `with`: where an interrupt has taken the tape off, it would take off another mode.
        _push_mode(recorder.tape)
        if call_by_call:
            CallByCall().begin()
        return recorder.everywhere(forward_logits(model, inputs))

    try:
        logits = whatever_happens(passed)
    except UndecomposableError:
        raise
    except Enough:
        if not recorder.left:
            return recorder.result
    except Exception as e:
        where = recorder.module_that_failed(e.__traceback__)
        if where is None:
            raise
        raise ForwardError(f"the model's forward pass failed in {where}: {type(e).__name__}: {e}") from e
    if recorder.left or recorder.reader.changed_but_not_read:
        raise UndecomposableError(
            "the pass did not make again what was to be changed, so it is not as it was asked for"
        )
    if recorder.result.embedding is None:
        names = [recorder.reader.names.modules.get(id(m), "?") for m in recorder.layers]
        raise UndecomposableError(
            f"none of the {len(names)} layers that were found ({names[0]}, ...) is called by the model's forward pass; "
            "pass layers=..."
        )
    if isinstance(logits, Tensor):
        recorder.result.logits = logits
        with torch.no_grad(), plain_precision():
            recorder.end_of_pieces(logits)
            recorder.join(logits)
            recorder.result.readout = recorder.readout(logits)
    with torch.no_grad(), plain_precision():
        recorder.reader.later.compare()
    recorder.result.natural = recorder.tape.natural
    recorder.result.call_by_call = call_by_call
    return recorder.result


def best_recorded(record: Callable[[bool], Recording]) -> Recording:
    """`record(False)`; or, where something in it comes from calls that nobody heard of, `record(True)`, call by call.

    Raises UndecomposableError where both do, the first.
    """
    try:
        found = record(False)
        if not found.problems and not found.has_unknown:
            return found
        error = None
    except UndecomposableError as e:
        found, error = None, e
    with suppress(UndecomposableError, ForwardError):
        again = record(True)
        if not again.problems and not (again.has_unknown and found is not None and not found.problems):
            return again
    if found is None:
        assert error is not None
        raise error
    return found


Change = Callable[[LayerState], LayerState | None]  # a state as it was read; None: it stays


class Enough(Exception):
    """The pass came as far as it was to; no error."""


class Recorder:
    """Hooks on a model's layers: they tape one layer after another, and the reader reads each as it ends."""

    def __init__(self, model: nn.Module, layers: list[nn.Module], n_tokens: int, check_all: bool) -> None:
        self.model, self.layers = model, layers
        self.names = Names(model)
        self.pieces = pieces(self.names.every, layers)
        self.maps: list[nn.Module] = []  # those that are one node each
        self.called: set[nn.Module] = set()  # of the pieces of the layer that runs
        self.n_layers = len(set(self.pieces.values())) or len(layers)
        self.tape = Tape()
        self.reader = LayerReader(self.names, n_tokens, None if check_all else sorted({0, n_tokens // 2, n_tokens - 1}))
        self.result = Recording(problems=self.reader.problems, notes=self.reader.notes)
        self.between: list[Node] = []  # values like the stream that were made outside of layers, in case one is reused
        self.met: list[Node] = []  # states of the layer that runs, as far as it has come
        self.left: set[Place] = set()  # where something is to be changed that has not been made yet
        self.number = 0  # of the layer that runs
        self.slim = False
        self.until: Place | None = None  # where the pass ends
        self.progress: Callable[[int, int], None] = lambda *_: None
        self.thread, self.is_on, self.hooks = threading.get_ident(), True, Hooks()

    def hook(self) -> None:
        self.maps = _outermost_maps(self.names.every)
        embeddings = [m for m in self.maps if isinstance(m, nn.Embedding)]
        linear = [m for m in self.maps if not isinstance(m, nn.Embedding)]
        self.hooks.before(self.maps, Hook(self, self._enter))
        # before the user's own hooks, so that what those do to the output is taped
        self.hooks.after(embeddings, Hook(self, self._leave_embedding), first=True)
        self.hooks.after(linear, Hook(self, self._leave_linear), first=True)
        for m in self.layers:
            if isinstance(m, torch.jit.ScriptModule):
                name = self.reader.names.modules.get(id(m), "a layer")
                raise UndecomposableError(f"{name} is TorchScript, whose calls cannot be seen; load it as a module")
        begin, end = (self._begin_piece, self._end_piece) if self.pieces else (self._begin, self._end)
        self.hooks.before(self.layers, Hook(self, begin), with_kwargs=True)
        self.hooks.after(self.layers, Hook(self, end))

    def unhook(self) -> None:
        self.is_on = False
        self.hooks.take_out()

    def _enter(self, _module: nn.Module, _args: Any) -> None:
        self.tape.enter_module()

    def _leave_embedding(self, m: nn.Module, _args: Any, _kwargs: Any, out: Any) -> Any:
        return self.tape.leave_module(m, None, out, "embedding")

    def _leave_linear(self, m: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        x = args[0] if args else next(v for v in kwargs.values() if isinstance(v, Tensor))
        return self.tape.leave_module(m, x, out, "call_linear")

    def _begin(self, m: nn.Module, args: Any, kwargs: Any) -> None:
        where, n_tokens = f"layer {self.number} ({type(m).__name__})", self.reader.n_tokens
        h = hidden_among(args, kwargs)
        if h is None:
            raise UndecomposableError(f"{where}: no hidden state among its inputs")
        if Streams.of(tuple(h.shape), n_tokens) is None:
            rows = h.numel() // h.shape[-1]
            more = f", {rows} rows for {n_tokens} tokens, so that not every row is that of one token" * (
                rows > n_tokens
            )
            raise UndecomposableError(
                f"{where}: the residual stream has shape {list(h.shape)}{more}; "
                f"expected [1, {n_tokens}, d_model], one vector per token (or per token and parallel stream)"
            )
        made, both = self.tape.made(h), None
        if not self.pieces:
            at = sum(len(layer.states) for layer in self.result.layers)
            self.result.given_to.append(call_of(m, args, kwargs, h, at))
        if self.goes_on(made):
            return
        with torch.no_grad(), plain_precision(), self.tape.paused():
            if not self.reader.states:
                both = self._source_of_both(h, args, kwargs)
                start, first = (h, made) if both is None else (both.value, both)
                self.result.embedding = self.reader.embedding(start, first, self.tape.nodes.values())
                self.tape.keep(partial(tensors_in, self.result.embedding))
            elif made is not self.reader.tops[0]:
                states = self.reader.between(h, made, where)
                if states is not None:
                    self.tape.keep(partial(tensors_in, states))
                    self.result.layers.append(Layer(self.number, "", states))
        self.between += [
            n
            for n in self.tape.nodes.values()
            if n.time >= 0 and not n.lost and n.op != "state" and n.shape == h.shape
            if n.value is not h or both is not None
            if n not in self.between
        ]
        if both is None:
            self._continue_from(h)
        else:
            self.reader.begin_with(both, both)
            self.tape.restart((*self.between, both))

    def goes_on(self, made: Node | None) -> bool:
        """Was nothing called since the layer before? Then its stretch of tape goes on, whoever listens."""
        return made is not None and not self.tape.met and self.reader.tops[:1] == [made]

    def _end(self, m: nn.Module, _args: Any, out: Any) -> None:
        h = out
        while isinstance(h, (tuple, list)):
            h = h[0]
        h = h if isinstance(h, Tensor) else getattr(h, "hidden_states", None)
        where, module = f"layer {self.number} ({type(m).__name__})", self.reader.names.modules.get(id(m), "")
        self._end_at(h, where, module, self._second(out, h))

    def _end_at(self, h: Tensor | None, where: str, module: str, second: Tensor | None = None) -> None:
        ends = [x for x in (h, second) if x is not None]
        kind = self._kind()
        if kind is not None and h is not None and second is None and self._read_as_another(kind, h, module):
            self._continue_from(h)
            return
        nodes = [n for x in ends if (n := self.tape.made(x)) is not None]
        if h is None or len(nodes) < len(ends):
            raise UndecomposableError(f"{where}: its output does not come from recorded torch calls (a custom kernel?)")
        self._read(nodes, where, module, kind)
        self._continue_from(*ends)

    def _read_as_another(self, kind: Hashable, out: Tensor, module: str) -> bool:
        tape = self.tape
        if tape.told:  # others alike may not have been
            return False
        with torch.no_grad(), plain_precision(), tape.paused():
            found = self.reader.as_another(tape.heard, kind, out, tape.stretch, tape.time)
        if found is not None:
            tape.let_go()
            self._ended(*found, module)
        return found is not None

    def _kind(self) -> Hashable | None:
        """What the layer that runs has in common with those that are alike."""
        if self.tape.has_other:
            return None
        with self.tape.paused():
            return kind_of(self.tape.heard, self.reader.said_of)

    def _source_of_both(self, h: Tensor, args: Any, kwargs: Any) -> Node | None:
        """What the first layer is given twice, where that begins two streams beside each other."""
        given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.shape == h.shape]
        others = [x for x in given if x is not h] + [h] * (sum(x is h for x in given) > 1)
        made = [self.tape.made(x) for x in others if x.device == h.device and torch.equal(x, h)]
        return self.reader.source_of_both(self.tape.made(h), made[0]) if made else None

    def _second(self, out: Any, h: Tensor | None) -> Tensor | None:
        """Of what a layer gave, the value of the second stream."""
        if len(self.reader.tops) < 2 or h is None:
            return None
        made = ((x, self.tape.made(x)) for x in tensors_in(out) if x is not h and x.shape == h.shape)
        with torch.no_grad(), plain_precision(), self.tape.paused():
            return next((x for x, n in made if n is not None and self.reader.continues_second(n)), None)

    def _read(self, outs: Sequence[Node], where: str, module: str, kind: Hashable | None = None) -> None:
        calls, reader = self.tape.calls(), self.reader
        n_before, n_said = len(reader.states), len(reader.problems) + len(reader.notes)
        with torch.no_grad(), plain_precision(), self.tape.paused():
            try:
                states = reader.layer(outs, where, self.tape.nodes.values(), self.tape.met, kind)
            except (LostValue, CallError) as e:
                raise UndecomposableError(f"{where}: {e}") from e
            if kind is not None and len(reader.problems) + len(reader.notes) == n_said:
                reader.keep(self.tape.heard, kind, states, n_before, calls)
        self._ended(states, calls, module)

    def _ended(self, states: list[LayerState], calls: frozenset[str], module: str) -> None:
        if self.slim:
            for write in (w for s in states for w in s.writes if isinstance(w, LinearWrite)):
                write.let_go()
        self.tape.keep(partial(tensors_in, states))
        self.result.layers.append(Layer(self.number, module, states, calls))
        self.number += 1
        self.progress(self.number, max(self.number, self.n_layers))

    def change(self, change: Change | None, made: Node) -> Tensor | None:
        """What the pass goes on with in place of the state that it has just made."""
        assert made.place is not None
        self.met = [n for n in self.met if n.place is not None and n.place[0] == made.place[0]]
        given = None
        if change is not None:
            self.left.discard(made.place)
            with torch.no_grad(), plain_precision(), self.tape.paused():
                given = self.reader.changed_ahead(made, self.met, change, f"layer {self.number}")
            if given is not None and made.place == self.until:
                self.result.reached = self.reader.changed_but_not_read[made].value
                raise Enough
        if given is not None and self.reader.states:
            made.value = given  # what the rest of the layer is made from
        self.met.append(made)
        return given

    # ---- layers that are no modules: each ends where the first piece of the next begins ----

    def _begin_piece(self, m: nn.Module, args: Any, kwargs: Any) -> None:
        goes_on = m not in self.called and {self.pieces[p] for p in self.called} == {self.pieces[m]}
        h = hidden_among(args, kwargs)
        if not goes_on and h is not None and (not self.called or h.shape == self.reader.tops[0].shape):
            if not self.called:
                self._begin(m, args, kwargs)
            elif self.tape.made(h) is not self.reader.tops[0]:
                self._end_at(h, *self._of_pieces())
            self.called.clear()
        self.called.add(m)

    def _end_piece(self, _module: nn.Module, _args: Any, _out: Any) -> None:
        self.last_piece = self.tape.now()

    def _of_pieces(self) -> tuple[str, str]:
        """The layer that runs in words, and as a label."""
        kinds = ", ".join(dict.fromkeys(type(m).__name__ for m in self.layers if m in self.called))
        labels = ", ".join(self.reader.names.modules.get(id(m), "") for m in self.layers if m in self.called)
        return f"layer {self.number} ({kinds})", labels

    def end_of_pieces(self, logits: Tensor) -> None:
        """The last layer: it ends at the first value after its last piece that goes on to the logits."""
        if not self.called:
            return
        where, module = self._of_pieces()
        made = self.tape.made(logits)
        found = None if made is None else unembedding(made)
        out = None if found is None else self.reader.first_after(self.last_piece, found.input)
        if out is None:
            raise UndecomposableError(f"{where}: no linear way from it to the logits, so where it ends is not known")
        self._read([out], where, module)

    def _continue_from(self, *ends: Tensor) -> None:
        """Empties the tape, but for the states, the latest of which end here, and what a later layer may read again."""
        self.reader.begin_with(*(self.tape.add(h, "state") for h in ends))
        with self.tape.paused():
            self.tape.restart(chain(self.between, self.reader.remembered()))

    def join(self, logits: Tensor) -> None:
        """The state in which two streams end as one, if there are two."""
        made = self.tape.made(logits)
        if made is not None and len(self.reader.tops) > 1:
            found = unembedding(made)
            with self.tape.paused():
                end = self.reader.joined(made if found is None else found.input)
            if isinstance(end, LayerState):
                self.result.layers[-1].states.append(end)
            elif end:
                del self.result.layers[-1].states[-end:]

    def module_that_failed(self, traceback: TracebackType | None) -> str | None:
        """The innermost module of the model among the frames; None if this package failed while it read the tape."""
        where, modules = type(self.model).__name__, self.reader.names.modules
        while traceback is not None:
            frame, traceback = traceback.tb_frame, traceback.tb_next
            owner = frame.f_locals.get("self")
            if owner is self:
                return None
            if isinstance(owner, nn.Module) and modules.get(id(owner)):
                where = f"{modules[id(owner)]} ({type(owner).__name__})"
        return where

    def everywhere(self, logits: Any) -> Any:
        """The logits of all positions, by the model's own calls, where it gives those of some (the last one)."""
        made = self.tape.made(logits)
        found = None if made is None else taken_rows(made, self.reader.states, self.reader.n_tokens)
        if made is None or found is None:
            return logits
        taken, rows = found
        try:
            every: Tensor = replay(made, {taken: taken.parents()[0].value})
        except (RuntimeError, IndexError, TypeError):
            return logits
        self.result.given = rows, logits.detach().reshape(len(rows), -1)
        return every

    def readout(self, logits: Tensor) -> Readout | None:
        node = self.tape.made(logits)
        end = self.reader.states[-1].time if self.reader.states else -1
        if any(n.time > end and is_attention_product(n) for n in self.tape.nodes.values()):
            self.result.problems.append("attention runs after the last layer that was found; pass layers=...")
        if node is None or not self.reader.states:
            return None
        r = self.reader
        self.result.simple_end = r.keeps_rows(node, r.states)
        return read_out(node, r.states[-1], r.width, r.n_tokens, r.check_rows)


def _outermost_maps(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The embeddings and linear maps that are not inside another one, or where nothing is seen."""
    found, inside = [], set[int]()
    for m in modules:
        opaque = isinstance(m, torch.jit.ScriptModule)  # takes no hooks, and what it calls is not seen
        if id(m) not in inside and (opaque or isinstance(m, nn.Embedding) or is_linear_module(m)):
            inside.update(map(id, modules_of(m)) if m._modules else ())
            found += [] if opaque else [m]
    return found


def hidden_among(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    for a in (*args, kwargs.get("hidden_states"), *kwargs.values()):
        if isinstance(a, Tensor) and a.is_floating_point() and a.ndim >= 3:
            return a
    return None
