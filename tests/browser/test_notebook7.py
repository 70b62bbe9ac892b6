"""The widget in a real Notebook 7, with the bundled model: what the reader does reaches the kernel, and back."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .jupyter import JupyterServer, run_all
from .picture import Picture
from .test_jupyter import ECHO

EXPLORE = """import lmtt_widget as lmtt
widget = lmtt.explore(lmtt.bundled_model(), "When Mary and John went to the store, John gave a drink to")
widget"""
BUTTON = """button = ipywidgets.Button(description="Python sets the target")
button.on_click(lambda _: setattr(widget, "target", 3))
button"""


@pytest.fixture
def picture(notebook7: JupyterServer, page: Page) -> Picture:
    notebook7.open(page, notebook7.write("live.ipynb", EXPLORE, ECHO, BUTTON))
    run_all(page)
    view = page.locator(".lmtt-widget[data-ready='1']")
    view.wait_for()
    return Picture(view)


def test_a_click_reaches_the_kernel_and_what_it_sets_is_drawn(picture: Picture, page: Page) -> None:
    picture.flow.scroll_into_view_if_needed()
    picture.click("^1 ·Mary$")
    expect(page.get_by_text("target 1 of 14")).to_be_visible()
    page.get_by_role("button", name="Python sets the target").click()
    expect(page.get_by_text("target 3 of 14")).to_be_visible()
    expect(picture.view.get_by_role("combobox", name="Explain")).to_have_value("3")
    # a prompt typed in the widget, and what Python answers about a selection, in the same notebook
    prompt = picture.view.get_by_role("textbox", name="Prompt")
    prompt.fill("When Mary went to the store")
    prompt.press("Enter")
    expect(picture.view.get_by_role("combobox", name="Explain").locator("option")).to_have_count(6)
    expect(page.get_by_text("target 5 of 6")).to_be_visible()
    picture.click("^2 ·went$")
    picture.flow.press("ArrowUp")
    picture.flow.press("Enter")
    panel = picture.view.locator(".panel")
    expect(panel.get_by_role("table", name="Logit lens").locator("tbody tr")).to_have_count(10)
