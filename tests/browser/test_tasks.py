"""What readers come for, in a real JupyterLab, each in as many clicks as it may take."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from .jupyter import JupyterServer
from .picture import Picture
from .test_jupyter import opened
from .test_travel import PINCH

IOI = "When Mary and John went to the store, John gave a drink to"
EXPLORE = f"import lmtt_widget as lmtt\nwidget = lmtt.explore(lmtt.bundled_model(), {IOI!r})\nwidget"
ECHO = """import ipywidgets
echo = ipywidgets.Label("nothing yet")
def tell(change):
    echo.value = f"{change.name} is {change.new}"
widget.observe(tell, ["selection", "foil", "edits", "target"])
echo"""

LONG = f"""import lmtt_widget as lmtt
model = lmtt.bundled_model()
sentence = "The garden was full of birds and the birds sang. "
ids = model.tokenizer(sentence * 12 + {IOI!r} + " Mary. " + sentence * 14 + {IOI!r})["input_ids"]
lmtt.explore(model, ids)"""
STATE = """() => {
  const view = document.querySelector('.lmtt-widget').shadowRoot;
  return [
    view.querySelector('select[aria-label="Explain"]').value, view.querySelector('.r-threshold').textContent,
    view.querySelector('textarea').value, view.querySelector('.selected h3')?.textContent ?? '',
  ];
}"""
SAME = f"was => JSON.stringify(({STATE})()) === JSON.stringify(was)"


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


def state(reader: Reader) -> list[str]:
    found: list[str] = reader.page.evaluate(STATE)
    return found


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


def test_a_far_word_of_a_long_document_is_read_in_its_sentence(lab: JupyterServer, page: Page) -> None:
    picture = opened(lab, page, LONG)
    text = picture.view.locator(".text")
    expect(text).to_contain_text("the birds sang. When Mary and John went to the store")
    far = text.locator("[data-pos]").filter(has_text="Mary").first
    at = [int(word.get_attribute("data-pos") or 0) for word in (far, text.locator(".target"))]
    assert at[1] - at[0] > 150
    expect(text.locator(".target")).to_be_in_viewport()


def test_back_and_forward_over_target_prompt_threshold_and_selection(reader: Reader) -> None:
    rest = 400  # ms; what is changed without a rest between is one step
    view, keys = reader.view, reader.page.keyboard
    steps = [
        lambda: view.locator(".text [data-pos='10']").click(),
        lambda: view.get_by_role("slider", name="Threshold").press("ArrowRight"),
        lambda: view.get_by_role("table", name="Strongest lines").locator("tbody button").first.click(),
    ]
    shown = [state(reader)]
    reader.page.wait_for_timeout(rest)
    for step in steps:
        step()
        reader.page.wait_for_timeout(rest)
        shown.append(state(reader))
    box = view.get_by_role("textbox", name="Prompt")
    box.fill(IOI.replace("John gave", "Mary gave"))
    box.press("Enter")
    expect(view.get_by_role("combobox", name="Explain")).to_have_value("13")
    reader.page.wait_for_timeout(rest)
    shown.append(state(reader))
    assert len({str(one) for one in shown}) == len(shown)
    reader.picture.flow.focus()
    for key, wanted in (("ArrowLeft", shown[-2::-1]), ("ArrowRight", shown[1:])):
        for was in wanted:
            keys.press(f"Alt+{key}")
            reader.page.wait_for_function(SAME, arg=was)


def test_by_touch_a_pinch_zooms_a_tap_shows_and_the_next_opens(
    lab: JupyterServer, browser: Browser, problems: list[str]
) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, has_touch=True)
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    picture = opened(lab, page, EXPLORE, ECHO)
    picture.flow.scroll_into_view_if_needed()
    place = "^L2 after attention · 13 ·to$"
    apart = [picture.place(f"^{t} .*")[0] for t in (6, 7)]
    picture.flow.evaluate(PINCH)
    wider = [picture.place(f"^{t} .*")[0] for t in (6, 7)]
    assert wider[1] - wider[0] > 1.5 * (apart[1] - apart[0])
    picture.flow.press("0")
    x, y = picture.place(place)
    box = picture.flow.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + x, box["y"] + y)
    expect(picture.tip).to_contain_text("L2 after attention")
    expect(page.get_by_text("selection is")).to_have_count(0)
    page.touchscreen.tap(box["x"] + x, box["y"] + y)
    expect(page.get_by_text("selection is {'kind': 'state'")).to_be_visible()
    context.close()


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
