"""The answer first: a sentence and a text about this prompt, a way back over everything that was changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from playwright.sync_api import Locator, expect

import lmtt_widget as lmtt

from .host import Host
from .models import HOSTILE, PROMPT, model_of_type, random_model
from .picture import Picture
from .test_inspection import signed

OpenWidget = Callable[..., Host]
IOI = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture
def view(host: Host) -> Locator:
    return host.page.locator(".view")


@pytest.fixture
def ioi(open_widget: OpenWidget) -> Host:
    return open_widget(lmtt.explore(lmtt.bundled_model(), IOI))


# how light each cell of a canvas is, row by row
LIGHT = """canvas => {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return Array.from({ length: width * height }, (_, i) => data[4 * i] + data[4 * i + 1] + data[4 * i + 2]);
}"""


def token_at(view: Locator, pos: int) -> Locator:
    return view.locator(f".text [data-pos='{pos}']")


# ---- the sentence ----


def test_the_sentence_says_what_comes_next_and_where_it_came_from(ioi: Host) -> None:
    said = ioi.page.locator(".sentence")
    run, routes = ioi.widget.run, ioi.widget.routes
    best = int(routes.input_share.argmax())
    expect(said).to_contain_text("·Mary comes next (100%).")
    expect(said).to_contain_text(
        f"{100 * routes.input_share[best]:.0f}% of this state comes from {run.tokens[best].text}"
    )
    expect(said).to_contain_text("Main route: ·Mary → ·to in L2")


def test_a_noun_of_the_sentence_lights_its_line_and_opens_it(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    picture = Picture(view)
    noun = view.get_by_role("button", name="·Mary → ·to")
    before = picture.pixels()
    noun.hover()
    assert picture.pixels() != before
    expect(picture.tip).to_contain_text("L2 attention · 1 ·Mary → 13 ·to")
    noun.click()
    ioi.until(lambda: bool(ioi.widget.selection), "a selection")
    assert ioi.widget.selection == {"kind": "edge", "state": 5, "query": 13, "key": 1}


def test_where_everything_ends_in_mixers_the_sentence_says_so(open_widget: OpenWidget) -> None:
    page = open_widget(lmtt.explore(model_of_type("mamba"), PROMPT)).page
    expect(page.locator(".sentence")).to_contain_text("cannot be followed to a word: it went through mixers")
    expect(page.locator(".readout")).not_to_contain_text("NaN")


def test_a_chip_appends_its_token_and_explains_what_comes_after(ioi: Host) -> None:
    ioi.page.get_by_role("button", name="·Mary 100%").click()
    ioi.until(lambda: ioi.widget.prompt == IOI + " Mary", "the longer prompt")
    expect(ioi.page.locator(".sentence")).not_to_contain_text("·Mary comes next")


# ---- the running text ----


def test_the_text_reads_as_it_was_written(ioi: Host) -> None:
    assert ioi.page.locator(".text").inner_text() == IOI


def test_a_word_and_its_column_are_pointed_at_together(host: Host, view: Locator) -> None:
    picture = Picture(view)
    token_at(view, 4).hover()
    expect(picture.tip).to_contain_text("4 the")
    picture.hover("^6 and$")
    expect(token_at(view, 6)).to_have_class("lit")
    expect(token_at(view, 4)).not_to_have_class("lit")


INSIDE = """box => {
  const [a, b] = [box.querySelector('.target').getBoundingClientRect(), box.getBoundingClientRect()];
  return a.top >= b.top && a.bottom <= b.bottom;
}"""


def test_the_word_explained_is_in_view_until_the_reader_scrolls(open_widget: OpenWidget) -> None:
    model = lmtt.bundled_model()
    assert model.tokenizer is not None
    # A word of every sentence is looked at, so that nothing folds away and the text is higher than its box.
    ids = model.tokenizer(f"{IOI} Mary. " * 20)["input_ids"][:240]
    host = open_widget(lmtt.explore(model, ids, threshold=0))
    text = host.page.locator(".text")
    assert text.evaluate("box => box.scrollHeight > 1.5 * box.clientHeight")
    assert text.evaluate(INSIDE)
    text.hover()
    host.page.mouse.wheel(0, -5000)
    host.page.wait_for_function("box => box.scrollTop === 0", arg=text.element_handle())
    host.page.set_viewport_size({"width": 900, "height": 900})
    host.page.wait_for_timeout(200)
    assert not text.evaluate(INSIDE)


def test_a_click_on_a_word_explains_it(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    token_at(view, 4).click()
    host.until(lambda: widget.target == 4, "target 4")
    expect(view.locator(".text .target")).to_have_text(["the"])


def test_the_text_is_walked_by_keys(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    text = view.locator(".text")
    text.focus()
    text.press("Home")
    text.press("ArrowRight")
    text.press("ArrowRight")
    expect(Picture(view).tip).to_contain_text("2 sat")
    text.press("Enter")
    host.until(lambda: widget.target == 2, "target 2")


def test_a_drag_over_words_sums_their_shares(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    share = 100 * float(widget.routes.input_share[2:6].sum())
    token_at(view, 2).hover()
    host.page.mouse.down()
    token_at(view, 5).hover()
    host.page.mouse.up()
    expect(view.locator(".sum")).to_have_text(f"4 tokens, input share {share:.1f}%")
    assert widget.target == 9
    token_at(view, 1).click()
    expect(view.locator(".sum")).to_be_hidden()


def test_hostile_tokens_are_text_in_the_running_text_too(open_widget: OpenWidget) -> None:
    page = open_widget(lmtt.explore(random_model(), " ".join(HOSTILE))).page
    text = page.locator(".text")
    expect(text).to_contain_text(HOSTILE[0])
    assert "\u202e" not in text.inner_text()
    assert page.locator(".view img, .view script").count() == 0
    assert page.title() == "host"


def test_a_far_word_of_a_long_prompt_is_read_in_its_sentence_and_idle_passages_are_opened(
    open_widget: OpenWidget,
) -> None:
    model = lmtt.bundled_model()
    assert model.tokenizer is not None
    ids = model.tokenizer("The garden was full of birds. " * 40)["input_ids"][:200]
    host = open_widget(lmtt.explore(model, model.tokenizer(IOI)["input_ids"] + ids))
    view = host.page.locator(".view")
    host.widget.target = 13
    host.sync()
    expect(view.locator(".text")).to_contain_text("When Mary and John went")
    fold = view.locator(".text .idle").first
    expect(fold).to_be_visible()
    n = view.locator(".text [data-pos]").count()
    fold.click()
    assert view.locator(".text [data-pos]").count() > n
    assert host.widget.target == 13


# ---- the way back ----


def test_back_and_forward_go_over_target_threshold_selection_and_prompt(
    host: Host, widget: lmtt.FlowWidget, view: Locator
) -> None:
    def rest() -> None:
        host.page.wait_for_timeout(350)
        host.sync()

    rest()
    changes: list[tuple[str, object]] = [
        ("target", 4), ("threshold", 0.05), ("selection", {"kind": "state", "state": 3, "pos": 4}),
        ("encoding", "share"),
    ]  # fmt: skip
    seen = [{name: getattr(widget, name) for name in ("target", "threshold", "selection", "encoding", "prompt")}]
    for name, value in [*changes, ("prompt", "a dog ran home")]:
        host.set(**{name: value})
        rest()
        seen.append({name: getattr(widget, name) for name in seen[0]})
    back, forward = (view.get_by_role("button", name=f"Step {way}") for way in ("back", "forward"))
    expect(forward).to_be_disabled()
    for was in reversed(seen[:-1]):
        back.click()
        rest()
        assert {name: getattr(widget, name) for name in was} == was
    expect(back).to_be_disabled()
    Picture(view).flow.focus()
    for then in seen[1:]:
        host.page.keyboard.press("Alt+ArrowRight")
        rest()
        assert {name: getattr(widget, name) for name in then} == then
    expect(forward).to_be_disabled()


def test_a_selection_in_a_fold_gets_room(host: Host, widget: lmtt.FlowWidget, view: Locator) -> None:
    widget.target = 4
    host.sync()
    picture = Picture(view)
    with pytest.raises(AssertionError, match="nothing in the picture"):
        picture.place("^7 saw$")
    widget.selection = {"kind": "edge", "state": 1, "query": 8, "key": 7}
    host.sync()
    assert picture.place("^7 saw$")[0] != picture.place("^8 a$")[0]


# ---- heads, for and against ----


def test_the_sign_of_a_head_is_two_clicks_away(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    view.get_by_role("button", name="Heads", exact=True).click()
    panel = view.locator(".panel")
    panel.get_by_role("button", name="effect", exact=True).click()
    answer = ioi.widget.selected
    assert answer is not None
    table = answer["table"]
    best = max(range(len(table.head)), key=lambda i: abs(table.effect[i]))
    layer = ioi.widget.run.states[table.state[best]].layer
    first = panel.get_by_role("table", name="Strongest heads").locator("tbody tr").first
    expect(first).to_contain_text(f"L{layer} H{table.head[best]}")
    expect(first).to_contain_text("+" if table.effect[best] > 0 else "−")
    assert panel.locator(".heads-grid button").count() == len(table.head)


def test_an_induction_head_is_found_by_name_and_opened(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    Picture(view).flow.press("/")
    ioi.page.keyboard.type("induction")
    ioi.page.keyboard.press("Enter")
    ioi.until(lambda: ioi.widget.selection == {"kind": "heads"}, "the table of heads")
    answer = ioi.widget.selected
    assert answer is not None
    table = answer["table"]
    best = max(range(len(table.head)), key=lambda i: table.induction[i])
    row = view.get_by_role("table", name="Strongest heads").locator("tbody tr").first
    expect(row).to_contain_text(f"{100 * table.induction[best]:.1f}%")
    row.get_by_role("button").click()
    ioi.until(lambda: ioi.widget.selection["kind"] == "head", "the head")
    assert ioi.widget.selection["head"] == table.head[best]


def test_the_grid_of_heads_is_one_tab_stop_and_arrows_walk_it(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    ioi.widget.selection = {"kind": "heads"}
    ioi.sync()
    cells = view.locator(".heads-grid button")
    cells.first.focus()
    ioi.page.keyboard.press("ArrowDown")
    ioi.page.keyboard.press("ArrowRight")
    expect(cells.nth(9)).to_be_focused()
    assert view.locator(".heads-grid button[tabindex='0']").count() == 1


def test_a_head_of_the_grid_shows_its_pattern_under_the_pointer_without_a_question(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    ioi.widget.selection = {"kind": "heads"}
    ioi.sync()
    answer = ioi.widget.selected
    assert answer is not None
    cells, pattern = view.locator(".heads-grid button"), view.locator(".heads-pattern")
    rows = [
        i
        for part in sorted(set(answer["table"].part), reverse=True)
        for i, p in enumerate(answer["table"].part)
        if p == part
    ]
    for at in (2, 27):
        cells.nth(at).hover()
        expect(pattern.locator(".ticks.keys span")).to_have_count(ioi.widget.run.n_tokens // 2)
        thumb = answer["thumbs"][rows[at]].int()
        light = torch.tensor(pattern.locator("canvas").evaluate(LIGHT)).view_as(thumb)
        seen = torch.ones_like(thumb).tril().bool()
        by_light = thumb[seen][light[seen].argsort(stable=True)]
        assert len(set(thumb[seen].tolist())) > 10
        assert (by_light.diff() <= 1).all()  # the lighter, the less attention; neighbours may share a colour
        inside = view.locator(".panel-body").bounding_box()
        box = pattern.bounding_box()
        assert inside is not None
        assert box is not None
        assert box["y"] >= inside["y"]
        assert box["y"] + box["height"] <= inside["y"] + inside["height"]
    view.locator(".heads-by").hover()
    expect(pattern).to_have_count(0)
    assert ioi.widget.selection == {"kind": "heads"}


def test_why_this_rather_than_that_is_one_choice(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    field = view.get_by_role("combobox", name="Type another token")
    field.fill("John")  # without its space, as people type
    field.press("Enter")
    ioi.until(lambda: ioi.widget.foil == "·John", "the foil, as a word of the text")
    total = ioi.widget.run.logits[-1, [ioi.widget.run.model.token_id(x, "it") for x in (" Mary", " John")]]
    expect(view.locator(".why-this")).to_contain_text("Why ·Mary rather than ·John")
    expect(view.locator(".why-this")).to_contain_text(f"+{float(total[0] - total[1]):.1f} logits")


def test_another_token_than_the_models_own_can_be_explained(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    logits, model = ioi.widget.run.logits[-1], ioi.widget.run.model
    mary, john = (float(logits[model.token_id(name)]) for name in (" Mary", " John"))
    field = view.get_by_role("combobox", name="The predicted token")
    expect(field).to_have_value("·Mary")
    field.fill("John")
    field.press("Enter")
    ioi.until(lambda: ioi.widget.token == "·John", "the token explained")
    expect(view.locator(".why-this")).to_contain_text("Why ·John")
    expect(view.locator(".why-this")).to_contain_text(f"{signed(john)} logits")
    rather = view.get_by_role("combobox", name="Type another token")
    rather.fill("Mary")
    rather.press("Enter")
    expect(view.locator(".why-this")).to_contain_text("Why ·John rather than ·Mary")
    expect(view.locator(".why-this")).to_contain_text(f"{signed(john - mary)} logits")
    field.fill("")
    field.press("Enter")
    ioi.until(lambda: ioi.widget.token is None, "the model's own")
    expect(field).to_have_value("·Mary")


def test_tokens_are_completed_from_the_whole_vocabulary(ioi: Host) -> None:
    view, model = ioi.page.locator(".view"), ioi.widget.run.model
    n_vocab = ioi.widget.run.logits.shape[-1]
    words = {token.text for token in model.vocabulary(range(n_vocab)) if token.text.startswith("·wi")}
    options = view.locator("datalist option").evaluate_all("all => all.map(one => one.value)")
    assert not words <= set(options)
    view.get_by_role("combobox", name="Type another token").fill("wi")
    ioi.until(lambda: bool(ioi.widget.completions), "completions")
    options = view.locator("datalist option").evaluate_all("all => all.map(one => one.value)")
    assert words <= set(options)
    assert options[0].startswith("·wi")


def test_a_foil_without_its_space_is_said_to_be_another_token(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    ioi.widget.foil = "f"
    ioi.widget.selection = {"kind": "heads"}
    ioi.sync()
    warning = view.locator(".foil-warning")
    expect(warning).to_contain_text("f stands here without its space")
    warning.get_by_role("button").click()
    ioi.until(lambda: ioi.widget.foil == " f", "the token with its space")
    expect(warning).to_have_count(0)


def test_the_effect_encoding_colours_lines_for_and_against_and_says_the_totals(ioi: Host) -> None:
    view = ioi.page.locator(".view")
    picture = Picture(view)
    before = picture.pixels()
    view.locator(".toolbar").get_by_role("button", name="effect", exact=True).click()
    ioi.until(lambda: ioi.widget.encoding == "effect", "the encoding")
    expect(view.locator(".legend")).to_contain_text("▲ for")
    expect(view.locator(".legend")).to_contain_text("·Mary: +17.9 logits")
    assert picture.pixels() != before
    picture.hover("^L2 attention · 1 ·Mary → 13 ·to$")
    expect(picture.tip).to_contain_text("direct effect +")
    ioi.widget.target = 4
    ioi.sync()
    expect(view.locator(".legend")).not_to_contain_text("+17.9 logits")
    assert "#aa00ff" in ioi.widget.svg(theme="light")
