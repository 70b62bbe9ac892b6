"""Long prompts are travelled: tokens zoom alone, a strip shows where one is, fingers do what a mouse does."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import lmtt_widget
import lmtt_widget as lmtt
import lmtt_widget.answers

from .host import Host
from .picture import Picture

OpenWidget = Callable[..., Host]
IOI = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture
def long(open_widget: OpenWidget) -> Host:
    model = lmtt.bundled_model()
    assert model.tokenizer is not None
    ids = model.tokenizer((IOI + ". ") * 16)["input_ids"][:210]
    host = open_widget(lmtt.explore(model, ids))
    host.widget.view = {**host.widget.view, "fold": False}
    host.sync()
    return host


@pytest.fixture
def view(host: Host) -> Locator:
    return host.page.locator(".view")


def wheel(host: Host, by: float, *keys: str) -> None:
    for key in keys:
        host.page.keyboard.down(key)
    host.page.mouse.wheel(0, by)
    for key in keys:
        host.page.keyboard.up(key)
    host.page.wait_for_timeout(100)


def test_ctrl_wheel_zooms_tokens_only_and_shift_layers(host: Host, view: Locator) -> None:
    picture = Picture(view)
    low, high = (picture.place(f"^{name} · 9 dog$") for name in ("L0 after attention", "L2 after attention"))
    picture.flow.hover(position={"x": high[0], "y": high[1]})
    wheel(host, -150, "Control")
    assert abs(picture.place("^L0 after attention · 9 dog$")[1] - low[1]) <= 20  # within the radius of a state
    assert not [x for x in (picture.place("^L2 after attention · 8 a$")[0],) if high[0] - x < 60]
    picture.flow.hover(position={"x": high[0], "y": high[1]})
    wheel(host, -300, "Control", "Shift")
    assert picture.place("^L1 after MLP · 9 dog$")[1] - picture.place("^L2 after attention · 9 dog$")[1] > 70


def test_buttons_zoom_and_the_strip_travels(long: Host) -> None:
    view = long.page.locator(".view")
    picture = Picture(view)
    strip = view.get_by_role("slider", name="Which tokens are in view")
    expect(strip).to_be_visible()
    at = int(strip.get_attribute("aria-valuenow") or 0)
    before = picture.pixels()
    view.get_by_role("button", name="Zoom in").click()
    assert picture.pixels() != before
    strip.focus()
    strip.press("Home")
    expect(strip).to_have_attribute("aria-valuenow", "0")
    picture.place(r"^0 When$")
    box = strip.bounding_box()
    assert box is not None
    long.page.mouse.move(box["x"] + 10, box["y"] + 8)
    long.page.mouse.down()
    long.page.mouse.move(box["x"] + box["width"] - 4, box["y"] + 8, steps=4)
    long.page.mouse.up()
    assert int(strip.get_attribute("aria-valuenow") or 0) >= at
    view.get_by_role("button", name="Fit").click()
    view.get_by_role("button", name="Fit").click()


def test_a_far_word_is_read_in_its_sentence_without_a_click(long: Host) -> None:
    expect(long.page.locator(".text")).to_contain_text("John gave a drink to. When Mary")


# ---- fingers ----


@pytest.fixture
def touched(browser: Browser, problems: list[str], widget: lmtt.FlowWidget) -> Iterator[Host]:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, has_touch=True)
    page = context.new_page()
    host = Host(page, widget, problems)
    host.show()
    yield host
    context.close()
    widget.close()


def test_the_first_tap_shows_and_the_second_opens(touched: Host) -> None:
    picture = Picture(touched.page.locator(".view"))
    x, y = picture.place("^L1 after attention · 6 and$")
    box = picture.flow.bounding_box()
    assert box is not None
    touched.page.touchscreen.tap(box["x"] + x, box["y"] + y)
    expect(picture.tip).to_contain_text("L1 after attention · 6 and")
    assert touched.widget.selection is None
    touched.page.touchscreen.tap(box["x"] + x, box["y"] + y)
    touched.until(lambda: touched.widget.selection == {"kind": "state", "state": 3, "pos": 6}, "the state")


PINCH = """(el) => {
  const box = el.getBoundingClientRect();
  const send = (type, id, x) => el.dispatchEvent(new PointerEvent(type, {
    pointerId: id, pointerType: 'touch', clientX: box.left + x, clientY: box.top + 150, button: 0, bubbles: true,
  }));
  send('pointerdown', 1, 250); send('pointerdown', 2, 350);
  for (let i = 1; i <= 5; i++) { send('pointermove', 1, 250 - 20 * i); send('pointermove', 2, 350 + 20 * i); }
  send('pointerup', 1, 150); send('pointerup', 2, 450);
}"""


def test_two_fingers_zoom_the_tokens_between_them(touched: Host) -> None:
    picture = Picture(touched.page.locator(".view"))
    before = picture.place("^L1 after attention · 5 mat$")[0] - picture.place("^L1 after attention · 4 the$")[0]
    picture.flow.evaluate(PINCH)
    after = picture.place("^L1 after attention · 5 mat$")[0] - picture.place("^L1 after attention · 4 the$")[0]
    assert after > 2 * before
    assert touched.widget.selection is None


# ---- what is taken along ----


def saved(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_a_figure_with_legend_and_selection_is_three_clicks_away(open_widget: OpenWidget) -> None:
    widget = lmtt.explore(lmtt.bundled_model(), IOI, selection={"kind": "edge", "state": 5, "query": 13, "key": 1})
    page = open_widget(widget).page
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("menuitem", name="Figure").click()
    name, data = saved(page, "Save SVG")
    assert name == "when-mary-and-john-to.svg"
    svg = ElementTree.fromstring(data)
    texts = {el.text for el in svg.iter() if el.tag.endswith("text")}
    assert {"attention", "residual", "MLP"} <= texts
    assert any("bookkeeping" in (text or "") for text in texts)
    assert b"#111111" in data  # the selected line
    assert abs(float(svg.get("width", "0").removesuffix("px")) - 720) < 1
    page.get_by_role("button", name="legend", exact=True).click()
    page.get_by_role("button", name="slide", exact=True).click()
    name, data = saved(page, "Save PNG")
    assert name.endswith(".png")
    assert data[:4] == b"\x89PNG"
    assert int.from_bytes(data[16:20], "big") == 2560


PDF = "() => document.querySelector('iframe[sandbox]')?.srcdoc"


def test_a_pdf_is_one_page_of_the_figures_size(open_widget: OpenWidget) -> None:
    page = open_widget(lmtt.explore(lmtt.bundled_model(), IOI)).page
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("menuitem", name="Figure").click()
    page.get_by_role("button", name="slide", exact=True).click()
    page.get_by_role("button", name="PDF").click()
    printed = page.context.new_page()
    printed.set_content(page.evaluate(PDF))
    assert printed.title() == "when-mary-and-john-to"
    pdf = printed.pdf(prefer_css_page_size=True, print_background=True)
    assert re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf) == [(b"960", b"540")]  # points: 1280 x 720 px
    assert re.search(rb"/Type /Page\b", pdf)
    printed.close()


@pytest.mark.parametrize(
    "selection", [{"kind": "heads"}, {"kind": "edge", "state": 3, "query": 9, "key": 2}, {"kind": "token", "pos": 3}]
)
def test_the_python_of_a_panels_numbers_is_one_click_away(host: Host, view: Locator, selection: Any) -> None:
    host.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    host.widget.foil = "cat"
    host.widget.selection = selection
    host.sync()
    view.get_by_role("button", name="Copy the Python for these numbers").click()
    by_hand = view.get_by_role("textbox", name="Copying is blocked here")
    line = by_hand.input_value() if by_hand.count() else host.page.evaluate("() => navigator.clipboard.readText()")
    again = eval(line, {"lmtt_widget": lmtt_widget, "widget": host.widget})
    assert again.kind == selection["kind"]
    assert again.effect_on.foil.text == host.widget.selected.effect_on.foil.text == "cat"


def test_a_table_is_copied_as_it_is_shown(host: Host, view: Locator) -> None:
    host.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table = view.locator(".table").filter(
        has=host.page.get_by_role("table", name="Where the target's state comes from")
    )
    table.hover()
    table.get_by_role("button", name="Copy as CSV").click()
    by_hand = table.get_by_role("textbox", name="Copying is blocked here")
    expect(by_hand.or_(table.get_by_role("button", name="✓"))).to_be_visible()
    copied = by_hand.input_value() if by_hand.count() else host.page.evaluate("() => navigator.clipboard.readText()")
    head, *rows = csv.reader(io.StringIO(copied))
    assert head == ["token", "input share"]
    share = host.widget.routes.input_share
    for name, text in rows:
        pos, _ = name.split(" ", 1)
        assert float(text.removesuffix("%")) == pytest.approx(100 * share[int(pos)], rel=0.02)
    assert len(rows) == min(6, sum(share > 0))


def test_a_table_is_saved_as_a_figure(host: Host, view: Locator) -> None:
    name = "Where the target's state comes from"
    table = view.locator(".table").filter(has=host.page.get_by_role("table", name=name))
    table.hover()
    with host.page.expect_download() as saved:
        table.get_by_role("button", name="As SVG").click()
    assert saved.value.suggested_filename == "where-the-target-s-state-comes-from.svg"
    svg = Path(saved.value.path()).read_text("utf-8")
    texts = [node.text for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    cells = [cell.text_content() for row in table.get_by_role("row").all() for cell in row.locator("th, td").all()]
    assert texts == [name, *cells]
    host.page.set_content(svg)
    inside = """() => [...document.querySelectorAll("text")].every(text => {
        const [at, all] = [text.getBoundingClientRect(), document.querySelector("svg").getBoundingClientRect()];
        return at.left >= all.left && at.right <= all.right && at.bottom <= all.bottom })"""
    assert host.page.evaluate(inside)


# ---- two pictures ----


def test_a_changed_prompt_stands_beside_the_one_before_in_two_clicks(open_widget: OpenWidget) -> None:
    other = IOI.replace("John gave", "Mary gave")
    host = open_widget(lmtt.explore(lmtt.bundled_model(), [IOI, other]))
    view = host.page.locator(".view")
    view.get_by_role("button", name="Keep this picture beside the next").click()
    view.get_by_role("combobox", name="Prompts").select_option("1")
    host.until(lambda: host.widget.prompt == other, "the other prompt")
    kept = view.get_by_role("group", name="The picture that was kept")
    expect(kept).to_contain_text("Kept: ·to → ·Mary 100%")
    expect(kept).to_contain_text(IOI)
    expect(view.locator(".sentence")).to_contain_text("·John comes next")
    picture = Picture(view)
    pixels = "el => el.querySelector('canvas').toDataURL()"
    before, drawn = kept.evaluate(pixels), picture.pixels()
    picture.hover("^L2 attention · 1 ·Mary → 13 ·to$|^4 ·went$")
    assert kept.evaluate(pixels) != before  # one hover
    host.page.mouse.move(5, 1)
    kept.get_by_role("button", name="Difference").click()
    expect(view.locator(".legend")).to_contain_text("▲ gained")
    assert picture.pixels() != drawn
    kept.get_by_role("button", name="Close").click()
    expect(kept).to_have_count(0)
    expect(view.locator(".legend")).not_to_contain_text("gained")
