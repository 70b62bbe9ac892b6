"""A Jupyter kernel and a page that hear each other: the page is told what the kernel says, and its messages go back."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from jupyter_client.manager import KernelManager
from playwright.sync_api import Page

from ..browser.jupyter import ROOT


class Kernel:
    """Cells run in it, one at a time; `hear` gets each of its messages as type, content and buffers (base64)."""

    def __init__(self, python: str, paths: list[str], **environment: str) -> None:
        self.manager = KernelManager()
        self.manager.kernel_spec.argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        path = os.pathsep.join([*paths, str(ROOT)])
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": path, **environment})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def join(self, page: Page, hear: str) -> None:
        """hear: the page's function for messages. The page sends with `toKernel(comm_id, data, buffers)`."""
        self.page, self.hear = page, hear
        page.expose_binding("toKernel", lambda _source, *sent: self._send(*sent))

    def run(self, code: str) -> list[dict[str, Any]]:
        """The outputs of a cell; raises RuntimeError for its error."""
        asked, outputs = self.client.execute(code), []
        while True:
            message = self.step(60)
            if message is None:
                raise RuntimeError(f"the kernel said nothing for a minute after: {code}")
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            if kind in ("display_data", "execute_result", "stream"):
                outputs.append(content)
            if kind == "status" and content["execution_state"] == "idle":
                return outputs

    def said(self, code: str) -> str:
        """What a cell prints."""
        return "".join(output.get("text", "") for output in self.run(code)).strip()

    def step(self, seconds: float) -> dict[str, Any] | None:
        """Tell the page the kernel's next message, if there is one within so many seconds."""
        try:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=seconds)
        except Empty:
            return None
        buffers = [base64.b64encode(buffer).decode() for buffer in message["buffers"]]
        told = [message["header"]["msg_type"], message["content"], buffers]
        self.page.evaluate(f"told => {self.hear}(...told)", told)
        return message

    def until(self, fits: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Let both talk until `fits()`."""
        end = time.monotonic() + seconds
        while not fits():
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain for: {what}")
            if self.step(0.02) is None:
                self.page.wait_for_timeout(30)

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def _send(self, comm_id: str, data: Any, buffers: list[str] | None = None) -> None:
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        sent = [base64.b64decode(buffer) for buffer in buffers or []]
        self.client.session.send(self.client.shell_channel.socket, message, buffers=sent)
