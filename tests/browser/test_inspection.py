"""The panel: every step of an inspection shows what Python computed, by pointer and by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

import lmtt_widget as lmtt
from lmtt_widget.answers.question import find_part
from lmtt_widget.inside import head_map, head_shares, neuron_shares
from lmtt_widget.lens import lens_of_position, promoted

from .host import Host
from .jupyter import ROOT, JupyterServer, run_all
from .models import PROMPT, random_model
from .picture import Picture

OpenWidget = Callable[..., Host]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
# What has the focus, also inside the widget's shadow root.
FOCUSED = """() => {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return at.getAttribute('aria-label') ?? at.textContent;
}"""


@pytest.fixture
def panel(host: Host) -> Locator:
    return host.page.locator(".view .panel")


# ---- as the panel writes numbers ----


def percent(x: float) -> str:
    p = 100 * x
    if p <= 0:
        return "0%"
    if p < 0.01:
        return "<0.01%"
    return f"{p:.2f}%" if p < 1 else f"{p:.1f}%" if p < 99.95 else "100%"


def signed(x: float) -> str:
    size = abs(x)
    if size < 5e-7:
        return "0"
    if size >= 100:
        text = f"{size:.0f}"
    elif size >= 10:
        text = f"{size:.1f}"
    elif size >= 0.1:
        text = f"{size:.2f}"
    elif size < 0.0005:
        text = re.sub(r"e([+-])0?", r"e\1", f"{size:.0e}")
    else:
        text = f"{size:.3f}" if size >= 0.01 else f"{size:.4f}"
    return ("−" if x < 0 else "+") + text


def cells(panel: Locator, table: str | re.Pattern[str], row: int) -> list[str]:
    """The texts of one row of the table with this caption."""
    found = panel.get_by_role("table", name=table).locator("tbody tr").nth(row).locator("td")
    return [text.strip() for text in found.all_inner_texts()]


# ---- each kind against the functions ----


def expect_heads(panel: Locator, widget: lmtt.FlowWidget) -> None:
    s = widget.selection
    part = find_part(widget.run, s, ["attention"])
    shares = head_shares(widget.run, part, s["query"])[:, s["key"]]
    best = int(shares.argmax())
    assert part.heads is not None
    attention = float(part.heads.pattern()[best, s["query"], s["key"]])
    expect(panel.get_by_role("heading", name="Heads on this line")).to_be_visible()
    row = cells(panel, re.compile("^Heads on this line"), 0)
    assert row[:3] == [f"H{best}", percent(float(shares[best])), percent(attention)]


def expect_cell(panel: Locator, widget: lmtt.FlowWidget) -> None:
    s = widget.selection
    part = find_part(widget.run, s, ["attention"])
    assert part.heads is not None
    attention = float(part.heads.pattern()[s["head"], s["query"], s["key"]])
    share = float(head_map(widget.run, widget.opened.graph, part, s["head"])[s["query"], s["key"]])
    expect(panel.get_by_role("heading", name=f"What head {s['head']} of L")).to_be_visible()
    tokens = widget.run.tokens
    expect(panel.locator(".under-map")).to_contain_text(
        f"{s['query']} {tokens[s['query']].text} ← {s['key']} {tokens[s['key']].text}"
    )
    expect(panel.locator(".facts").first).to_contain_text(percent(share))
    expect(panel.locator(".facts").first).to_contain_text(percent(attention))


def expect_lens(panel: Locator, widget: lmtt.FlowWidget) -> None:
    s = widget.selection
    p = lens_of_position(widget.run, s["pos"])[s["state"]].softmax(-1)
    expect(panel.get_by_role("heading", name="What the model would say here")).to_be_visible()
    row = cells(panel, re.compile("^Logit lens"), 0)
    assert row[0] == "1"
    assert row[2] == percent(float(p.max()))
    assert panel.get_by_role("table", name=re.compile("^Logit lens")).locator("tbody tr").count() == 10


def expect_neurons(panel: Locator, widget: lmtt.FlowWidget) -> None:
    s = widget.selection
    shares = neuron_shares(widget.run, find_part(widget.run, s, ["mlp"]), s["pos"])
    best = int(shares.share.argmax())
    expect(panel.get_by_role("heading", name="Neurons by share")).to_be_visible()
    row = cells(panel, re.compile("^Neurons by share"), 0)
    value = float(shares.value[best])
    assert row[:3] == [str(int(shares.neuron[best])), percent(float(shares.share[best])), signed(value)]


def expect_neuron(panel: Locator, widget: lmtt.FlowWidget) -> None:
    assert widget.selected is not None
    first = widget.selected["promoted"]
    expect(panel.get_by_role("heading", name="What this neuron added")).to_be_visible()
    assert cells(panel, "Promoted", 0)[1] == signed(float(first.scores[0]))
    expect(panel.locator(".facts").first).to_contain_text(signed(widget.selected["value"]))


def expect_difference(panel: Locator, widget: lmtt.FlowWidget) -> None:
    now, pinned = widget.selection, widget.pins[0]
    p = [lens_of_position(widget.run, s["pos"])[s["state"]].softmax(-1) for s in (pinned, now)]
    largest = max((p[1] - p[0]).tolist(), key=abs)
    row = cells(panel, "Lens: probability of each token", 0)
    assert row[3] == signed(100 * largest)


# ---- the chain ----


def test_the_chain_shows_what_python_computed(host: Host, widget: lmtt.FlowWidget, panel: Locator) -> None:
    picture = Picture(host.page.locator(".view"))
    picture.click("^8 a$")
    host.until(lambda: widget.target == 8, "the target")
    picture.click("^L1 attention .* → 8 a$")
    host.until(lambda: (widget.selection or {}).get("kind") == "edge", "a line")
    expect_heads(panel, widget)
    panel.get_by_role("table", name="Heads on this line").get_by_role("button").first.click()
    host.until(lambda: widget.selection["kind"] == "head", "a head")
    expect_cell(panel, widget)

    heat = panel.get_by_role("application", name=re.compile("^Attention"))
    box = heat.bounding_box()
    assert box is not None
    size = box["width"] / widget.run.n_tokens
    heat.click(position={"x": 3.5 * size, "y": 6.5 * size})
    host.until(lambda: (widget.selection["query"], widget.selection["key"]) == (6, 3), "the cell")
    expect_cell(panel, widget)

    picture.click("^L1 after MLP · 8 a$")
    host.until(lambda: widget.selection["kind"] == "state", "a state")
    expect_lens(panel, widget)
    panel.get_by_role("button", name="L1 MLP", exact=True).click()
    host.until(lambda: widget.selection["kind"] == "mlp", "an MLP")
    expect_neurons(panel, widget)
    panel.get_by_role("table", name="Neurons by share").get_by_role("button").first.click()
    host.until(lambda: widget.selection["kind"] == "neuron", "a neuron")
    expect_neuron(panel, widget)

    host.page.keyboard.press("Escape")
    host.until(lambda: widget.selection["kind"] == "mlp", "the MLP again")
    host.page.keyboard.press("Escape")
    host.until(lambda: widget.selection["kind"] == "state", "the state again")
    panel.get_by_role("button", name="Pin", exact=True).click()
    host.until(lambda: len(widget.pins) == 1, "a pin")
    widget.selection = {"kind": "state", "state": 6, "pos": 8}
    host.sync()
    expect_difference(panel, widget)
    panel.get_by_role("button", name="Close").nth(1).click()
    host.until(lambda: widget.pins == [], "no pin")
    expect_lens(panel, widget)


def test_the_chain_by_keyboard_alone(host: Host, widget: lmtt.FlowWidget, panel: Locator) -> None:
    page = host.page
    picture = Picture(page.locator(".view"))
    press = page.keyboard.press

    def tab_to(name: str) -> None:
        for _ in range(40):
            if re.search(name, page.evaluate(FOCUSED) or ""):
                return
            press("Tab")
        raise AssertionError(f"Tab never reaches {name!r}")

    picture.flow.focus()
    press("ArrowDown")
    press("ArrowDown")  # from the MLP's state to the one after attention
    for _ in range(12):
        press(".")
        if re.search("attention .* → 9", picture.tip.inner_text()):
            break
    press("Enter")
    host.until(lambda: (widget.selection or {}).get("kind") == "edge", "a line")
    expect_heads(panel, widget)
    tab_to("^H[0-3]$")
    press("Enter")
    host.until(lambda: widget.selection["kind"] == "head", "a head")
    expect_cell(panel, widget)
    query, key = widget.selection["query"], widget.selection["key"]
    tab_to("^Attention, Head")
    press("ArrowUp")
    press("Enter")
    host.until(lambda: widget.selection["query"] == query - 1, "the cell above")
    assert widget.selection["key"] == min(key, query - 1)
    expect_cell(panel, widget)
    press("Escape")
    host.until(lambda: widget.selection["kind"] == "edge", "the line again")
    press("Escape")
    host.until(lambda: widget.selection is None, "nothing")

    press("ArrowUp")  # the picture has the focus again
    press("ArrowUp")
    press("Enter")
    host.until(lambda: (widget.selection or {}).get("kind") == "state", "a state")
    expect_lens(panel, widget)
    press("p")
    host.until(lambda: len(widget.pins) == 1, "a pin")
    tab_to("^L[0-2] MLP$")
    press("Enter")
    host.until(lambda: widget.selection["kind"] == "mlp", "an MLP")
    expect_neurons(panel, widget)
    tab_to(r"^\d+$")
    press("ArrowDown")
    press("Enter")
    host.until(lambda: widget.selection["kind"] == "neuron", "a neuron")
    expect_neuron(panel, widget)
    for _ in range(3):
        press("Escape")
    host.until(lambda: widget.selection is None, "nothing again")
    press("ArrowDown")
    press("ArrowDown")
    press("Enter")
    host.until(lambda: (widget.selection or {}).get("kind") == "state", "another state")
    expect(panel.get_by_role("button", name="Compare")).to_be_visible()
    expect_difference(panel, widget)


# ---- parts of it ----


def test_a_foil_makes_effects_differences_and_one_that_is_no_token_is_refused(
    host: Host, widget: lmtt.FlowWidget, panel: Locator
) -> None:
    widget.selection = {"kind": "mlp", "state": 4, "pos": 9}
    host.sync()
    field = panel.get_by_role("combobox", name="Type another token")
    field.fill("cat")
    field.press("Enter")
    host.until(lambda: widget.foil == "cat", "the foil")
    assert widget.selected is not None
    expect(panel.locator("tbody tr").first.locator("td").last).to_have_text(
        signed(float(widget.selected["neurons"]["effect"][0]))
    )
    field.fill("cat sat")
    field.press("Enter")
    expect(host.page.get_by_role("alert")).to_contain_text("a foil must be one token; 'cat sat' is cat + sat")
    assert widget.foil == "cat"


def test_what_only_one_side_of_a_comparison_lists_is_known_of_the_other_too(
    host: Host, widget: lmtt.FlowWidget, panel: Locator
) -> None:
    widget.pins = [{"kind": "mlp", "state": 4, "pos": 5}]
    widget.selection = {"kind": "mlp", "state": 4, "pos": 9}
    host.sync()
    mine, theirs = (neuron_shares(widget.run, find_part(widget.run, widget.selection, ["mlp"]), pos) for pos in (9, 5))
    listed = {
        *mine.neuron[mine.share.topk(20).indices].tolist(),
        *theirs.neuron[theirs.share.topk(20).indices].tolist(),
    }
    for name in ("Shares of the neurons", "Activations of the neurons", "Direct effects"):
        table = panel.get_by_role("table", name=name)
        table.locator("xpath=..").get_by_role("button", name="more").click()
        rows = table.locator("tbody tr")
        expect(rows).to_have_count(len(listed))
        assert not any("–" in row for row in rows.all_inner_texts())
    row = panel.get_by_role("table", name="Shares of the neurons").locator("tbody tr").first.locator("td")
    neuron, before, now, _ = (text.strip() for text in row.all_inner_texts())
    shares = [float(s.share[s.neuron == int(neuron)].sum()) for s in (theirs, mine)]
    assert [before, now] == [percent(share) for share in shares]


def test_more_neurons_are_asked_for_twenty_by_twenty(host: Host, widget: lmtt.FlowWidget, panel: Locator) -> None:
    widget.selection = {"kind": "mlp", "state": 4, "pos": 9}
    host.sync()
    panel.get_by_role("button", name="20 more").click()
    host.until(lambda: widget.selection.get("top") == 40, "forty rows")
    expect(panel.get_by_role("table", name="Neurons by share, 40 of 48").locator("tbody tr")).to_have_count(40)
    expect(panel.get_by_role("button", name="8 more").first).to_be_visible()
    expect(panel.locator(".crumb")).to_have_count(1)


def test_the_lens_can_be_read_without_the_final_norm(host: Host, widget: lmtt.FlowWidget, panel: Locator) -> None:
    widget.selection = {"kind": "state", "state": 4, "pos": 9}
    host.sync()
    panel.get_by_role("button", name="Normalise").click()
    host.until(lambda: widget.normalise is False, "without the norm")
    p = lens_of_position(widget.run, 9, normalise=False)[4].softmax(-1)
    assert cells(panel, re.compile("^Logit lens"), 0)[2] == percent(float(p.max()))


def test_a_head_tells_its_tokens_for_all_keys_and_for_one(host: Host, widget: lmtt.FlowWidget, panel: Locator) -> None:
    widget.selection = {"kind": "head", "state": 3, "head": 2, "query": 9, "key": 2}
    host.sync()
    assert widget.selected is not None
    assert cells(panel, "Promoted", 0)[1] == signed(float(widget.selected["all"]["promoted"].scores[0]))
    panel.get_by_role("button", name="only sat").click()
    assert cells(panel, "Promoted", 0)[1] == signed(float(widget.selected["this_key"]["promoted"].scores[0]))


def test_an_update_is_read_as_promoted_reads_it(host: Host, widget: lmtt.FlowWidget, panel: Locator) -> None:
    widget.selection = {"kind": "state", "state": 3, "pos": 9}
    host.sync()
    run = widget.run
    scores = promoted(run, run.value(3)[9] - run.carried(3)[9], 9, state=3).suppressed.scores
    expect(panel.get_by_role("table", name="Suppressed")).to_be_visible()
    assert cells(panel, "Suppressed", 0)[1] == signed(float(scores[0]))


def test_hovering_a_part_marks_its_line_and_hovering_the_line_its_part(
    host: Host, widget: lmtt.FlowWidget, panel: Locator
) -> None:
    widget.selection = {"kind": "state", "state": 3, "pos": 9}
    host.sync()
    row = panel.get_by_role("table", name="Made from").locator("tr", has_text="carried on")
    row.hover()
    expect(host.page.locator(".tip")).to_contain_text("residual")
    Picture(host.page.locator(".view")).hover("^residual · L0 after MLP → L1 after attention · 9 dog$")
    expect(row).to_have_class(re.compile("lit"))


def test_a_question_mark_explains_with_this_case_s_numbers(host: Host, widget: lmtt.FlowWidget, panel: Locator) -> None:
    widget.selection = {"kind": "edge", "state": 3, "query": 9, "key": 2}
    host.sync()
    panel.get_by_role("button", name="How is this computed?").click()
    assert widget.selected is not None
    expect(panel.locator(".why")).to_contain_text(f"= {percent(widget.selected['share'])}")


def test_the_model_line_tells_of_the_model_without_a_kernel(host: Host, panel: Locator) -> None:
    host.page.get_by_role("button", name="llama 3L 4H").click()
    expect(panel.get_by_role("heading", name="The model: llama 3L 4H")).to_be_visible()
    expect(panel).to_contain_text("24,480")
    expect(panel).to_contain_text("linear maps")


KINDS = [
    {"kind": "state", "state": 4, "pos": 9},
    {"kind": "heads"},
    {"kind": "edge", "state": 3, "query": 9, "key": 2},
    {"kind": "head", "state": 3, "head": 1, "query": 9, "key": 2},
    {"kind": "mlp", "state": 4, "pos": 9},
    {"kind": "neuron", "state": 4, "pos": 9, "neuron": 9},
    {"kind": "carried", "state": 4, "pos": 9},
    {"kind": "token", "pos": 3},
    None,
]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(open_widget: OpenWidget, widget: lmtt.FlowWidget, theme: str) -> None:
    host = open_widget(widget, theme=theme)
    host.page.add_script_tag(path=str(AXE))
    widget.pins = [{"kind": "edge", "state": 3, "query": 8, "key": 2}]
    found = {}
    for selection in KINDS:
        widget.selection = selection
        host.sync()
        expect(host.page.locator(".waiting")).to_have_count(0)
        result = host.page.evaluate("() => axe.run('.view')")
        for v in result["violations"]:
            nodes = [str(node["target"]) + node["failureSummary"] for node in v["nodes"]]
            found[v["id"], (selection or {}).get("kind")] = nodes[:2]
    widget.edits = [{"selection": {"kind": "edge", "state": 3, "query": 8, "key": 2}}]
    host.sync()
    expect(host.page.locator(".edits .chip")).to_be_visible()
    found |= {(v["id"], "edited"): v["nodes"] for v in host.page.evaluate("() => axe.run('.view')")["violations"]}
    assert not found


# ---- in a notebook ----

SHOW = """import lmtt_widget as lmtt
from tests.browser.models import PROMPT, random_model
widget = lmtt.explore(random_model(), PROMPT)
widget"""


def test_the_chain_in_a_notebook(lab: JupyterServer, page: Page) -> None:
    lab.open(page, lab.write("inspection.ipynb", SHOW))
    run_all(page)
    view = page.locator(".lmtt-widget").first
    page.locator(".lmtt-widget[data-ready='1']").first.wait_for()
    picture, panel = Picture(view), view.locator(".panel")
    twin = lmtt.explore(random_model(), PROMPT)  # what the kernel must have computed
    picture.flow.scroll_into_view_if_needed()
    picture.click("^8 a$")
    expect(view.get_by_role("combobox", name="Explain")).to_have_value("8")
    twin.target = 8
    picture.click("^L1 attention · 2 sat → 8 a$")
    twin.selection = {"kind": "edge", "state": 3, "query": 8, "key": 2}
    expect_heads(panel, twin)
    head = panel.get_by_role("table", name="Heads on this line").get_by_role("button").first
    twin.selection = {**twin.selection, "kind": "head", "head": int(head.inner_text()[1:])}
    head.click()
    expect_cell(panel, twin)
    heat = panel.get_by_role("application", name=re.compile("^Attention"))
    box = heat.bounding_box()
    assert box is not None
    heat.click(position={"x": 3.5 * box["width"] / 10, "y": 6.5 * box["width"] / 10})
    twin.selection = {**twin.selection, "query": 6, "key": 3}
    expect_cell(panel, twin)
    picture.click("^L1 after MLP · 8 a$")
    twin.selection = {"kind": "state", "state": 4, "pos": 8}
    expect_lens(panel, twin)
    panel.get_by_role("button", name="L1 MLP", exact=True).click()
    twin.selection = {"kind": "mlp", "state": 4, "pos": 8}
    expect_neurons(panel, twin)
    neuron = panel.get_by_role("table", name="Neurons by share").get_by_role("button").first
    twin.selection = {"kind": "neuron", "state": 4, "pos": 8, "neuron": int(neuron.inner_text())}
    neuron.click()
    expect_neuron(panel, twin)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    twin.selection = {"kind": "state", "state": 4, "pos": 8}
    expect_lens(panel, twin)
    page.keyboard.press("p")
    twin.pins = [twin.selection]
    picture.click("^L1 after attention · 8 a$")
    twin.selection = {"kind": "state", "state": 3, "pos": 8}
    expect(panel.get_by_role("heading", name="Lens: probability")).to_be_visible()
    expect_difference(panel, twin)
