"""What a model says about itself while it runs: its states, what is added to them, and who wrote it.

In ordinary use (`now` is None) every call here returns what it was given and makes no torch call, so a recorder sees a
model as it is. While an oracle looks, states and writes are cloned, and states can be held at given values, so that
moving one row of one state shows which rows of each write were computed from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class TrueWrite:
    """One vector per token that a model adds to its stream."""

    name: str
    raw: Tensor  # [pos, d_model], before the frozen steps that follow: what is asked for its dependence
    added: Tensor  # [pos, d_model], as it stands in the state it enters
    heads: Tensor | None = None  # [head, query, key, d_model], where it is attention over tokens
    values: Tensor | None = None  # [key, n]: what of each token is written by attention


@dataclass
class TrueState:
    value: Tensor  # [pos, d_model]
    carried: Tensor  # [pos, d_model]: the state before, ahead of frozen steps, or what is left beside the writes
    writes: list[TrueWrite]


@dataclass
class Pass:
    """One forward pass as it was."""

    held: dict[int, Tensor] = field(default_factory=dict)  # state -> the value it is given when it is complete
    in_full: bool = True  # also what attention writes for every query and key
    states: list[TrueState] = field(default_factory=list)
    waiting: list[TrueWrite] = field(default_factory=list)
    attention: tuple[Callable[[], Tensor], Callable[[], Tensor]] | None = None
    logits: Tensor | None = None
    start: Any = None  # what the model remembered when the pass began

    def state(self, x: Tensor, carried: Tensor | None) -> Tensor:
        value = rows(x).clone()
        rest = rows(carried) if carried is not None else value - sum((w.added for w in self.waiting), 0 * value)
        index = len(self.states)
        self.states.append(TrueState(value, rest.clone(), self.waiting))
        self.waiting = []
        if index in self.held:
            x.copy_(self.held[index].reshape(x.shape))
        return x

    def write(self, name: str, y: Tensor, through: Callable[[Tensor], Tensor] | None) -> None:
        raw = rows(y).clone()
        write = TrueWrite(name, raw, raw if through is None else rows(through(y)).clone())
        if self.attention is not None:
            heads, values = self.attention
            write.values = values().clone()
            write.heads = heads().clone() if self.in_full else None
            self.attention = None
        self.waiting.append(write)


class Truth:
    """Given to every module of a model; `now` is the pass that is being looked at."""

    def __init__(self) -> None:
        self.now: Pass | None = None
        self.passes: list[Pass] | None = None  # where every pass is kept, while somebody else runs the model
        self.memory: dict[str, Any] = {}  # all that a model keeps between its calls

    def __deepcopy__(self, _memo: Any) -> Truth:
        return self

    def start(self) -> Any:
        """What a pass that begins now begins from."""
        return {k: v.clone() if isinstance(v, Tensor) else v for k, v in self.memory.items()}, torch.get_rng_state()

    def restart(self, start: Any) -> None:
        """The next pass begins from there."""
        self.memory.clear()
        self.memory.update({k: v.clone() if isinstance(v, Tensor) else v for k, v in start[0].items()})
        torch.set_rng_state(start[1])

    def begin(self) -> None:
        """A forward pass begins."""
        if self.passes is not None:
            with unseen():
                self.now = Pass(start=self.start())
                self.passes.append(self.now)

    def state(self, x: Tensor, carried: Tensor | None = None) -> Tensor:
        """A value of the stream is complete. carried: the state it continues, where frozen steps follow on it."""
        if self.now is not None:
            with unseen():
                return self.now.state(x, carried)
        return x

    def write(self, name: str, y: Tensor, through: Callable[[Tensor], Tensor] | None = None) -> None:
        """`y` is added now; through: the frozen steps it takes on the way."""
        if self.now is not None:
            with unseen():
                self.now.write(name, y, through)

    def heads(self, heads: Callable[[], Tensor], values: Callable[[], Tensor]) -> None:
        """What the next write is made of, where it is attention over tokens: [head, query, key, d_model]."""
        if self.now is not None:
            self.now.attention = heads, values

    def end(self, logits: Tensor) -> Tensor:
        if self.now is not None:
            with unseen():
                self.now.logits = logits.detach().reshape(-1, logits.shape[-1]).clone()
        return logits


def unseen() -> Any:
    """Torch calls in here are taped by nobody."""
    return torch._C.DisableTorchFunction()


def rows(x: Tensor) -> Tensor:
    return x.detach().reshape(-1, x.shape[-1])
