"""Work on the CPU, divided among threads that use one torch thread each.

Torch's own threads stay awake for a while after every call, and whatever else wants their cores waits; numba's parallel
loops end the process when two notebooks' threads enter them. So whole chains of calls run side by side instead, in
memory that each thread keeps: to get new pages from the system, threads wait for one another.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")


class Team:
    """The calling thread and those that help it."""

    def __init__(self, n_threads: int = 1) -> None:
        self.n_threads = n_threads
        self._lent: dict[tuple[int, str, torch.dtype], Tensor] = {}

    def spread(self, work: Callable[[range], _T], n: int) -> list[_T]:
        """work(piece) for consecutive pieces of range(n), one for each thread at the same time, in order."""
        n_pieces = max(1, min(self.n_threads, n))
        pieces = [range(n * i // n_pieces, n * (i + 1) // n_pieces) for i in range(n_pieces)]
        if n_pieces == 1:
            return [work(pieces[0])]
        others = _threads(self.n_threads - 1)
        alone = torch.no_grad()(work)  # whether gradients are kept is a thread's own, too
        found = [others.submit(alone, piece) for piece in pieces[1:]]
        first = work(pieces[0])
        return [first, *(f.result() for f in found)]

    def borrow(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Memory with anything in it, the thread's until it borrows under the same name again."""
        if like.device.type != "cpu":
            return like.new_empty(shape)
        key, n = (threading.get_ident(), name, like.dtype), math.prod(shape)
        held = self._lent.get(key)
        if held is None or held.numel() < n:
            held = self._lent[key] = like.new_empty(n)
        return held[:n].view(shape)


class side_by_side:
    """A team of as many threads as torch has for the calls of one, which meanwhile has a single one.

    No generator: one that an interrupt left behind would set the thread's modes again whenever it is collected.
    """

    def __init__(self, device: torch.device) -> None:
        self._n = torch.get_num_threads() if device.type == "cpu" and _is_per_thread() else 1
        self._no_grad = torch.no_grad()

    def __enter__(self) -> Team:
        self._no_grad.__enter__()
        if self._n > 1:
            try:
                _threads(self._n - 1)
                _use_one(self._n)
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return Team(self._n)

    def __exit__(self, *raised: Any) -> None:
        if self._n > 1:
            torch.set_num_threads(self._n)
        self._no_grad.__exit__(*raised)


@cache
def _is_per_thread() -> bool:
    """Is the number of torch threads a thread's own, and not the process's?"""
    return "backend: OpenMP" in torch.__config__.parallel_info()


def _use_one(usual: int) -> None:
    """From here on this thread has one torch thread, and new threads of the process as many as before."""
    torch.get_num_threads()  # the first call in a thread sets it to what is usual
    torch.set_num_threads(1)  # both this thread's number and what is usual
    _keeper().submit(torch.set_num_threads, usual).result()


@cache
def _keeper() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "lmtt")


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    usual, started = torch.get_num_threads(), threading.Barrier(n + 1)

    def start() -> None:
        _use_one(usual)
        started.wait()

    threads = ThreadPoolExecutor(n, "lmtt", start)
    try:
        for _ in range(n):
            threads.submit(int)
        started.wait()
    except BaseException:  # interrupted: nobody may wait for ever, the end of the process least of all
        started.abort()
        threads.shutdown(wait=False)
        raise
    return threads


def _forget() -> None:
    _keeper.cache_clear()
    _threads.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # a child has none of its parent's threads
