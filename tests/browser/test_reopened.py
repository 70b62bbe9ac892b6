"""A notebook that was run, saved and opened again in JupyterLab: with its kernel, without it, and somebody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from .jupyter import JupyterServer, run_all, save
from .picture import Picture

CELLS = [
    """import lmtt_widget as lmtt
widget = lmtt.explore(lmtt.bundled_model(), "When Mary and John went to the store, John gave a drink to")
widget""",
    "widget.snapshot()",
]
NAME = "saved.ipynb"
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def saved(lab: JupyterServer, browser: Browser) -> dict[str, Any]:
    """The notebook as it lies on the disk; its kernel still runs."""
    page = browser.new_page(viewport={"width": 1200, "height": 1600})
    lab.open(page, lab.write(NAME, *CELLS))
    run_all(page)
    picture = Picture(live(page))
    picture.click("^6 ·the$")
    expect(picture.view.get_by_role("combobox", name="Explain")).to_have_value("6")
    save(page)
    page.close()
    return json.loads((lab.notebooks / NAME).read_text())


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """JupyterLab itself reports a model that it does not find, so errors in the console are no problem here."""
    context = browser.new_context(viewport={"width": 1200, "height": 1600})
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def live(page: Page) -> Locator:
    view = page.locator(".jp-Notebook .lmtt-widget[data-ready='1']").first
    view.wait_for()
    return view


def output(page: Page, index: int) -> Locator:
    """What a cell shows, less what it printed on the way."""
    shown = page.locator(".jp-Cell").nth(index).locator(".jp-OutputArea-output:not([data-mime-type*=stderr])")
    return shown.first


def copied(lab: JupyterServer, notebook: dict[str, Any], name: str) -> str:
    """The notebook under another name: no kernel has its widget. Whether it is trusted depends on its content alone."""
    (lab.notebooks / name).write_text(json.dumps(notebook))
    return name


def expect_snapshot_alive(page: Page) -> None:
    frame = page.frame_locator(".jp-OutputArea-output iframe[sandbox]")
    frame.locator("[data-ready='1']").wait_for()
    picture = Picture(frame.locator("#page"))
    picture.flow.scroll_into_view_if_needed()
    picture.click("^6 ·the$")
    expect(frame.get_by_role("combobox", name="Explain")).to_have_value("6")


def test_a_picture_is_saved_beside_the_widget_and_no_state(saved: dict[str, Any]) -> None:
    (shown,) = (output for output in saved["cells"][0]["outputs"] if "data" in output)
    assert {VIEW, "image/png", "text/plain"} <= set(shown["data"])
    assert "widgets" not in saved["metadata"]  # without "state" in it GitHub shows nothing of the notebook


def test_with_its_kernel_it_is_alive_again_as_it_was_left(
    lab: JupyterServer, saved: dict[str, Any], page: Page
) -> None:
    lab.open(page, NAME)
    picture = Picture(live(page))
    expect(picture.view.get_by_role("combobox", name="Explain")).to_have_value("6")
    assert output(page, 0).locator("img").count() == 0  # the widget stands for its picture
    picture.click("^1 ·Mary$")
    picture.flow.press("ArrowUp")
    picture.flow.press("Enter")
    table = picture.view.get_by_role("table", name="Logit lens")  # what only the kernel can answer
    expect(table.locator("tbody tr")).to_have_count(10)


def test_without_its_kernel_the_snapshot_is_alive_and_the_widget_after_a_run(
    lab: JupyterServer, saved: dict[str, Any], page: Page
) -> None:
    lab.open(page, copied(lab, saved, "closed.ipynb"))
    expect(output(page, 0)).to_contain_text("model not found")
    assert output(page, 0).locator("img").count() == 0  # JupyterLab prefers its own message to the picture
    expect_snapshot_alive(page)
    run_all(page)
    expect(live(page).get_by_role("combobox", name="Explain")).to_have_value("13")


def test_somebody_elses_shows_pictures_and_the_widget_after_a_run(
    lab: JupyterServer, saved: dict[str, Any], page: Page
) -> None:
    theirs = json.loads(json.dumps(saved))
    theirs["cells"][0]["source"] = "# from somebody else\n" + "".join(theirs["cells"][0]["source"])
    lab.open(page, copied(lab, theirs, "theirs.ipynb"))
    for i in range(len(CELLS)):
        image = output(page, i).locator("img")
        expect(image).to_be_visible()
        assert image.evaluate("img => [img.naturalWidth, img.complete]")[0] > 600
    assert page.locator("iframe[sandbox]").count() == 0
    run_all(page)
    live(page)
    expect_snapshot_alive(page)
