"""The graph in the browser: what is clicked is set in Python, what is set in Python is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

import lmtt_widget as lmtt

from .host import Host
from .jupyter import ROOT
from .models import HOSTILE, N_POSITIONS, PROMPT, random_model
from .picture import Picture

SHOTS = ROOT / "shots"
OpenWidget = Callable[..., Host]


@pytest.fixture
def view(host: Host) -> Locator:
    return host.page.locator(".view")


@pytest.fixture
def picture(view: Locator) -> Picture:
    return Picture(view)


# ---- opening ----


def test_it_is_ready_once_the_first_picture_is_drawn(host: Host, view: Locator) -> None:
    edges = view.locator("[data-ready='1'] .flow").get_attribute("data-edges", timeout=100)
    assert edges is not None
    assert int(edges) > 0


def test_it_opens_on_the_last_token_with_at_most_eighty_edges(picture: Picture, view: Locator) -> None:
    expect(view.get_by_role("combobox", name="Explain")).to_have_value("9")
    assert 0 < picture.n_edges <= 80
    expect(view.locator(".readout")).to_contain_text(f"{picture.n_edges} lines")


def test_it_opens_with_how_to_read_it_and_nothing_selected(widget: lmtt.FlowWidget, view: Locator) -> None:
    assert widget.selection is None
    expect(view.get_by_role("heading", name="How to read this")).to_be_visible()
    expect(view.locator(".sentence")).to_contain_text("of this state comes from")


def test_the_model_and_its_exactness_are_told(widget: lmtt.FlowWidget, view: Locator) -> None:
    expect(view.get_by_text("llama 3L 4H")).to_be_visible()
    expect(view.get_by_role("button", name="exact to")).to_be_visible()


def test_without_a_graph_it_is_ready_and_says_so(open_widget: OpenWidget, widget: lmtt.FlowWidget) -> None:
    widget.graph = b""
    host = open_widget(widget)
    expect(host.page.get_by_text("Nothing recorded.")).to_be_visible()


def test_bytes_that_cannot_be_read_are_an_error_and_the_old_picture_stays(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    before = picture.pixels()
    widget.graph = widget.graph[: len(widget.graph) // 2]
    host.sync()
    expect(view.get_by_role("alert")).not_to_be_empty()
    assert picture.pixels() == before


# ---- target ----


def test_a_click_on_a_token_explains_it(host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator) -> None:
    before = picture.pixels()
    picture.click("^4 the$")
    host.until(lambda: widget.target == 4, "target 4")
    expect(view.get_by_role("combobox", name="Explain")).to_have_value("4")
    assert picture.pixels() != before


def test_a_target_chosen_from_the_list_reaches_python(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    view.get_by_role("combobox", name="Explain").select_option("2")
    host.until(lambda: widget.target == 2, "target 2")


def test_a_target_set_in_python_is_drawn(host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator) -> None:
    before = picture.pixels()
    widget.target = -3
    host.sync()
    expect(view.get_by_role("combobox", name="Explain")).to_have_value("7")
    assert picture.pixels() != before


def test_the_first_token_can_be_explained(host: Host, widget: lmtt.FlowWidget, picture: Picture) -> None:
    widget.target = 0
    host.sync()
    assert picture.n_edges == len([part for part in widget.run.parts if part.kind == "attention"])


# ---- threshold, encoding ----


def test_the_slider_sets_the_threshold_in_python(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    automatic = picture.n_edges
    slider = view.get_by_role("slider", name="Threshold")
    slider.fill(str(int(slider.input_value()) + 200))
    host.until(lambda: widget.threshold is not None, "a threshold of one's own")
    assert picture.n_edges < automatic
    expect(view.get_by_role("button", name="Auto")).to_have_attribute("aria-pressed", "false")


def test_a_threshold_set_in_python_is_drawn_and_none_is_automatic_again(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    automatic = picture.n_edges
    widget.threshold = 0.05
    host.sync()
    expect(view.locator(".readout")).to_contain_text("5.0%")
    assert picture.n_edges < automatic
    widget.threshold = None
    host.sync()
    assert picture.n_edges == automatic
    expect(view.get_by_role("button", name="Auto")).to_have_attribute("aria-pressed", "true")


def test_the_edges_drawn_are_those_of_pythons_routes(host: Host, widget: lmtt.FlowWidget, picture: Picture) -> None:
    for encoding in ("flow", "share"):
        widget.encoding = encoding
        widget.threshold = 0.02
        host.sync()
        n = sum(edge.kind == "attention" for edge in widget.routes.edges(0.02))
        assert picture.n_edges == n, encoding


def test_another_encoding_makes_the_threshold_automatic(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    widget.threshold = 0.3
    host.sync()
    view.locator(".toolbar").get_by_role("button", name="share", exact=True).click()
    host.until(lambda: widget.encoding == "share", "encoding share")
    assert widget.threshold is None
    expect(view.locator(".readout")).to_contain_text("4.0%")


def test_an_encoding_set_in_python_is_drawn(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    widget.encoding = "share"
    host.sync()
    expect(view.locator(".toolbar").get_by_role("button", name="share", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    widget.encoding = "flow"
    host.sync()
    expect(view.locator(".toolbar").get_by_role("button", name="flow", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_reading_and_renormalising_belong_to_shares(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    expect(view.get_by_role("button", name="renorm.")).to_have_count(0)
    widget.encoding = "share"
    host.sync()
    view.get_by_role("button", name="sum", exact=True).click()
    view.get_by_role("button", name="renorm.").click()
    host.until(lambda: widget.reading == "sum" and widget.renormalise, "reading sum, renormalised")


# ---- fold, zoom, size ----


def test_fold_hides_columns_no_drawn_line_touches(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    widget.target = 4
    host.sync()
    with pytest.raises(AssertionError, match="nothing in the picture"):
        picture.place("^7 saw$")
    view.get_by_role("button", name="Fold").click()
    host.until(lambda: widget.view["fold"] is False, "unfolded")
    picture.place("^7 saw$")
    widget.view = {**widget.view, "fold": True}
    host.sync()
    expect(view.get_by_role("button", name="Fold")).to_have_attribute("aria-pressed", "true")


def test_only_the_wheel_with_ctrl_zooms(host: Host, picture: Picture) -> None:
    before = picture.pixels()
    picture.flow.hover()
    picture.flow.hover(position={"x": 200, "y": 10})
    before = picture.pixels()
    host.page.mouse.wheel(0, -200)
    assert picture.pixels() == before
    host.page.keyboard.down("Control")
    host.page.mouse.wheel(0, -200)
    host.page.keyboard.up("Control")
    host.until(lambda: picture.pixels() != before, "a picture that is zoomed")


def test_a_height_set_in_python_is_the_height(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    widget.view = {**widget.view, "height": 700}
    host.sync()
    view.locator(".root").evaluate("el => new Promise(requestAnimationFrame)")
    box = view.locator(".lmtt-widget").bounding_box()
    assert box is not None
    assert abs(box["height"] - 700) < 20


@pytest.mark.parametrize(("width", "is_beside"), [(1100, True), (640, False)])
def test_the_panel_is_beside_a_wide_picture_and_under_a_narrow_one(
    open_widget: OpenWidget, widget: lmtt.FlowWidget, width: int, is_beside: bool
) -> None:
    view = open_widget(widget, width=width).page.locator(".view")
    flow, panel = view.locator(".flow").bounding_box(), view.locator(".panel").bounding_box()
    assert flow is not None
    assert panel is not None
    assert (panel["x"] >= flow["x"] + flow["width"] - 1) is is_beside
    assert (panel["y"] >= flow["y"] + flow["height"] - 1) is not is_beside
    assert view.evaluate("el => el.scrollWidth <= el.clientWidth")


# ---- hover, selection ----


def test_a_pointer_on_a_line_reads_its_tokens_and_share(host: Host, picture: Picture) -> None:
    picture.hover("^L0 attention · 0 the → 9 dog$")
    expect(picture.tip).to_be_visible()
    expect(picture.tip).to_contain_text("share")
    host.page.mouse.move(5, 895)
    expect(picture.tip).to_be_hidden()


def test_hovering_asks_python_nothing(host: Host, widget: lmtt.FlowWidget, picture: Picture) -> None:
    host.until(lambda: bool(widget.peek), "what is read ahead")
    before = widget.get_state()
    picture.hover("^L1 after attention · 9 dog$")
    picture.hover("^L0 attention")
    host.sync()
    assert widget.get_state() == before


def test_a_click_on_a_state_selects_it_in_python(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    picture.click("^L1 after attention · 6 and$")
    host.until(lambda: bool(widget.selection), "a selection")
    assert widget.selection == {"kind": "state", "state": 3, "pos": 6}
    expect(view.get_by_role("heading", name="What made up L1 after attention at and")).to_be_visible()


def test_a_click_on_a_line_selects_it_in_python(host: Host, widget: lmtt.FlowWidget, picture: Picture) -> None:
    picture.click("^L0 attention · 0 the → 9 dog$")
    host.until(lambda: bool(widget.selection), "a selection")
    assert widget.selection == {"kind": "edge", "state": 1, "query": 9, "key": 0}


def test_a_click_on_a_square_selects_the_mlp_in_python(host: Host, widget: lmtt.FlowWidget, picture: Picture) -> None:
    picture.click("^L0 MLP · 9 dog$")
    host.until(lambda: bool(widget.selection), "a selection")
    assert widget.selection == {"kind": "mlp", "state": 2, "pos": 9}


def test_a_selection_made_in_python_opens_in_the_panel(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    widget.selection = {"kind": "edge", "state": 1, "query": 9, "key": 6}
    host.sync()
    expect(view.get_by_role("heading", name="What dog took from and")).to_be_visible()
    widget.selection = None
    host.sync()
    expect(view.locator(".sentence")).to_be_visible()
    expect(view.get_by_role("heading", name="How to read this")).to_have_count(0)  # it was told once


def test_keys_walk_select_and_go_back(host: Host, widget: lmtt.FlowWidget, picture: Picture) -> None:
    picture.flow.focus()
    host.page.keyboard.press("ArrowDown")  # puts the cursor on the target
    host.page.keyboard.press("ArrowDown")
    host.page.keyboard.press("ArrowLeft")
    host.page.keyboard.press("Enter")
    host.until(lambda: bool(widget.selection), "a selection")
    assert widget.selection == {"kind": "state", "state": len(widget.run.states) - 2, "pos": 8}
    host.page.keyboard.press("t")
    host.until(lambda: widget.target == 8, "target 8")
    host.page.keyboard.press("Escape")
    host.page.keyboard.press("Escape")
    host.until(lambda: widget.selection is None, "no selection")


def test_keys_pressed_in_the_widget_do_not_reach_the_notebook(host: Host, picture: Picture) -> None:
    host.page.evaluate("() => { window.heard = ''; addEventListener('keydown', (event) => { heard += event.key }) }")
    picture.flow.focus()
    host.page.keyboard.press("x")
    host.page.keyboard.press("d")
    assert host.page.evaluate("() => heard") == ""


@pytest.mark.parametrize(("width", "encoding", "n_lines"), [(1000, "share", 1), (700, "flow", 1), (500, "share", 2)])
def test_the_toolbar_breaks_only_before_how_it_is_drawn(
    open_widget: OpenWidget, widget: lmtt.FlowWidget, width: int, encoding: str, n_lines: int
) -> None:
    widget.encoding = encoding
    toolbar = open_widget(widget, width=width).page.locator(".toolbar")
    tops = toolbar.evaluate("el => [...el.children, ...el.lastChild.children].map((c) => c.getBoundingClientRect().y)")
    middles = {round(top / 20) for top in tops}
    assert len(middles) == n_lines, tops
    assert toolbar.evaluate("el => el.scrollWidth <= el.clientWidth")


# ---- search ----


@pytest.mark.parametrize("text", ["l2 h3", "L2.H3", "2.3"])
def test_a_head_is_found_by_name_and_opened_at_the_target(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator, text: str
) -> None:
    widget.threshold = 0.9  # no line of it is drawn
    host.sync()
    picture.flow.focus()
    host.page.keyboard.press("/")
    field = view.get_by_role("combobox", name="Find a token, a head, or what writes a word")
    expect(field).to_be_focused()
    field.fill(text)
    expect(view.get_by_role("listbox").get_by_role("option")).to_have_text(["L2 H3no line drawn"])
    field.press("Enter")
    host.until(lambda: bool(widget.selection), "a selection")
    assert widget.selection == {"kind": "head", "state": 5, "head": 3, "query": 9, "key": None}
    expect(view.get_by_role("heading", name="What head 3 of L2 moved to dog")).to_be_visible()
    expect(field).to_have_count(0)
    expect(picture.flow).to_be_focused()


def test_a_token_found_is_marked_on_the_way_and_selected_even_from_a_fold(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    widget.target = 4
    host.sync()
    view.get_by_role("button", name="Find", exact=True).click()
    field = view.get_by_role("combobox", name="Find a token, a head, or what writes a word")
    field.fill("a")  # cat, sat, mat, and, saw, a; at the end, what writes it
    expect(view.get_by_role("listbox").get_by_role("option")).to_have_count(7)
    field.press("ArrowDown")
    expect(picture.tip).to_contain_text("2 sat")
    field.press("ArrowUp")
    field.press("ArrowUp")
    expect(view.get_by_role("listbox").get_by_role("option", selected=True)).to_have_text("what writes a")
    field.press("ArrowUp")
    expect(view.get_by_role("listbox").get_by_role("option", selected=True)).to_contain_text("8 a")
    field.press("Enter")
    host.until(lambda: widget.selection == {"kind": "token", "pos": 8}, "the token")
    picture.place("^8 a$")  # its fold makes room for it


def test_a_search_for_what_is_not_there_says_what_there_is_and_escape_ends_it(
    host: Host, widget: lmtt.FlowWidget, view: Locator
) -> None:
    view.get_by_role("button", name="Find", exact=True).click()
    field = view.get_by_role("combobox", name="Find a token, a head, or what writes a word")
    field.fill("l7 h9")
    expect(view.get_by_role("dialog")).to_contain_text("heads as l0 h0 to l2 h3")
    field.press("Enter")
    field.press("Escape")
    expect(field).to_have_count(0)
    expect(view.get_by_role("button", name="Find", exact=True)).to_be_focused()
    assert widget.selection is None


def test_a_menu_closed_by_escape_gives_the_focus_back(host: Host, view: Locator) -> None:
    more = view.get_by_role("button", name="More", exact=True)
    more.focus()
    more.press("Enter")
    expect(view.get_by_role("menuitem").first).to_be_focused()
    host.page.keyboard.press("ArrowDown")
    host.page.keyboard.press("Escape")
    expect(view.get_by_role("menu")).to_have_count(0)
    expect(more).to_be_focused()


def test_a_slash_in_a_field_is_a_slash(host: Host, view: Locator) -> None:
    prompt = view.get_by_role("textbox", name="Prompt")
    prompt.press("End")
    prompt.press("/")
    expect(prompt).to_have_value(PROMPT + "/")
    expect(view.get_by_role("combobox", name="Find a token, a head, or what writes a word")).to_have_count(0)


# ---- prompts ----


def test_a_prompt_typed_in_the_widget_is_recorded_and_joins_the_list(
    host: Host, widget: lmtt.FlowWidget, view: Locator
) -> None:
    before = widget.graph
    view.get_by_role("textbox", name="Prompt").fill("a dog ran home")
    view.get_by_role("textbox", name="Prompt").press("Enter")
    host.until(lambda: widget.prompt == "a dog ran home", "the new prompt")
    assert widget.prompts == [PROMPT, "a dog ran home"]
    assert widget.graph != before
    assert view.get_by_role("combobox", name="Explain").locator("option").all_inner_texts() == [
        "0 a",
        "1 dog",
        "2 ran",
        "3 home",
    ]
    expect(view.get_by_role("combobox", name="Explain")).to_have_value("3")


def test_of_several_prompts_each_can_be_shown(open_widget: OpenWidget) -> None:
    widget = lmtt.explore(random_model(), [PROMPT, "a dog ran home"])
    host = open_widget(widget)
    host.page.get_by_role("combobox", name="Prompts").select_option("1")
    host.until(lambda: widget.prompt == "a dog ran home", "the second prompt")
    widget.prompt = PROMPT
    host.sync()
    expect(host.page.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT)
    assert widget.prompts == [PROMPT, "a dog ran home"]


def test_a_prompt_that_cannot_be_recorded_is_a_sentence_and_the_old_picture_stays(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    graph, pixels = widget.graph, picture.pixels()
    view.get_by_role("textbox", name="Prompt").fill("cat " * (N_POSITIONS + 1))
    view.get_by_role("button", name="Run").click()
    alert = view.get_by_role("alert")
    expect(alert).to_contain_text(f"the prompt has {N_POSITIONS + 1} tokens")
    assert "Error" not in alert.inner_text()
    assert (widget.prompt, widget.prompts, widget.graph) == (PROMPT, [PROMPT], graph)
    assert picture.pixels() == pixels


def test_after_a_refused_prompt_the_next_one_works(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    prompt = view.get_by_role("textbox", name="Prompt")
    prompt.fill("cat " * (N_POSITIONS + 1))
    prompt.press("Enter")
    expect(view.get_by_role("alert")).to_be_visible()
    prompt.fill("a dog ran")
    prompt.press("Enter")
    host.until(lambda: widget.prompt == "a dog ran", "the next prompt")
    expect(view.get_by_role("alert")).to_have_count(0)
    assert widget.status["state"] == "idle"


def test_hostile_tokens_are_text(open_widget: OpenWidget) -> None:
    host = open_widget(lmtt.explore(random_model(), " ".join(HOSTILE)))
    view = host.page.locator(".view")
    options = view.get_by_role("combobox", name="Explain").locator("option").all_inner_texts()
    for i in (0, 1, 4, 5, 6):
        assert options[i] == f"{i} {HOSTILE[i]}"
    assert "\u202e" not in options[2]  # it would turn round what stands beside it
    picture = Picture(view)
    picture.hover("^0 <img")
    expect(picture.tip).to_contain_text(HOSTILE[0])
    picture.click("^1 </script>")
    host.page.wait_for_timeout(100)
    assert host.page.title() == "host"
    assert view.locator("img, script").count() == 0


# ---- refusing ----

REFUSED: list[tuple[str, Any, str]] = [
    ("target", 99, "target must be a position in 0..9"),
    ("target", "cat", "target"),
    ("target", None, "target"),
    ("threshold", 1.5, "threshold must be a share in [0, 1)"),
    ("threshold", "high", "threshold"),
    ("encoding", "size", 'encoding must be "flow" or "share"'),
    ("reading", "mean", 'reading must be "max" or "sum"'),
    ("renormalise", "yes", "renormalise"),
    ("selection", {"kind": "nonsense"}, "a selection has one of the kinds"),
    ("selection", {"kind": "state", "state": 99, "pos": 0}, "state must be in 0..6"),
    ("selection", {"kind": "head", "state": 1, "query": 9, "key": 3, "head": 99}, "head must be in 0..3"),
    ("selection", {"kind": "edge", "state": 1, "query": 3, "key": 9}, "key"),
    ("selection", {"kind": "state", "pos": 1}, "state"),
    ("selection", [1, 2], "selection"),
    ("pins", "all", "selection"),
    ("pins", [{"kind": "state", "state": 1, "pos": 99}], "pos must be in 0..9"),
    ("view", {"height": 10}, "height must be in 420..900"),
    ("view", {"colour": "red"}, "colour"),
    ("view", 7, "view"),
    ("prompt", "", "the prompt is empty"),
    ("prompt", None, "prompt"),
    ("prompt", 17, "prompt"),
    ("prompt", [10**6], "token ids must be in"),
    ("foil", [1, 2], "foil"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), REFUSED, ids=lambda value: str(value)[:24])
def test_a_value_that_cannot_be_is_refused_with_a_sentence(
    host: Host, widget: lmtt.FlowWidget, view: Locator, picture: Picture, name: str, value: Any, sentence: str
) -> None:
    old, pixels = getattr(widget, name), picture.pixels()
    host.set(**{name: value})
    alert = view.get_by_role("alert")
    expect(alert).to_contain_text(sentence)
    assert not re.search(r"Traceback|\w+Error\b|<traitlets|object at 0x", alert.inner_text()), alert.inner_text()
    assert getattr(widget, name) == old
    assert host.get(name) == old
    assert picture.pixels() == pixels


# ---- several views, looks ----


def test_two_views_of_a_widget_show_the_same(host: Host, widget: lmtt.FlowWidget, picture: Picture) -> None:
    second = host.show()
    picture = Picture(host.page.locator(".view").first)
    picture.click("^4 the$")
    host.until(lambda: widget.target == 4, "target 4")
    expect(second.get_by_role("combobox", name="Explain")).to_have_value("4")
    host.remove(0)
    Picture(second).click("^2 sat$")
    host.until(lambda: widget.target == 2, "target 2, from the view that is left")


def test_a_removed_view_leaves_nothing_behind(host: Host) -> None:
    host.remove(0)
    assert host.page.evaluate("() => host.model.listeners.length") == 0
    assert host.page.locator(".lmtt-widget").count() == 0


def test_what_is_hovered_in_one_view_is_its_own(host: Host) -> None:
    second = host.show()
    first = Picture(host.page.locator(".view").first)
    first.hover("^4 the$")
    expect(first.tip).to_be_visible()
    expect(Picture(second).tip).to_be_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_takes_light_or_dark_from_the_notebook(open_widget: OpenWidget, widget: lmtt.FlowWidget, theme: str) -> None:
    host = open_widget(widget, theme=theme)
    root = host.page.locator(".view .root")
    assert _luminance(root) > 200 if theme == "light" else _luminance(root) < 60
    Picture(host.page.locator(".view")).hover("^L0 attention · 0 the → 9 dog$")
    SHOTS.mkdir(exist_ok=True)
    host.page.screenshot(path=SHOTS / f"host-{theme}.png")


def test_it_follows_when_the_notebook_turns_dark(host: Host, view: Locator) -> None:
    host.page.evaluate("() => { document.body.dataset.jpThemeLight = 'false' }")
    expect(view.locator(".root")).to_have_class(re.compile(r"\bdark\b"))
    assert _luminance(view.locator(".root")) < 60


def test_a_theme_of_ones_own_outweighs_the_notebook(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    widget.view = {**widget.view, "theme": "dark"}
    host.sync()
    assert _luminance(view.locator(".root")) < 60


def _luminance(element: Locator) -> float:
    colour = element.evaluate("el => getComputedStyle(el).backgroundColor")
    red, green, blue = (float(x) for x in re.findall(r"[\d.]+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# ---- menu, size, speech ----


def test_the_python_of_the_view_recreates_it(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    host.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    widget.encoding = "share"
    widget.target, widget.threshold, widget.reading, widget.renormalise = 6, 0.02, "sum", True
    widget.foil, widget.normalise = "cat", False
    widget.selection = {"kind": "neuron", "state": 4, "pos": 6, "neuron": 7}
    host.sync()
    view.get_by_role("button", name="More", exact=True).click()
    view.get_by_role("menuitem", name="Copy the Python for this view").click()
    if view.get_by_role("textbox", name="Copying is blocked here").count():  # where the clipboard is blocked
        code = view.get_by_role("textbox", name="Copying is blocked here").input_value()
    else:
        code = host.page.evaluate("() => navigator.clipboard.readText()")
    call = code[code.index("explore(") :]
    again = eval(call, {"explore": lmtt.explore, "model": random_model()})
    names = ("prompt", "target", "threshold", "encoding", "reading", "renormalise", "foil", "normalise", "selection")
    assert {name: getattr(again, name) for name in names} == {name: getattr(widget, name) for name in names}
    again.close()


def test_full_screen_fills_the_screen(host: Host, view: Locator) -> None:
    view.get_by_role("button", name="More", exact=True).click()
    view.get_by_role("menuitem", name="Full screen").click()
    host.page.wait_for_function("() => document.fullscreenElement?.matches('.lmtt-widget')")
    view.locator(".root").evaluate("el => new Promise(requestAnimationFrame)")
    height = host.page.evaluate("() => innerHeight")
    assert view.locator(".root").evaluate("el => el.getBoundingClientRect().height") == height
    flow = view.locator(".flow").evaluate("el => el.clientHeight")
    assert flow > 0.6 * height
    host.page.evaluate("() => document.exitFullscreen()")
    host.page.wait_for_function("() => document.fullscreenElement === null")


def test_the_lower_edge_is_moved_by_keys_and_by_dragging(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    edge = view.get_by_role("separator", name="Height of the widget")
    edge.focus()
    edge.press("ArrowDown")
    host.until(lambda: widget.view["height"] == 580, "20 px more")
    box = edge.bounding_box()
    assert box is not None
    host.page.mouse.move(box["x"] + 300, box["y"] + 3)
    host.page.mouse.down()
    host.page.mouse.move(box["x"] + 300, box["y"] - 997, steps=4)
    host.page.mouse.up()
    host.until(lambda: widget.view["height"] == 420, "the least height")


def test_what_is_walked_to_and_selected_is_spoken(host: Host, picture: Picture, view: Locator) -> None:
    host.until(lambda: bool(host.widget.peek), "what is read ahead")
    host.sync()
    spoken = view.locator("[aria-live='polite']")
    picture.flow.focus()
    host.page.keyboard.press("ArrowDown")
    host.page.keyboard.press("ArrowDown")
    expect(spoken).to_contain_text("L2 after attention · 9 dog, flow")
    expect(spoken).to_have_text(re.compile(re.escape(picture.tip.inner_text().splitlines()[0])))
    host.page.keyboard.press("Enter")
    expect(spoken).to_have_text("What made up L2 after attention at dog")
