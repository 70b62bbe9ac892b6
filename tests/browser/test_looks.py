"""Small blemishes that readers met: each is gone, and stays so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from playwright.sync_api import Locator, Page, expect

import lmtt_widget as lmtt

from .host import Host
from .models import N_POSITIONS, PROMPT, model_of_type
from .picture import Picture

OpenWidget = Callable[..., Host]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def view(host: Host) -> Locator:
    return host.page.locator(".view")


def overlap(a: Locator, b: Locator) -> float:
    """In square px."""
    one, other = a.bounding_box(), b.bounding_box()
    assert one is not None
    assert other is not None
    wide, high = (
        min(one[at] + one[size], other[at] + other[size]) - max(one[at], other[at])
        for at, size in (("x", "width"), ("y", "height"))
    )
    return max(0, wide) * max(0, high)


def test_without_attention_the_legend_has_no_scale_of_nothing(open_widget: OpenWidget) -> None:
    view = open_widget(lmtt.explore(model_of_type("mamba"), PROMPT)).page.locator(".view")
    expect(view.locator(".legend")).to_be_visible()
    expect(view.locator(".legend .scale")).to_have_count(0)


def test_the_handle_of_a_narrow_widget_covers_no_row(open_widget: OpenWidget, widget: lmtt.FlowWidget) -> None:
    view = open_widget(widget, width=640).page.locator(".view")
    assert overlap(view.locator(".handle"), view.locator(".panel")) == 0


@pytest.mark.parametrize("width", [1000, 640])
def test_a_notice_covers_neither_the_answer_nor_the_tokens(
    open_widget: OpenWidget, widget: lmtt.FlowWidget, width: int
) -> None:
    host = open_widget(widget, width=width)
    view = host.page.locator(".view")
    view.get_by_role("textbox", name="Prompt").fill("cat " * (N_POSITIONS + 1))
    view.get_by_role("button", name="Run").click()
    notice = view.get_by_role("alert")
    expect(notice).to_be_visible()
    assert overlap(notice, view.locator(".flow")) == 0
    assert overlap(notice, view.locator(".panel")) == 0


def test_bars_do_not_run_through_digits(host: Host, view: Locator) -> None:
    host.widget.selection = {"kind": "state", "state": 3, "pos": 9}
    host.sync()
    rows = view.get_by_role("table", name="Promoted").locator("tbody tr")
    expect(rows.first).to_be_visible()
    assert overlap(rows.first.locator(".bar-track"), rows.first.locator(".number")) == 0


def test_maps_say_which_axis_is_which(host: Host, view: Locator) -> None:
    host.widget.selection = {"kind": "head", "state": 3, "head": 2, "query": 9, "key": 2}
    host.sync()
    figure = view.locator(".maps figure").first
    expect(figure.get_by_text("key →")).to_be_visible()
    expect(figure.get_by_text("query ↓")).to_be_visible()


def test_maps_name_their_tokens_on_both_axes(host: Host, view: Locator) -> None:
    host.widget.selection = {"kind": "head", "state": 3, "head": 2, "query": 9, "key": 2}
    host.sync()
    figure = view.locator(".maps figure").first
    for axis in ("queries", "keys"):
        assert figure.locator(f".ticks.{axis} span").all_inner_texts() == PROMPT.split()


def test_a_drag_over_a_map_shows_that_part_larger_and_a_double_click_all_of_it(host: Host, view: Locator) -> None:
    host.widget.selection = selection = {"kind": "head", "state": 3, "head": 2, "query": 9, "key": 2}
    host.sync()
    figure = view.locator(".maps figure").first
    heat, words = figure.get_by_role("application"), PROMPT.split()
    heat.scroll_into_view_if_needed()
    box = heat.bounding_box()
    assert box is not None

    def at(query: float, key: float, n: int) -> tuple[float, float]:
        return box["x"] + box["width"] * (key + 0.5) / n, box["y"] + box["height"] * (query + 0.5) / n

    def named(axis: str) -> list[str]:
        return figure.locator(f".ticks.{axis} span").all_inner_texts()

    mouse = host.page.mouse
    mouse.move(*at(4, 2, 10))
    mouse.down()
    mouse.move(*at(8, 4, 10), steps=4)
    mouse.up()
    assert (named("queries"), named("keys")) == (words[4:9], words[2:7])
    assert host.widget.selection == selection
    mouse.click(*at(2, 1, 5))
    host.until(lambda: host.widget.selection["query"] == 6, "the cell under the pointer")
    assert host.widget.selection["key"] == 3
    mouse.dblclick(*at(2, 1, 5))
    assert (named("queries"), named("keys")) == (words, words)


def test_a_map_is_saved_as_a_figure_with_its_tokens_axes_and_scale(host: Host, view: Locator) -> None:
    host.widget.selection = {"kind": "head", "state": 3, "head": 2, "query": 9, "key": 2}
    host.sync()
    answer = host.widget.selected
    assert answer is not None
    figure = view.locator(".maps figure").first
    with host.page.expect_download() as saved:
        figure.get_by_role("button", name="Save SVG").click()
    assert saved.value.suggested_filename == "l1-h2-attention.svg"
    root = ElementTree.fromstring(Path(saved.value.path()).read_text("utf-8"))
    words, n = PROMPT.split(), len(PROMPT.split())
    texts = [e.text for e in root.iter(SVG + "text")]
    assert texts[0] == "L1 H2: Attention"
    assert texts[1 : 1 + 2 * n] == [word for word in words for _ in range(2)]  # at the left and below
    assert texts[1 + 2 * n : 3 + 2 * n] == ["key →", "query ↓"]
    assert (texts[-3], texts[-1]) == ("0%", "100%")  # of the first token, which only looks at itself
    drawn = torch.full((n, n), -1)  # a number for each colour
    colours = [e.get("fill") for e in root.iter(SVG + "rect") if e.get("height") == "6"]  # of the scale
    for e in root.iter(SVG + "rect"):
        x, y, wide, high = (float(e.get(name, "nan").rstrip("%")) for name in ("x", "y", "width", "height"))
        if high == pytest.approx(400 / n):
            first, row = round((x - 96) / high), round((y - 36) / high)
            colour = colours.index(e.get("fill")) if e.get("fill") in colours else len(colours)
            drawn[row, first : first + round(wide / high)] = colour
    ink = 32 * (answer["pattern"].float() / answer["max"]["pattern"]).clamp(0, 1).sqrt()
    seen = torch.ones(n, n).tril().bool()
    assert ((drawn >= 0) == seen).all()
    assert ((drawn - ink)[seen].abs() <= 0.6).all()  # rounded twice


@pytest.mark.parametrize("kind", [None, "heads"])
def test_the_fields_of_a_question_stay_in_a_narrow_panel_and_their_hint_is_whole(host: Host, kind: str | None) -> None:
    host.widget.selection = kind and {"kind": kind}
    host.sync()
    foil = host.show(850).locator(".panel .foil")
    foil.wait_for()
    inside = foil.locator("xpath=ancestor::*[contains(@class, 'panel-body')]").bounding_box()
    assert inside is not None
    for field in foil.get_by_role("combobox").all():
        box = field.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= inside["x"] + inside["width"] - 10  # the panel's own margin
    assert foil.get_by_placeholder("another").last.evaluate(HINT_FITS)


HINT_FITS = """field => {
  const [{ paddingLeft, paddingRight }, hint] = [getComputedStyle(field), getComputedStyle(field, "::placeholder")];
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${hint.fontSize} ${hint.fontFamily}`;
  const room = field.clientWidth - Number.parseFloat(paddingLeft) - Number.parseFloat(paddingRight);
  return pen.measureText(field.placeholder).width <= room;
}"""


def test_a_mixture_says_why_shares_of_experts_and_of_neurons_differ(open_widget: OpenWidget) -> None:
    widget = lmtt.explore(model_of_type("qwen2_moe"), PROMPT)
    mlp = next(p for p in widget.run.parts if p.kind == "mlp")
    widget.selection = {"kind": "mlp", "state": mlp.state, "pos": 3}
    panel = open_widget(widget).page.locator(".panel")
    expect(panel).to_contain_text("do not add up to its own")


def test_the_status_says_drawing_until_the_new_picture_is_there(host: Host, widget: lmtt.FlowWidget) -> None:
    seen: list[tuple[str, bool]] = []
    old = widget.graph
    widget.observe(lambda change: seen.append((change["new"]["text"], widget.graph is not old)), "status")
    host.set(prompt="a dog ran home")
    assert ("drawing", False) in seen
    assert seen[-1] == ("", True)


def test_the_buttons_above_the_picture_are_one_tab_stop_and_arrows_walk_them(host: Host, view: Locator) -> None:
    page: Page = host.page
    toolbar = view.get_by_role("toolbar")
    view.get_by_role("button", name="Auto").focus()
    focused = "() => document.querySelector('.lmtt-widget').shadowRoot.activeElement.textContent"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "enough?"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "flow"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "share"
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == "Heads"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.querySelector('.lmtt-widget').shadowRoot.activeElement.className") == "flow"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(focused) == "Heads"
    page.keyboard.press("Home")
    assert page.evaluate(focused) == "flow"
    assert toolbar.locator("button[tabindex='0']").count() == 1


def test_an_effect_on_a_token_predicted_before_is_a_dash(host: Host, view: Locator) -> None:
    host.widget.target = 4
    host.widget.selection = {"kind": "mlp", "state": 4, "pos": 9}
    host.sync()
    effects = view.get_by_role("table", name="Neurons by share").locator("tbody td:last-child")
    expect(effects).to_have_text(["–"] * 20)


@pytest.mark.parametrize("width", [700, 1200, 1600])
def test_the_picture_behind_a_snapshot_is_no_larger_than_its_frame(
    page: Page, widget: lmtt.FlowWidget, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    output = f"<div class='output' style='overflow: auto'>{widget.snapshot('nothing').data}</div>"
    page.set_content(f"<style>img {{ height: auto }}</style>{output}")
    frame, picture = page.locator("iframe").bounding_box(), page.locator("img").bounding_box()
    assert frame is not None
    assert picture is not None
    assert 100 < picture["width"] <= frame["width"]
    assert 100 < picture["height"] <= frame["height"]
    assert page.locator(".output").evaluate("el => el.scrollHeight - el.clientHeight") == 0
    page.frame_locator("iframe").locator("[data-ready='1']").wait_for()


def test_bars_of_shares_are_linear_and_little_does_not_fill_one(host: Host, view: Locator) -> None:
    rows = view.get_by_role("table", name="Where the target's state comes from").locator("tbody tr")
    expect(rows.first).to_be_visible()
    share = sorted((float(x) for x in host.widget.routes.input_share if x > 0), reverse=True)[: rows.count()]
    full = max(0.1, share[0])
    for row, one in zip(rows.all(), share, strict=True):
        width = row.locator(".bar-fill").evaluate("el => parseFloat(el.style.width)")
        assert width == pytest.approx(100 * one / full, abs=0.5)


def test_a_selected_line_keeps_its_true_width(host: Host) -> None:
    routes = host.widget.routes
    lines = [e for e in routes.edges(routes.automatic_threshold()) if e.kind == "attention"]
    edge = min(lines, key=lambda e: e.flow)
    plain = host.widget.svg(theme="light")
    host.widget.selection = {"kind": "edge", "state": edge.state, "query": edge.query, "key": edge.key}
    host.sync()
    assert host.widget.svg(theme="light") == plain  # what is drawn of it is as wide as it was


def test_states_of_one_layer_have_crumbs_of_their_own(host: Host, view: Locator) -> None:
    for state in (3, 4):
        host.widget.selection = {"kind": "state", "state": state, "pos": 9}
        host.sync()
    assert len(set(view.locator(".crumb").all_inner_texts())) == 2


def test_ranks_count_from_one(host: Host, view: Locator) -> None:
    host.widget.selection = {"kind": "state", "state": 6, "pos": 9}
    host.sync()
    first = view.get_by_role("table", name="Logit lens").locator("tbody tr").first
    expect(first.locator("td").first).to_have_text("1")
    run = host.widget.run
    expected = 1 + int((run.logits[3] > run.logits[3, run.token_ids[4]]).sum())
    host.widget.selection = {"kind": "token", "pos": 4}
    host.sync()
    expect(view.locator(".panel")).to_contain_text(f"(rank {expected})")


def test_a_pin_goes_with_its_prompt(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    widget.selection = {"kind": "state", "state": 3, "pos": 9}
    host.sync()
    view.locator(".crumbs").get_by_role("button", name="Pin").click()
    host.until(lambda: len(widget.pins) == 1, "a pin")
    host.set(prompt="a dog ran home")
    assert widget.pins == []
    expect(view.locator(".pinned")).to_have_count(0)


def test_size_makes_everything_larger_and_the_pointer_still_hits(
    host: Host, widget: lmtt.FlowWidget, view: Locator
) -> None:
    picture = Picture(view)
    before = view.locator(".sentence .first").bounding_box()
    view.get_by_role("button", name="More", exact=True).click()
    view.get_by_role("menuitemradio", name="150%").click()
    host.until(lambda: widget.view["text"] == 1.5, "the size in Python")
    host.page.keyboard.press("Escape")
    after = view.locator(".sentence .first").bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] > 1.3 * before["height"]
    picture.click("^4 the$")
    host.until(lambda: widget.target == 4, "target 4")
    ratio = view.locator(".flow canvas").first.evaluate("el => el.width / el.getBoundingClientRect().width")
    assert ratio == pytest.approx(1, abs=0.02)  # as fine as the screen


def test_no_white_of_vs_code_stands_around_it(host: Host) -> None:
    host.page.add_style_tag(content=".cell-output-ipywidget-background { background: white !important; padding: 8px }")
    host.page.evaluate("() => document.querySelector('.view').classList.add('cell-output-ipywidget-background')")
    host.page.set_viewport_size({"width": 900, "height": 900})  # the widget looks around when it is put into a page
    host.page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.view')).backgroundColor === 'rgba(0, 0, 0, 0)'"
    )


FINENESS = """canvases => canvases.map(canvas => {
  const drawn = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(x => x > 0);
  return [canvas.width / canvas.clientWidth, drawn];
})"""

# Emulated screens change what media queries match and tell no listener, as a window that is moved does.
TOLD = """() => {
  const [match, all] = [matchMedia, []];
  window.matchMedia = query => {
    const list = match(query);
    all.push({ list, was: list.matches });
    return list;
  };
  window.tell = () => {
    for (const one of [...all]) {
      if (one.list.matches === one.was) continue;
      one.was = one.list.matches;
      one.list.dispatchEvent(new Event("change"));
    }
  };
}"""


def test_on_a_screen_of_another_fineness_every_canvas_is_drawn_anew(
    page: Page, open_widget: OpenWidget, widget: lmtt.FlowWidget
) -> None:
    """A window that is moved to another screen keeps its size in px; only the points of a px change."""
    widget.edits = [{"selection": {"kind": "mlp", "state": 4, "pos": 9}, "to": 0.0}]
    widget.selection = {"kind": "mlp", "state": 4, "pos": 9}  # on the topmost canvas
    page.add_init_script(f"({TOLD})()")
    host = open_widget(widget)
    canvases = page.locator(".flow canvas, .beside canvas")
    expect(page.locator(".beside canvas")).to_be_visible()
    session = page.context.new_cdp_session(page)
    for fineness in (1, 2, 1.5):
        screen = {"width": 1200, "height": 900, "deviceScaleFactor": fineness, "mobile": False}
        session.send("Emulation.setDeviceMetricsOverride", screen)
        page.evaluate("tell()")
        wanted = [[pytest.approx(fineness, rel=0.01), True]] * 4
        host.until(
            lambda wanted=wanted: canvases.evaluate_all(FINENESS) == wanted, f"four canvases, {fineness} as fine"
        )


@pytest.mark.parametrize("width", [420, 560, 780, 850, 960, 1100, 1400])
def test_nothing_above_the_picture_is_cut_off(host: Host, view: Locator, width: int) -> None:
    host.page.set_viewport_size({"width": width, "height": 900})
    beyond = """toolbar => {
        const right = (el) => el.getBoundingClientRect().right;
        const shown = [...toolbar.querySelectorAll("*")].filter((el) => el.getClientRects().length);
        return shown.filter((el) => right(el) > right(toolbar) + 0.5).map((el) => el.outerHTML);
    }"""
    toolbar = view.locator(".row.toolbar")
    for name in ("flow", "share", "effect"):
        toolbar.get_by_role("button", name=name, exact=True).click()
        assert toolbar.evaluate(beyond) == []
    toolbar.get_by_role("button", name="flow", exact=True).click()
    enough = view.locator(".readout").get_by_role("button", name="enough?")
    if enough.count():
        enough.click()
        expect(view.locator(".readout").get_by_role("button", name="keeps")).to_be_visible()
        assert toolbar.evaluate(beyond) == []


def test_what_heads_are_ranked_by_stands_in_one_row(
    page: Page, open_widget: OpenWidget, widget: lmtt.FlowWidget
) -> None:
    page.set_viewport_size({"width": 1040, "height": 900})
    widget.selection = {"kind": "heads"}
    open_widget(widget)
    box = page.locator(".heads-by .choice").bounding_box()
    assert box is not None
    assert box["height"] < 30
