"""What a model says when one of its states is another: many versions at once, from the layer concerned on.

One ordinary pass notes with which other arguments each layer is called; after that a version costs the layers above its
state. Whether that is the model's own pass is seen by trying: with an unchanged state it gives the recorded one to the
bit, and with a changed embedding what a whole pass gives. Knows nothing of edits.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .decomposition.calls import is_linear_module
from .decomposition.forward import forward_logits, in_turn, readable
from .decomposition.layers import find_layers
from .decomposition.nodes import Node, Place
from .decomposition.restored import Undo, unharmed, whatever_happens
from .decomposition.streams import Streams
from .decomposition.tape import Tape
from .parts import State, wide
from .run import Run

Whole = Callable[
    [Tensor], Tensor
]  # the last state [pos, d_model] of a whole pass with another embedding [pos, d_model]


class Rest:
    """The layers above a state, as they were called in one run.

    Raises RuntimeError where they cannot be called by themselves, or do not give what a whole pass gives.
    """

    def __init__(self, run: Run, whole: Whole) -> None:
        self.run, self.module = run, run.model.module
        self.layers = list(dict.fromkeys(run.model.layers or find_layers(self.module)))
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._turn(self._listen)
        numbers = [s.layer for s in run.states if s.layer is not None]
        if len(self.calls) != len(self.layers) or 1 + max(numbers) != len(self.layers):
            raise RuntimeError("the layers are not each called once")
        self._checked: set[int] = set()
        known = _steady.setdefault(self.layers[0], {})
        key = (run.n_tokens, len(run.states))
        if key not in known:
            known[key] = self._is_steady(whole)
        self.batched = known[key] == "batched"
        if not known[key]:
            raise RuntimeError("the layers do not give what a whole pass gives")

    @unharmed
    def last_states(self, state: int, values: Tensor) -> Tensor:
        """The last state where `state` is each of values [n, pos, d_model]: [n, pos, d_model]."""
        if state not in self._checked:
            same = self._turn(partial(self._above, self.run.states[state], self.run.states[state].value[None]))
            if not torch.equal(same[0], self.run.states[-1].value):
                raise RuntimeError(f"the layers above state {state} do not give the recorded pass again")
            self._checked.add(state)
        return self._turn(partial(self._above, self.run.states[state], values))

    def _is_steady(self, whole: Whole) -> str:
        """Whether they give what a whole pass gives, "batched" (several versions beside each other) or "single"."""
        first = wide(self.run.states[0].value)
        noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(len(first))).to(first)
        value = (first + noise * first.pow(2).mean().sqrt()).to(self.run.states[0].value.dtype)
        try:
            got, want = self.last_states(0, value[None])[0], whole(value)
        except Exception:  # noqa: BLE001  (whatever the model raises when it is called in another way than its own)
            return ""
        most = max(1e-4, 50 * torch.finfo(want.dtype).eps)

        def same(x: Tensor) -> bool:
            return float((wide(x) - wide(want)).norm() / wide(want).norm()) < most

        if not same(got):
            return ""
        try:  # some models mix what stands in a batch
            beside = self.last_states(0, torch.stack([self.run.states[0].value, value]))[1]
        except Exception:  # noqa: BLE001
            return "single"
        return "batched" if same(beside) else "single"

    def _turn(self, work: Callable[[Undo], Any]) -> Any:
        def once(undo: Undo) -> Any:
            readable(self.module, undo)
            with torch.no_grad():
                return work(undo)

        return in_turn(self.layers, lambda: whatever_happens(once))

    def _listen(self, undo: Undo) -> None:
        inputs = self.run.model.inputs(self.run.token_ids.tolist())
        for m in self.layers:
            handle = m.register_forward_pre_hook(self._called, with_kwargs=True)
            undo.append(handle.remove)
        forward_logits(self.module, inputs)

    def _called(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.calls.append((args, dict(kwargs)))

    def _above(self, state: State, values: Tensor, undo: Undo) -> Tensor:
        first = 0 if state.layer is None else state.layer + 1
        h = self._shaped(values, state)
        if state.layer is not None and state is not [s for s in self.run.states if s.layer == state.layer][-1]:
            h = self._inside(state, values, undo)
        for k in range(first, len(self.layers)):
            h = self._call(k, h)
        streams = Streams.of((1, *h.shape[1:]), self.run.n_tokens)
        if streams is None:
            raise RuntimeError("the last state is laid out in another way")
        return torch.stack([streams.rows(x[None]) for x in h])

    def _shaped(self, values: Tensor, state: State) -> Tensor:
        shape = None if state.place is None else state.place[2]
        given = self._hidden(0).shape
        if shape is None or given[0] != 1 or (len(shape) > 2 and shape[0] != 1):
            raise RuntimeError("states are laid out in another way")
        streams = Streams.of(tuple(given), self.run.n_tokens)
        if streams is None:
            raise RuntimeError("states are laid out in another way")
        return torch.cat([streams.shaped(x.to(state.value.dtype)) for x in values])

    def _hidden(self, k: int) -> Tensor:
        args, kwargs = self.calls[k]
        return next(x for x in (*args, kwargs.get("hidden_states"), *kwargs.values()) if _is_stream(x))

    def _call(self, k: int, h: Tensor) -> Tensor:
        args, kwargs = self.calls[k]
        before = self._hidden(k)
        given = [h if x is before else x for x in args]
        out = self.layers[k](*given, **{name: h if x is before else x for name, x in kwargs.items()})
        while isinstance(out, (tuple, list)):
            out = out[0]
        if not isinstance(out, Tensor) or out.shape[0] != h.shape[0]:
            raise RuntimeError("a layer gives no state")
        return out

    def _inside(self, state: State, values: Tensor, undo: Undo) -> Tensor:
        """The layer on its own input, but for the call that makes the state, which gives `values`."""
        assert state.layer is not None
        assert state.place is not None
        tape = Tape()
        n, (_, op, shape, nth) = len(values), state.place
        put: list[Place] = []

        def change(made: Node) -> Tensor:
            put.append(place)
            return values.to(made.value.dtype).reshape(made.shape).clone()

        place: Place = (0, op, (n * shape[0], *shape[1:]), nth)
        tape.changes[place] = change
        inside: set[int] = set()
        for m in self.layers[state.layer].modules():
            if id(m) not in inside and (isinstance(m, nn.Embedding) or is_linear_module(m)):
                inside.update(id(c) for c in m.modules())
                enter = m.register_forward_pre_hook(lambda *_: tape.enter_module())
                leave = m.register_forward_hook(lambda m, _a, out: tape.leave_module(m, None, out, "call_linear"))
                undo += [enter.remove, leave.remove]
        before = self._hidden(state.layer)
        h = before.expand(n, *before.shape[1:]).contiguous()
        with tape:
            out = self._call(state.layer, h)
        if not put:
            raise RuntimeError(f"state {state.index} was not made again")
        return out


def _is_stream(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.ndim >= 3


_steady: weakref.WeakKeyDictionary[nn.Module, dict[Any, str]] = weakref.WeakKeyDictionary()
