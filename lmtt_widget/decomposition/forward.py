"""A model's forward pass made visible to torch functions, in its own precision, and restored afterwards."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .modules import named_modules
from .restored import Undo, holding, unharmed

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")


def inputs_of(model: nn.Module, ids: Tensor) -> dict[str, Any]:
    """The arguments of one ordinary forward pass: ids [1, pos] by their name, or "" where they go by position.

    Without a cache where the model can be asked for none: no pass goes on from it, and it holds copies.
    """
    replaced = "forward" in vars(model)
    parameters = inspect.signature(model.forward).parameters if replaced else _parameters(type(model).forward)
    named = "input_ids" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    without = {"use_cache": False} if "use_cache" in parameters else {}
    return {"input_ids" if named else "": ids, **without}


@lru_cache(32)
def _parameters(forward: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(forward).parameters


def forward_logits(model: nn.Module, inputs: dict[str, Any]) -> Any:
    """What `model(**inputs)` gives as logits; the argument named "" goes by position."""
    named = {k: v for k, v in inputs.items() if k}
    output = model(inputs[""], **named) if "" in inputs else model(**named)
    if isinstance(output, dict) and "logits" in output:
        return output["logits"]
    return getattr(output, "logits", output[0] if isinstance(output, (tuple, list)) else output)


class plain_precision:
    """Sums and products of what was recorded run in the dtype of their operands, also inside a user's autocast.

    No generator: one that an interrupt left behind would leave autocast once more whenever it is collected.
    """

    def __enter__(self) -> None:
        enabled = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
        self._off = [torch.autocast(device, enabled=False) for device in enabled]
        for off in self._off:
            off.__enter__()

    def __exit__(self, *raised: Any) -> None:
        for off in reversed(self._off):
            off.__exit__(*raised)


def in_plain_precision(f: _F) -> _F:
    """`f` under `plain_precision`, which leaves the thread's modes as they were."""

    @wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        with plain_precision():
            return f(*args, **kwargs)

    return unharmed(call)  # type: ignore[return-value]


_turns: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()
_counting = threading.RLock()
_recordings: set[object] = set()  # those under way
_stance: list[Any] = []  # of the compiler, before the first of them


def in_turn(layers: Sequence[nn.Module], work: Callable[[], _T]) -> _T:
    """work() while no other thread works on the model, known by its layers: they are the same whatever wraps them
    (PEFT, a user's module)."""
    return holding(holding(_counting, lambda: _turns.setdefault(layers[0], threading.RLock())), work)


def readable(model: Any, undo: Undo) -> list[str]:
    """Makes the forward pass visible to torch functions: no compiled graphs, flash or flex kernels, grouped experts.

    Returns what was switched, in words; sdpa and eager stay as they are. The switches belong to the model, so
    recordings of one model take turns (`in_turn`).
    """
    config = getattr(model, "config", None)
    switched: list[str] = []
    _without_compiled_graphs(undo)
    attention = getattr(config, "_attn_implementation", None)
    if attention not in (None, "eager", "sdpa"):
        # Before transformers 4.53 there is no such method, and a model looks into its config at every call.
        switch = getattr(model, "set_attn_implementation", partial(setattr, config, "_attn_implementation"))
        undo.append(partial(switch, attention))
        switch("eager")
        switched.append(f"attention ran as eager instead of {attention}")
    experts = getattr(config, "_experts_implementation", None)
    if experts not in (None, "eager") and hasattr(model, "set_experts_implementation") and _has_experts(model):
        undo.append(partial(model.set_experts_implementation, experts))
        model.set_experts_implementation("eager")
        switched.append(f"experts ran as eager instead of {experts}")
    return switched


def _without_compiled_graphs(undo: Undo) -> None:
    # The stance belongs to the process, not to the thread: the first recording sets it, the last one puts it back.
    if not hasattr(torch.compiler, "set_stance"):
        return
    from torch._dynamo import eval_frame

    mine = object()

    def begin() -> None:
        if not _recordings:
            _stance[:] = [eval_frame._stance]
        _recordings.add(mine)
        torch.compiler.set_stance("force_eager")

    def end() -> None:
        _recordings.discard(mine)
        if not _recordings and _stance:
            eval_frame._set_stance(_stance[0])
            _stance.clear()

    undo.append(lambda: holding(_counting, end))
    holding(_counting, begin)


def _has_experts(model: nn.Module) -> bool:
    return any(
        hasattr(type(m), "_apply_gate") or hasattr(m, "_is_expert_parallel") for m in named_modules(model).values()
    )
