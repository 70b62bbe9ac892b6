"""A model's forward pass made visible to torch functions, in its own precision, and restored afterwards."""

from __future__ import annotations

import contextlib
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_F = TypeVar("_F", bound=Callable[..., Any])


def inputs_of(model: nn.Module, ids: Tensor) -> dict[str, Any]:
    """The arguments of one ordinary forward pass: ids [1, pos] by their name, or "" where they go by position."""
    parameters = inspect.signature(model.forward).parameters
    named = "input_ids" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {"input_ids" if named else "": ids}


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


def _has_experts(model: nn.Module) -> bool:
    return any(hasattr(type(m), "_apply_gate") or hasattr(m, "_is_expert_parallel") for m in model.modules())
