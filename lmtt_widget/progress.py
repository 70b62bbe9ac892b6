"""How far a long piece of work has come: told to the caller, or shown by tqdm when it takes more than a second."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from .given import told

Progress = Callable[[int, int], None]  # done, total
Option = Progress | Literal[False] | None  # False: nobody is told
_PATIENCE = 1.0  # seconds without a bar
_OFTEN = 0.1  # seconds between two reports


@contextlib.contextmanager
def reported(what: str, progress: Option) -> Iterator[Progress]:
    """What to call with (done, total): the caller's own, or a bar that is gone at the end.

    In a notebook there is none: its place in the output would stay when it is gone, and the widget has its own.
    """
    if progress is False or (progress is None and _in_notebook()):
        yield _to_nobody
        return
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a function of (done, total), None, or False, got {told(progress)}")
    if progress is not None:
        yield progress
        return
    bar = _Bar(what)
    try:
        yield bar
    finally:
        bar.close()


def sometimes(heard: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """The same heard(what, done, total), but of each thing not more often than it can be read."""
    last: dict[str, float] = {}

    def tell(what: str, done: int, total: int) -> None:
        if time.monotonic() - last.get(what, -math.inf) > _OFTEN:
            last[what] = time.monotonic()
            heard(what, done, total)

    return tell


def _to_nobody(_done: int, _total: int) -> None:
    """Not told."""


def _in_notebook() -> bool:
    """Whether what is printed stands under a cell."""
    return type(sys.stderr).__module__.partition(".")[0] in ("ipykernel", "marimo")


class _Bar:
    def __init__(self, what: str) -> None:
        self.what, self.start = what, time.monotonic()
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None and done < total and time.monotonic() - self.start >= _PATIENCE:
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=done, desc=self.what, leave=False)
        if self.bar is not None:
            self.bar.n = done
            self.bar.refresh()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
