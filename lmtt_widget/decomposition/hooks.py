"""Hooks of one recording, which are inert once it is over, and taken out where they are.

Knows nothing of tapes and layers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

# Where a module keeps its hooks, and what it keeps beside them by the same key.
_KEPT = (
    ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
)


class Listener(Protocol):
    """Whoever listens: while it is on, in one thread."""

    is_on: bool
    thread: int


@dataclass(frozen=True, eq=False)
class Hook:
    """A hook of one recording: it does nothing in another thread, nor once the recording is over."""

    listener: Listener
    call: Callable[..., Any]

    def __deepcopy__(self, _memo: Any) -> Hook:
        """A model may copy its layers while it runs; what listens to them is not theirs."""
        return self

    def __call__(self, *given: Any) -> Any:
        if self.listener.is_on and threading.get_ident() == self.listener.thread:
            return self.call(*given)
        return None


def take_out(modules: Iterable[nn.Module], listener: Listener) -> None:
    """Takes a listener's hooks out where they are: a handle may be lost to an interrupt before anybody has it."""
    for m in modules:
        for hooks, *beside in _KEPT:
            mine = [k for k, f in vars(m).get(hooks, {}).items() if isinstance(f, Hook) and f.listener is listener]
            for key in mine:
                for name in (*beside, hooks):
                    vars(m).get(name, {}).pop(key, None)
