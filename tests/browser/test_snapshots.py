"""Where a snapshot lies: its frame begins where its output does and shows its toolbar, however wide the notebook is."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

from .jupyter import JupyterServer, run_all
from .test_offline import CELLS, converted  # noqa: F401  the fixture

WIDTHS = [700, 1200, 1600]


def expect_whole(frame: Locator) -> None:
    """The frame fills its place, nothing around it is scrolled, and inside the rows above the picture can be seen."""
    inside = frame.content_frame
    inside.locator("[data-ready='1']").wait_for()
    place, shown = frame.evaluate("el => [el.parentElement, el].map(x => x.getBoundingClientRect().toJSON())")
    assert [shown[side] for side in ("top", "left", "width", "height")] == pytest.approx(
        [place[side] for side in ("top", "left", "width", "height")], abs=1
    )
    scrolled = "el => [el.parentElement, el.parentElement.parentElement].filter((e) => e.scrollTop > 0).length"
    assert frame.evaluate(scrolled) == 0
    picture = frame.evaluate("el => el.parentElement.querySelector('img').getBoundingClientRect().toJSON()")
    assert picture["width"] <= shown["width"]
    assert picture["height"] <= shown["height"]
    for row in (".prompt-line", ".toolbar"):  # what is below them scrolls inside the frame of a narrow notebook
        box = inside.locator(row).first.evaluate("el => el.getBoundingClientRect().toJSON()")
        assert box["width"] > 100, row
        assert 0 <= box["top"] < box["bottom"] <= shown["height"] + 1, row


@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_page_of_nbconvert(browser: Browser, converted: Path, width: int) -> None:  # noqa: F811
    page = browser.new_page(viewport={"width": width, "height": 900}, offline=True)
    page.goto(converted.as_uri())
    frame = page.locator("iframe[sandbox]")
    frame.scroll_into_view_if_needed()
    expect_whole(frame)
    page.close()


def test_in_jupyterlab(lab: JupyterServer, page: Page) -> None:
    lab.open(page, lab.write("geometry.ipynb", *CELLS))
    run_all(page)
    frame = page.locator(".jp-OutputArea-output iframe[sandbox]")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        frame.scroll_into_view_if_needed()
        expect_whole(frame)
