"""Calls that TorchScript and C++ make, made again from Python, where a tape hears of them."""

from __future__ import annotations

from typing import Any

from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode


class CallByCall(TorchDispatchMode):
    """While it is active every kernel is called from Python: what a scripted module does inside comes to light.

    Calls inside of a call that a tape has heard of are made while the tape does not listen, so nothing is told twice.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))

    def begin(self) -> None:
        """Active from here on, until the modes of torch are put back."""
        _python_dispatch._push_mode(self)
