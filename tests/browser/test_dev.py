"""The page for those who work on the browser's side: saved data, no kernel, and what was edited is there at once."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .jupyter import ROOT

ENCODING = """import {{ BY_FLOW }} from "{source}/core/routes.js";
export default {{ ...BY_FLOW, name: "edited", label: "{label}", weight: (_, routes) => routes.flow, legend: () => "" }};
"""


@pytest.fixture
def encoding(tmp_path: Path) -> Path:
    (tmp_path / "encodings").mkdir()
    return tmp_path / "encodings" / "edited.ts"


def write(encoding: Path, label: str) -> None:
    encoding.write_text(ENCODING.format(source=(ROOT / "js" / "src").as_posix(), label=label), "utf-8")


@pytest.fixture
def address(encoding: Path) -> Iterator[str]:
    """Of the page with one more encoding."""
    write(encoding, "as it was")
    command = ["node", "js/build.mjs", "--dev", "--port", "0", "--with", str(encoding.parents[1])]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", line), line
            yield line.strip()
        finally:
            server.terminate()


def test_it_opens_on_a_saved_panel_and_shows_an_edit_without_losing_it(
    address: str, encoding: Path, page: Page
) -> None:
    page.goto(address)
    panel, toolbar = page.locator(".panel"), page.locator(".toolbar")
    expect(panel.get_by_role("heading", name=re.compile("^What head 6 of L2 moved to"))).to_be_visible()
    expect(toolbar.get_by_role("button", name="as it was", exact=True)).to_be_visible()
    page.get_by_role("combobox", name="Explain").select_option("3")
    write(encoding, "as it is now")
    expect(toolbar.get_by_role("button", name="as it is now", exact=True)).to_be_visible()
    expect(page.get_by_role("combobox", name="Explain")).to_have_value("3")
    expect(panel.get_by_role("heading", name=re.compile("^What head 6 of L2 moved to"))).to_be_visible()
