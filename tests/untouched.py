"""Whatever a recording could leave behind in a model, to compare before and after."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called",
)  # fmt: skip


def everything(model: nn.Module) -> dict[str, Any]:
    """Parameters, buffers, hooks, attributes, flags, configs, implementations, and what belongs to the process."""
    modules = list(model.modules())
    configs = {id(c): c for m in modules for c in (getattr(m, "config", None), getattr(m, "generation_config", None))}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "values": {n: t.detach().clone() for n, t in tensors.items() if _is_plain(t)},
        # A tensor that cannot be compared (quantised) counts every write into it; one that is elsewhere (offloaded)
        # is made anew by every forward pass.
        "identity": [
            (t.dtype, t.device, *(() if t.device.type == "meta" else (id(t), t._version))) for t in tensors.values()
        ],
        "hooks": [list(getattr(m, name)) for m in modules for name in _HOOKS],
        "attributes": [sorted(vars(m)) for m in modules],
        "forward": [id(vars(m).get("forward")) for m in modules],
        "classes": [type(m) for m in modules],
        "training": [m.training for m in modules],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [p.grad is None for p in model.parameters()],
        "config": [c.to_dict() for c in configs.values() if hasattr(c, "to_dict")],
        "implementations": [
            (getattr(c, "_attn_implementation", None), getattr(c, "_experts_implementation", None))
            for c in configs.values()
        ],
        "modes": len(_get_current_function_mode_stack()),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    values = before["values"].keys() != after["values"].keys() or any(
        not torch.equal(v, after["values"][n]) for n, v in before["values"].items()
    )
    return ["values"] * values + [k for k in before if k != "values" and before[k] != after[k]]


def assert_unchanged(model: nn.Module, before: dict[str, Any]) -> None:
    assert changed(before, everything(model)) == []


def _is_plain(x: Tensor) -> bool:
    return type(x) in (Tensor, nn.Parameter) and x.device.type != "meta"
