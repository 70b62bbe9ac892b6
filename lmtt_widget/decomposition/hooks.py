"""Hooks of one recording, which are inert once it is over, and taken out where they are.

Knows nothing of tapes and layers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn


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


class Hooks:
    """The hooks of one recording, and where they are: torch's own handles are known too late, and take thrice the time.

    A module keeps each under the hook itself, which is nobody else's.
    """

    def __init__(self) -> None:
        self._places: list[tuple[dict[Any, Any], Hook]] = []

    def before(self, modules: Iterable[nn.Module], hook: Hook, *, with_kwargs: bool = False) -> None:
        """As `register_forward_pre_hook` of all these modules."""
        for m in modules:
            if with_kwargs:
                self._put(m._forward_pre_hooks_with_kwargs, hook, True)
            self._put(m._forward_pre_hooks, hook, hook)

    def after(self, modules: Iterable[nn.Module], hook: Hook, *, first: bool = False) -> None:
        """As `register_forward_hook`; first: before the user's own hooks, and with keyword arguments."""
        for m in modules:
            if first:
                self._put(m._forward_hooks_with_kwargs, hook, True)
            self._put(m._forward_hooks, hook, hook)
            if first and len(m._forward_hooks) > 1:
                m._forward_hooks.move_to_end(hook, last=False)  # type: ignore[attr-defined]

    def _put(self, kept: dict[Any, Any], hook: Hook, what: object) -> None:
        self._places.append((kept, hook))  # first: an interrupt may come at any line
        kept[hook] = what

    def take_out(self) -> None:
        """May be called twice."""
        for kept, hook in self._places:
            kept.pop(hook, None)
        self._places.clear()  # which hold who listens, and that all it has heard
