"""What is changed for a while is put back whatever happens, also where an interrupt falls between two instructions.

A `with` is not enough: an interrupt in the lines that put things back leaves them as they are. Here whatever puts back
can be called twice, is known before anything is changed, and stands in two `finally`: the outer one is whole where the
inner one was interrupted, and has nothing to do where it was not.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils import _python_dispatch

_P = ParamSpec("_P")
_T = TypeVar("_T")
Undo = list[Callable[[], object]]  # put back from the last to the first; each may be called twice
_DEVICES = ("cpu", "cuda")


def whatever_happens(work: Callable[[Undo], _T]) -> _T:
    """work(undo), which enters there how to put back what it is about to change; everything entered is put back."""
    undo: Undo = []
    try:
        try:
            return work(undo)
        finally:
            _put_back(undo)
    finally:
        _put_back(undo)


def holding(lock: Any, work: Callable[[], _T]) -> _T:
    """work() while this thread holds an RLock, which it may hold already."""
    if lock._is_owned():
        return work()

    def held(undo: Undo) -> _T:
        undo.append(lambda: lock.release() if lock._is_owned() else None)
        lock.acquire()
        return work()

    return whatever_happens(held)


def unharmed(f: Callable[_P, _T]) -> Callable[_P, _T]:
    """`f`, which leaves this thread's modes as they were: gradients, autocast, number of threads, modes of torch."""

    @wraps(f)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        before = Modes()

        def work(undo: Undo) -> _T:
            undo.append(before.restore)
            try:
                return f(*args, **kwargs)
            except Exception:
                raise
            except BaseException as e:
                # Generators that an interrupt left half way (torch's own, which push a mode again) end now, not later.
                traceback.clear_frames(e.__traceback__)
                raise

        return whatever_happens(work)

    return call


def _put_back(undo: Undo) -> None:
    while undo:
        undo[-1]()
        undo.pop()


class Modes:
    """What torch keeps for this thread, as it is now."""

    def __init__(self) -> None:
        self.grad, self.n_threads = torch.is_grad_enabled(), torch.get_num_threads()
        self.modes = _get_current_function_mode_stack()
        self.kernels = _python_dispatch._get_current_dispatch_mode_stack()
        self.autocast = [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in _DEVICES]
        self.cached, self.nesting = torch.is_autocast_cache_enabled(), _nesting()

    def restore(self) -> None:
        now = _get_current_function_mode_stack()
        if len(now) != len(self.modes) or any(a is not b for a, b in zip(now, self.modes, strict=True)):
            for _ in now:
                _pop_mode()
            for mode in self.modes:
                _push_mode(mode)
        for _ in _python_dispatch._get_current_dispatch_mode_stack()[len(self.kernels) :]:
            _python_dispatch._pop_mode()
        if torch.is_grad_enabled() != self.grad:
            torch.set_grad_enabled(self.grad)
        if torch.get_num_threads() != self.n_threads:
            torch.set_num_threads(self.n_threads)
        for device, (enabled, dtype) in zip(_DEVICES, self.autocast, strict=True):
            if (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) != (enabled, dtype):
                torch.set_autocast_enabled(device, enabled)
                torch.set_autocast_dtype(device, dtype)
        torch.set_autocast_cache_enabled(self.cached)
        for _ in range(_nesting() - self.nesting):
            torch.autocast_decrement_nesting()
        for _ in range(self.nesting - _nesting()):
            torch.autocast_increment_nesting()


def _nesting() -> int:
    """How deep this thread is in autocast, which torch only says when it changes."""
    deeper: Any = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return int(deeper) - 1
