"""A number that changes with whatever a model's answers may depend on, without a look at any weight.

Knows nothing of recordings or labels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import nn

from .decomposition.modules import modules_of

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_EXACT = frozenset(_PLAIN) - {int, float, complex}  # what equals another of its type is the same
_OWN = frozenset(vars(nn.Module()))  # what every module has


def fingerprint(module: nn.Module) -> int:
    """Of a module's parts, hooks, replaced forwards, plain attributes and the versions of its weights and buffers."""
    facts: list[object] = []
    tensors: list[torch.Tensor | None] = []
    tell = facts.append
    for m in modules_of(module):
        mine = vars(m)
        tensors += [p for p in m._parameters.values() if type(p) is nn.Parameter]
        tensors += m._buffers.values()
        facts += [id(m), type(m), *mine["_forward_hooks"], *mine["_forward_pre_hooks"]]
        for name, x in mine.items():
            if name in _OWN:
                continue
            kind: Any = type(x)
            if kind in _EXACT or (kind is int and x >= 0):  # mostly
                tell((name, kind, x))
            else:
                _tell(tell, name, x, kind)
    # Nothing of a weight is read: some refuse it.
    facts += [(id(x), x._version) for x in tensors if x is not None and not x.is_inference()]
    return hash(tuple(facts))


@cache
def _told_by(kind: Any) -> Literal["text", "identity", "each", "items", ""]:
    """How what is of this class is told; asked of the class: a config hears every question that is put to itself."""
    if issubclass(kind, _PLAIN):
        return "text"  # nan is not equal to itself, 0.0 is to -0.0, and -1 and -2 have one hash
    if any("__call__" in vars(c) for c in kind.__mro__):
        return "identity"
    return "each" if issubclass(kind, (tuple, list)) else "items" if issubclass(kind, dict) else ""


def _tell(tell: Callable[[object], None], name: str, x: Any, kind: Any, depth: int = 2) -> None:
    how = _told_by(kind)
    if how == "text":
        tell((name, kind, repr(x)))
    elif how == "identity":
        tell((name, id(x)))
    elif depth and how == "each" and len(x) < 100:
        tell((name, len(x)))
        for y in x:
            _tell(tell, name, y, type(y), depth - 1)
    elif depth and how == "items" and len(x) < 100:
        for k, y in x.items():
            _tell(tell, f"{name}.{k}", y, type(y), depth - 1)
