"""What readers come for, in a real JupyterLab, each in as many clicks as it may take."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from .jupyter import JupyterServer
from .picture import Picture
from .test_jupyter import opened

IOI = "When Mary and John went to the store, John gave a drink to"
EXPLORE = f"import lmtt_widget as lmtt\nwidget = lmtt.explore(lmtt.bundled_model(), {IOI!r})\nwidget"
ECHO = """import ipywidgets
echo = ipywidgets.Label("nothing yet")
def tell(change):
    echo.value = f"{change.name} is {change.new}"
widget.observe(tell, ["selection", "foil", "edits", "target"])
echo"""


class Reader:
    """Counts what a reader does."""

    def __init__(self, page: Page, picture: Picture) -> None:
        self.page, self.picture, self.view, self.clicks = page, picture, picture.view, 0
        self.picture.flow.scroll_into_view_if_needed()

    def click(self, what: Locator) -> None:
        self.clicks += 1
        what.click()

    def button(self, name: str) -> Locator:
        return self.view.get_by_role("button", name=name, exact=True)


@pytest.fixture
def reader(lab: JupyterServer, page: Page) -> Reader:
    return Reader(page, opened(lab, page, EXPLORE, ECHO))


def test_nothing_is_printed_above_the_widget_of_a_fresh_kernel(lab: JupyterServer, page: Page) -> None:
    opened(lab, page, EXPLORE)
    printed = page.evaluate("""() => window.jupyterapp.shell.currentWidget.content.widgets
      .flatMap(cell => cell.model.outputs?.toJSON() ?? []).filter(output => output.output_type === 'stream')""")
    assert printed == []


def test_which_word_which_head_and_its_sign(reader: Reader) -> None:
    expect(reader.view.locator(".sentence")).to_contain_text("·Mary comes next (100%)")  # which word: no click
    reader.click(reader.button("·Mary → ·to"))  # which heads, and their signs
    heads = reader.view.get_by_role("table", name="Heads on this line").locator("tbody tr")
    expect(heads.first).to_contain_text(re.compile(r"H\d.*[+−]\d"))
    reader.click(heads.first.get_by_role("button"))
    expect(reader.view.locator(".panel h3").first).to_contain_text("moved to ·to from ·Mary")
    assert reader.clicks <= 2


def test_the_induction_head_by_name(reader: Reader) -> None:
    reader.picture.flow.press("/")
    reader.page.keyboard.type("induction")
    reader.page.keyboard.press("Enter")
    strongest = reader.view.get_by_role("table", name="Strongest heads").locator("tbody tr").first
    reader.click(strongest.get_by_role("button"))
    expect(reader.view.locator(".panel h3").first).to_contain_text(re.compile(r"What head \d of L\d"))
    assert reader.clicks <= 2


def test_why_this_rather_than_that(reader: Reader) -> None:
    field = reader.view.get_by_role("combobox", name="Type another token")
    field.fill("John")
    field.press("Enter")
    expect(reader.view.locator(".why-this")).to_contain_text("Why ·Mary rather than ·John")
    expect(reader.page.get_by_text("selection is {'kind': 'heads'}")).to_be_visible()
    expect(reader.view.get_by_role("table", name="Strongest heads").locator("tbody tr").first).to_contain_text("H")
    assert reader.clicks == 0  # one choice


def test_before_and_after_of_a_changed_prompt(reader: Reader) -> None:
    reader.click(reader.button("Keep this picture beside the next"))
    box = reader.view.get_by_role("textbox", name="Prompt")
    box.fill(IOI.replace("John gave", "Mary gave"))
    reader.click(reader.button("Run"))
    expect(reader.view.locator(".sentence")).to_contain_text("·John comes next")
    expect(reader.view.locator(".beside")).to_contain_text("Kept: ·to → ·Mary 100%")
    assert reader.clicks <= 2


def test_a_figure_with_legend_and_selection_and_the_python_of_a_number(reader: Reader) -> None:
    reader.click(reader.button("More"))
    reader.click(reader.view.get_by_role("menuitem", name="Figure"))
    with reader.page.expect_download() as download:
        reader.click(reader.button("Save SVG"))
    assert "bookkeeping" in download.value.path().read_text("utf-8")
    assert reader.clicks <= 3
    reader.clicks = 0
    reader.view.get_by_role("button", name="Close").first.click()
    reader.button("·Mary → ·to").click()
    reader.click(reader.button("Copy the Python for these numbers"))
    assert reader.clicks <= 1


def test_cutting_the_main_line_and_reading_the_verdict(reader: Reader) -> None:
    reader.click(reader.button("·Mary → ·to"))
    reader.click(reader.view.get_by_role("button", name="Cut it"))
    expect(reader.view.locator(".verdict")).to_contain_text(re.compile(r"·Mary goes from 100.* to 8\.8%.*exact"))
    expect(reader.view.locator(".beside")).to_contain_text("Before: ·to → ·Mary 100%")
    reader.click(reader.button("difference"))
    expect(reader.view.locator(".legend")).to_contain_text("▼ lost")
    assert reader.clicks <= 3


def test_all_of_it_by_keyboard(reader: Reader) -> None:
    keys = reader.page.keyboard
    reader.picture.flow.focus()
    for key in ("ArrowUp", ",", "Enter"):
        keys.press(key)
    expect(reader.page.get_by_text(re.compile("selection is {'kind'"))).to_be_visible()
    keys.press("Escape")
    reader.picture.flow.focus()
    for key in ("ArrowDown", "t"):
        keys.press(key)
    keys.press("Alt+ArrowLeft")
    keys.press("Alt+ArrowRight")
    expect(reader.picture.flow).to_be_visible()
    assert reader.clicks == 0
