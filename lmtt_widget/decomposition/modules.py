"""A model's modules and parameters, as torch lists them but in one walk: a recording asks for all of them.

Knows nothing of layers, hooks or calls.
"""

from __future__ import annotations

import torch
from torch import nn


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """What `model.named_modules()` gives, in its order."""
    found: dict[str, nn.Module] = {}
    met: set[nn.Module] = set()
    stack = [("", model)]
    while stack:
        name, m = stack.pop()
        if m not in met:
            met.add(m)
            found[name] = m
            before = f"{name}." if name else ""
            stack += [(before + k, child) for k, child in reversed([*m._modules.items()]) if child is not None]
    return found


def modules_of(model: nn.Module) -> list[nn.Module]:
    """The same without their names."""
    found: dict[nn.Module, None] = {}
    stack: list[nn.Module | None] = [model]
    while stack:
        m = stack.pop()
        if m is not None and m not in found:
            found[m] = None
            if m._modules:
                stack += reversed(m._modules.values())
    return [*found]


def dtypes_of(model: nn.Module) -> set[torch.dtype]:
    """Of all its parameters."""
    return {p.dtype for m in modules_of(model) if m._parameters for p in m._parameters.values() if p is not None}
