"""A number that changes with whatever a model's answers may depend on, without a look at any weight.

Knows nothing of recordings or labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import torch
from torch import nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_OWN = frozenset(vars(nn.Module()))  # what every module has


def fingerprint(module: nn.Module) -> int:
    """Of a module's parts, hooks, replaced forwards, plain attributes and the versions of its weights and buffers."""
    facts: list[object] = []
    tensors: list[torch.Tensor | None] = []
    for m in module.modules():
        mine = vars(m)
        tensors += [p for p in m._parameters.values() if type(p) is nn.Parameter]
        tensors += m._buffers.values()
        facts += [id(m), type(m), *mine["_forward_hooks"], *mine["_forward_pre_hooks"]]
        facts += (fact for name, x in mine.items() if name not in _OWN for fact in _facts(name, x))
    # Nothing of a weight is read: some refuse it.
    facts += ((id(x), x._version) for x in tensors if x is not None and not x.is_inference())
    return hash(tuple(facts))


def _facts(name: str, x: Any, depth: int = 2) -> Iterator[object]:
    if isinstance(x, _PLAIN):
        yield name, repr(x)  # 1, 1.0 and True are equal; nan is not
    elif isinstance(x, FunctionType) or callable(x):
        yield name, id(x)
    elif depth and isinstance(x, (tuple, list)) and len(x) < 100:
        yield name, len(x)
        for y in x:
            yield from _facts(name, y, depth - 1)
    elif depth and isinstance(x, dict) and len(x) < 100:
        for k, y in x.items():
            yield from _facts(f"{name}.{k}", y, depth - 1)
