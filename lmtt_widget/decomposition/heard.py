"""A pass with gradients that is told where states are made, and of which nothing is read.

Knows nothing of what the gradients are for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _push_mode

from .forward import forward_logits
from .layers import Recorder, hidden_among
from .nodes import Node, Place
from .restored import Modes, Undo, whatever_happens
from .writes import UndecomposableError


class NoWayBack(RuntimeError):
    """No gradient goes back through a module."""


class Hearer(Recorder):
    """The same hooks, so that places are counted alike; the layers are not read."""

    reached = ""  # the linear map to whose output a gradient came last

    def _leave_linear(self, m: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        x = args[0] if args else next(v for v in kwargs.values() if isinstance(v, Tensor))
        if isinstance(out, Tensor) and torch.is_grad_enabled() and x.requires_grad:
            name = f"{self.names.modules.get(id(m), 'a linear map')} ({type(m).__name__})"
            if not out.requires_grad:
                raise NoWayBack(f"{name} gives no gradient to its input (a kernel for the forward pass only)")
            out.register_hook(lambda _: setattr(self, "reached", name))
        return super()._leave_linear(m, args, kwargs, out)

    def _begin(self, m: nn.Module, args: Any, kwargs: Any) -> None:
        h = hidden_among(args, kwargs)
        if h is None:
            raise UndecomposableError(f"layer {self.number} ({type(m).__name__}): no hidden state among its inputs")
        if not self.goes_on(self.tape.made(h)):
            self._continue_from(h)

    def _kind(self) -> None:
        """Of layers that are not read nothing need be known."""

    def _read(self, _outs: Sequence[Node], _where: str, _module: str, _kind: Hashable | None = None) -> None:
        self.number += 1


def run_heard(
    model: nn.Module,
    layers: Iterable[nn.Module],
    n_tokens: int,
    inputs: dict[str, Any],
    *,
    changes: Mapping[Place, Callable[[Node], Tensor | None]],
    listeners: Mapping[Place, Callable[[Tensor], object]],
    back: Callable[[Tensor], None],
) -> None:
    """One forward pass with gradients, told where states are made; nothing of it is read. back(logits) goes back.

    Raises NoWayBack, with the module, where no gradient does.
    """
    hearer = Hearer(model, list(dict.fromkeys(layers)), n_tokens, False)
    hearer.tape.changes.update(changes)
    hearer.tape.listeners.update(listeners)

    def passed(undo: Undo) -> Any:
        undo += [Modes().restore, hearer.unhook]
        hearer.hook()
        torch.set_grad_enabled(True)
        _push_mode(hearer.tape)
        return hearer.everywhere(forward_logits(model, inputs))

    logits: Tensor = whatever_happens(passed)
    try:
        with torch.enable_grad():
            back(logits)
    except RuntimeError as e:
        near = f", at {hearer.reached} or what its input is made of" if hearer.reached else ""
        raise NoWayBack(f"{type(e).__name__}: {e}{near}") from e
