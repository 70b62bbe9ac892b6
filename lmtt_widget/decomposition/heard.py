"""A pass with gradients that is told where states are made, and of which nothing is read.

Knows nothing of what the gradients are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _push_mode

from .forward import forward_logits
from .layers import Recorder, hidden_among
from .nodes import Node, Place
from .restored import Modes, Undo, whatever_happens
from .writes import UndecomposableError


class Hearer(Recorder):
    """The same hooks, so that places are counted alike; the layers are not read."""

    def _begin(self, m: nn.Module, args: Any, kwargs: Any) -> None:
        h = hidden_among(args, kwargs)
        if h is None:
            raise UndecomposableError(f"layer {self.number} ({type(m).__name__}): no hidden state among its inputs")
        self._continue_from(h)

    def _read(self, _outs: Sequence[Node], _where: str, _module: str) -> None:
        self.number += 1


def run_heard(
    model: nn.Module,
    layers: Iterable[nn.Module],
    n_tokens: int,
    inputs: dict[str, Any],
    *,
    changes: Mapping[Place, Callable[[Node], Tensor | None]],
    listeners: Mapping[Place, Callable[[Tensor], object]],
) -> Tensor:
    """The logits of one forward pass with gradients, told where states are made; nothing of it is read."""
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
    return logits
