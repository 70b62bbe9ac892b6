"""An interrupt at any line of the package, and a browser that only hears what a widget sends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from comm.base_comm import BaseComm
from ipywidgets.widgets.widget import _put_buffers

import lmtt_widget

PACKAGE = str(Path(lmtt_widget.__file__).parent)


class Lines:
    """Counts the lines that are run in the package; raises KeyboardInterrupt at the one with this number.

    Deterministic, unlike a signal: a trace function's exception comes from the line itself. guarded: functions whose
    first line is their `try:`, which no code of theirs can guard.
    """

    def __init__(self, at: int = 0, guarded: Iterable[str] = ()) -> None:
        self.at, self.n, self.where, self._guarded = at, 0, "", {*guarded}

    def run(self, work: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        return self._first if frame.f_code.co_name in self._guarded else self._line

    def _first(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.n += 1
            if self.n == self.at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise KeyboardInterrupt
        return self._line


class Browser(BaseComm):
    """The other end of a widget: the state as its messages tell it, and what a reader sets there."""

    opened: list[Browser] = []  # noqa: RUF012

    def __init__(self, **keys: Any) -> None:
        self.state: dict[str, Any] = {}
        super().__init__(**keys)
        Browser.opened.append(self)

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        if msg_type == "comm_open" or (data or {}).get("method") == "update":
            state = dict(data["state"])
            _put_buffers(state, data.get("buffer_paths", []), [bytes(b) for b in buffers or []])
            self.state |= state

    def set(self, widget: Any, name: str, value: Any) -> None:
        """As a reader does: it stands there before Python has it."""
        self.state[name] = value
        widget.set_state({name: value})
