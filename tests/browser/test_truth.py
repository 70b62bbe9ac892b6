"""The indirect-object prompt put to the test on screen: why a head looked there, what the swapped prompt says, all
heads taken out; the same numbers from Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import lmtt_widget as lmtt

from .host import Host
from .jupyter import JupyterServer
from .models import PROMPT, random_model
from .picture import Picture
from .test_inspection import AXE, OpenWidget, percent, signed
from .test_jupyter import opened
from .test_offline import offline_page
from .test_tasks import EXPLORE, IOI

MAIN = {"kind": "edge", "state": 5, "query": 13, "key": 1}
HEAD = {"kind": "head", "state": 5, "head": 6, "query": 13, "key": 1}
SWAPPED = IOI.replace("John gave", "Mary gave")


@pytest.fixture
def ioi(open_widget: OpenWidget, bundled: lmtt.Model) -> Host:
    return open_widget(lmtt.explore(bundled, IOI))


@pytest.fixture
def reasons(bundled: lmtt.Model) -> lmtt.Reasons:
    run = lmtt.record(bundled, IOI)
    return lmtt.attention_reasons(run, run.part("attention", layer=2), 6, 13, 1)


def view_of(host: Host) -> Locator:
    return host.page.locator(".view")


def rows_of(view: Locator, table: str) -> Locator:
    return view.get_by_role("table", name=table).locator("tbody tr")


def sources(reasons: lmtt.Reasons) -> list[tuple[str, float]]:
    """What answered, the largest first."""
    found = zip(reasons.answered_by, reasons.answered.tolist(), strict=True)
    return sorted(((source.name, value) for source, value in found), key=lambda x: -abs(x[1]))


def assert_reasons(view: Locator, reasons: lmtt.Reasons) -> None:
    expect(view.locator(".panel h3").first).to_have_text("Why L2 H6 looks from ·to at ·Mary")
    panel, rows = view.locator(".panel"), rows_of(view, "What ·Mary answers with")
    expect(panel.locator(".facts")).to_contain_text(signed(reasons.score))
    expect(panel.locator(".facts")).to_contain_text(signed(reasons.score - reasons.average))
    best = sources(reasons)
    assert best[0][0] == "L1 H3"  # the previous-token head of the model's card
    for i, (name, value) in enumerate(best[:4]):
        expect(rows.nth(i)).to_contain_text(name)
        expect(rows.nth(i)).to_contain_text(signed(value))


def test_one_click_from_a_head_of_a_line_leads_to_why_it_looks_there(ioi: Host, reasons: lmtt.Reasons) -> None:
    ioi.set(selection=HEAD)
    view = view_of(ioi)
    view.get_by_role("button", name="Why does it look at ·Mary?").click()
    assert_reasons(view, reasons)
    view.get_by_role("button", name="How is this computed?").click()
    expect(view.locator(".why")).to_contain_text(f"Each list adds up to {signed(reasons.score - reasons.average)}")


def test_every_row_opens_a_line_of_its_own(ioi: Host) -> None:
    asked = HEAD | {"kind": "reasons"}
    for table in ("What ·Mary answers with", "What ·to asks with", "Who asked, who answered"):
        ioi.set(selection=asked)
        expect(rows_of(view_of(ioi), table)).to_have_count(6)
        seen = []
        for i in range(6):
            ioi.set(selection=asked)
            row = rows_of(view_of(ioi), table).nth(i)
            name = row.locator("td").first.inner_text()
            if row.get_by_role("button").count() == 0:
                assert name == "bias"  # of which there is nothing to show
                continue
            row.get_by_role("button").click()
            ioi.until(lambda: ioi.widget.selection != asked, "another selection")
            seen.append(name)
            expect(view_of(ioi).locator(".panel .selected h3").first).not_to_contain_text("Why L2")
            assert ioi.widget.status["state"] == "idle"
            if name.startswith("L1 H"):
                assert ioi.widget.selection["state"] == 3
                assert ioi.widget.selection["key"] is not None
        assert len(seen) >= 5


def test_a_head_without_a_key_is_asked_about_the_one_it_looks_at_most(ioi: Host) -> None:
    ioi.set(selection=HEAD | {"key": None})
    view_of(ioi).get_by_role("button", name="Why does it look at ·Mary?").click()
    ioi.until(lambda: ioi.widget.selection == HEAD | {"kind": "reasons"}, "the reasons")


def test_what_has_no_reasons_says_so_in_the_panel(ioi: Host) -> None:
    ioi.set(edits=[{"selection": MAIN, "to": 0.5}])
    ioi.set(selection=HEAD)
    expect(view_of(ioi).locator(".maps")).to_be_visible()
    expect(view_of(ioi).get_by_role("button", name="Why does it look at")).to_have_count(0)
    ioi.set(selection=HEAD | {"kind": "reasons"})
    expect(view_of(ioi).locator(".panel")).to_contain_text("reasons are of a run that nothing was edited in")


def test_the_words_swapped_are_a_second_picture_coloured_by_what_differs(ioi: Host, bundled: lmtt.Model) -> None:
    ioi.set(foil=" John", selection={"kind": "heads"})
    view, run = view_of(ioi), ioi.widget.run
    view.get_by_role("button", name="Swap the words").click()
    found = lmtt.contrast_prompts(run, foil=bundled.token_id(" John"))
    rows = rows_of(view, "The same prompt with the words swapped")
    expect(rows).to_have_count(len(found))
    expect(view.locator(".panel")).to_contain_text(f"Log odds here {signed(found[0].odds_before)}")
    for i, one in enumerate(found):
        expect(rows.nth(i)).to_contain_text(one.how)
        expect(rows.nth(i)).to_contain_text(signed(one.odds))
    rows.first.get_by_role("button").click()
    ioi.until(lambda: ioi.widget.prompt == SWAPPED, "the swapped prompt")
    expect(view.locator(".beside")).to_contain_text("Kept: ·to → ·Mary 100%")
    expect(view.locator(".legend")).to_contain_text("▼ lost")


def test_a_contrast_without_a_foil_asks_for_one(ioi: Host) -> None:
    ioi.set(selection={"kind": "contrast"})
    expect(view_of(ioi).locator(".panel")).to_contain_text("choose the token that the answer is held against first")


def test_all_heads_are_verified_the_best_estimates_first(ioi: Host) -> None:
    ioi.set(selection={"kind": "heads"})
    view = view_of(ioi)
    view.get_by_role("button", name="Verify").click()
    expect(view.locator(".panel")).to_contain_text("32 of 32 heads taken out, exact.")
    expect(view.get_by_role("button", name="Verify")).to_have_count(0)
    effects = lmtt.effects(ioi.widget.run, "heads", progress=lambda *_: None)
    rows = rows_of(view, "Strongest heads")
    expect(rows).to_have_count(10)
    for i, v in enumerate(sorted(effects, key=lambda v: -abs(v.change))[:5]):
        where = v.edits[0].selection
        expect(rows.nth(i)).to_contain_text(f"L{(where['state'] - 1) // 2} H{where['head']}")
        expect(rows.nth(i)).to_contain_text(signed(v.change))
    ioi.set(foil=" John")  # another question, of which nothing is known
    expect(view.get_by_role("button", name="Verify")).to_be_visible()


def test_a_chip_puts_in_what_another_prompt_has_or_knocks_out(open_widget: OpenWidget, bundled: lmtt.Model) -> None:
    host = open_widget(lmtt.explore(bundled, [IOI, SWAPPED]))
    host.set(edits=[{"selection": MAIN}])
    view, clean = view_of(host), lmtt.record(bundled, IOI)
    what = view.locator(".edits .chip").get_by_role("combobox", name="What stands there instead")
    for label, edit in (
        (f"from: {SWAPPED}"[:66], lmtt.Edit(MAIN, lmtt.record(bundled, SWAPPED))),
        ("knock out (the rest of the row takes over)", lmtt.Edit(MAIN, renormalise=True)),
        ("half", lmtt.Edit(MAIN, 0.5)),
    ):
        (found,) = lmtt.effects(clean, [edit], progress=lambda *_: None)
        what.select_option(label=label)
        expect(view.locator(".panel .verdict")).to_contain_text(
            f"·Mary goes from {percent(found.p_before)} to {percent(found.p)}"
        )
        expect(what.locator("option:checked")).to_have_text(label)


def test_a_saved_page_keeps_reasons_and_verified_heads(
    browser: Browser, problems: list[str], bundled: lmtt.Model, reasons: lmtt.Reasons, tmp_path: Path
) -> None:
    widget = lmtt.explore(bundled, IOI, foil=" John")
    widget.selection = {"kind": "heads"}
    widget.verify = True
    while widget._session.work():  # as in a notebook, when nobody waits
        pass
    effects = lmtt.effects(widget.run, "heads", foil=bundled.token_id(" John"), progress=lambda *_: None)
    assert widget.selected is not None
    assert widget.selected["table"].exact == pytest.approx([v.change for v in effects], abs=1e-4)
    widget.selection = HEAD | {"kind": "reasons"}
    path = lmtt.save_html(widget, tmp_path / "reasons.html")
    page = offline_page(browser, problems)
    page.goto(path.as_uri())
    page.locator("[data-ready='1']").wait_for()
    view = page.locator("body")
    assert_reasons(view, reasons)
    rows_of(view, "What ·Mary answers with").first.get_by_role("button").click()
    expect(view.locator(".panel h3").first).to_contain_text("head 3 of L1")
    view.get_by_role("button", name="Heads", exact=True).click()
    expect(view.locator(".panel")).to_contain_text("32 of 32 heads taken out, exact.")
    expect(view.get_by_role("button", name="Verify")).to_have_count(0)
    page.context.close()
    widget.close()


def test_a_saved_page_holds_two_prompts_against_each_other(
    browser: Browser, problems: list[str], bundled: lmtt.Model, tmp_path: Path
) -> None:
    widget = lmtt.explore(bundled, [IOI, SWAPPED], foil=" John")
    widget.selection = {"kind": "contrast"}
    path = lmtt.save_html(widget, tmp_path / "contrast.html")
    page = offline_page(browser, problems)
    page.goto(path.as_uri())
    page.locator("[data-ready='1']").wait_for()
    view = page.locator("body")
    rows = rows_of(view, "The same prompt with the words swapped")
    expect(rows.last.get_by_role("button")).to_have_count(0)  # that prompt is not in the page
    rows.first.get_by_role("button").click()
    expect(view.locator(".beside")).to_contain_text("Kept: ·to → ·Mary 100%")
    expect(view.locator(".legend")).to_contain_text("▼ lost")
    page.context.close()
    widget.close()


def test_one_saved_page_has_edits_verdicts_and_a_contrast_alive(
    browser: Browser, problems: list[str], bundled: lmtt.Model, tmp_path: Path
) -> None:
    """Each is read on the page without a kernel, and says what Python says."""
    john, run = bundled.token_id(" John"), lmtt.record(bundled, IOI)
    edit = lmtt.Edit(MAIN, 0.5)
    widget = lmtt.explore(bundled, [IOI, SWAPPED], foil=" John")
    widget.edits = [edit]
    widget.selection = {"kind": "continued", "n_tokens": 2}
    widget.verify = True
    while widget._session.work():  # as in a notebook, when nobody waits
        pass
    widget.selection = {"kind": "contrast"}
    path = lmtt.save_html(widget, tmp_path / "all.html")
    (verdict,) = lmtt.effects(run, [edit], foil=john)
    turned = lmtt.contrast_prompts(run, foil=john)
    page = offline_page(browser, problems)
    page.goto(path.as_uri())
    page.locator("[data-ready='1']").wait_for()
    view = page.locator("body")

    bar = view.locator(".edits")
    expect(bar.locator(".chip")).to_have_text("L2 ·Mary → ·to")
    expect(view.locator(".beside")).to_contain_text("Before: ·to → ·Mary 100%")
    for side, there in (("after", 0), ("before and after", 1)):
        bar.get_by_role("button", name=side, exact=True).click()
        expect(view.locator(".beside")).to_have_count(there)
    bar.get_by_role("button", name="difference", exact=True).click()
    expect(view.locator(".legend")).to_contain_text("▼ lost")

    bar.locator(".noun").click()
    figures = f"log odds against ·John {signed(verdict.odds_before)} → {signed(verdict.odds)}"
    expect(view.locator(".verdict")).to_contain_text(figures)
    expect(rows_of(view, "Tokens that moved most").first).to_contain_text(verdict.moved.tokens[0].text)
    expect(rows_of(view, "Heads whose direct effect changed most")).to_have_count(5)

    view.locator(".crumbs").get_by_role("button", name="Swap the words").click()
    rows = rows_of(view, "The same prompt with the words swapped")
    expect(rows).to_have_count(len(turned))
    expect(rows.first).to_contain_text(turned[0].how)
    expect(rows.first).to_contain_text(signed(turned[0].odds))
    rows.first.get_by_role("button").click()
    expect(view.get_by_role("textbox", name="Prompt")).to_have_value(SWAPPED)
    expect(view.locator(".beside")).to_contain_text("Kept: ·to →")
    expect(bar).to_have_count(0)
    page.context.close()
    widget.close()


def test_the_readout_says_whether_what_is_drawn_is_enough(ioi: Host, bundled: lmtt.Model) -> None:
    view = view_of(ioi)
    ioi.set(foil=" John")
    view.get_by_role("button", name="enough?").click()
    ioi.until(lambda: ioi.widget.selection is not None and ioi.widget.selected["passes"] == 4, "four passes")
    assert ioi.widget.selection["threshold"] == pytest.approx(ioi.widget.routes.automatic_threshold(), rel=1e-3)
    found = lmtt.faithfulness(ioi.widget.routes, foil=bundled.token_id(" John"), progress=False)
    expect(view.locator(".readout")).to_contain_text(f"{found.n_lines} lines")
    panel = view.locator(".panel")
    expect(panel).to_contain_text(f"{found.n_lines} lines and {found.n_squares} squares alone, the rest at its mean")
    facts = panel.locator(".facts")
    for what, share in (("made anew", found.kept), ("frozen", found.kept_frozen), ("at random", found.kept_random)):
        expect(facts.locator("div").filter(has_text=what)).to_contain_text(f"{round(100 * share)}%")
    expect(panel).to_contain_text("4 of 4 passes")
    expect(view.locator(".readout")).to_contain_text(f"keeps {round(100 * found.kept)}%")
    expect(panel.get_by_role("button", name="Verify")).to_have_count(0)
    ioi.set(threshold=0.3)
    expect(view.locator(".readout")).to_contain_text("enough?")


def test_a_saved_page_says_whether_what_is_drawn_is_enough(
    ioi: Host, browser: Browser, problems: list[str], tmp_path: Path
) -> None:
    """The figures that were found before it was saved, alive beside the threshold they are of and no other."""
    view_of(ioi).get_by_role("button", name="enough?").click()
    ioi.until(lambda: ioi.widget.selection is not None and ioi.widget.selected["passes"] == 4, "four passes")
    told = ioi.widget.selected
    path = lmtt.save_html(ioi.widget, tmp_path / "enough.html")
    page = offline_page(browser, problems)
    page.goto(path.as_uri())
    page.locator("[data-ready='1']").wait_for()
    view, shares = page.locator("body"), [round(100 * told[name]) for name in ("kept", "kept_frozen", "kept_random")]
    facts = view.locator(".panel .facts")
    for what, share in zip(("made anew", "frozen", "at random"), shares, strict=True):
        expect(facts.locator("div").filter(has_text=what)).to_contain_text(f"{share}%")
    expect(view.locator(".panel")).to_contain_text("4 of 4 passes")
    expect(view.get_by_role("button", name="Verify")).to_have_count(0)
    expect(view.locator(".readout")).to_contain_text(f"keeps {shares[0]}%")
    view.get_by_role("slider", name="Threshold").press("ArrowRight")
    expect(view.locator(".readout")).to_contain_text("enough?")
    page.context.close()


def test_where_nothing_is_at_stake_the_readout_says_there_is_nothing_to_lose(open_widget: OpenWidget) -> None:
    model = random_model()
    run = lmtt.record(model, PROMPT)
    foil = next(i for i in range(30) if lmtt.faithfulness({}, run=run, foil=i, progress=False).nothing_to_lose)
    host = open_widget(lmtt.explore(model, PROMPT, foil=foil))
    view = view_of(host)
    view.get_by_role("button", name="enough?").click()
    expect(view.locator(".panel")).to_contain_text("Nothing to lose: ")
    expect(view.locator(".panel")).to_contain_text("4 of 4 passes")
    expect(view.locator(".panel .facts")).not_to_contain_text("patterns")


def test_with_edits_the_continuation_is_made_anew(ioi: Host, bundled: lmtt.Model) -> None:
    ioi.set(edits=[{"selection": MAIN}])
    view = view_of(ioi)
    view.locator(".edits").get_by_role("button", name="Regenerate").click()
    ioi.until(lambda: ioi.widget.selection["kind"] == "continued" and not ioi.widget.verify, "tokens")
    chips = view.locator(".panel .selected .chip")
    expected = [
        t.text
        for edits in ([lmtt.Edit(MAIN)], [])
        for t in lmtt.generate(bundled, IOI, 8, interventions=edits, progress=False).tokens
    ]
    expect(chips).to_have_text(expected)
    expect(view.locator(".panel")).to_contain_text("8 of 8 tokens")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_the_new_panels(open_widget: OpenWidget, bundled: lmtt.Model, theme: str) -> None:
    host = open_widget(lmtt.explore(bundled, [IOI, SWAPPED], foil=" John"), theme=theme)
    host.page.add_script_tag(path=str(AXE))
    host.widget.selection = {"kind": "heads"}
    host.set(verify=True)
    host.until(lambda: not host.widget.verify, "all heads")
    for selection in (HEAD | {"kind": "reasons"}, {"kind": "contrast"}, {"kind": "heads"}):
        host.set(selection=selection)
        expect(host.page.locator(".waiting")).to_have_count(0)
        assert host.page.evaluate("() => axe.run('.view')")["violations"] == [], selection


def test_the_whole_question_in_a_notebook(lab: JupyterServer, page: Page, bundled: lmtt.Model) -> None:
    """Cut the main line, read the verdict, see the difference, verify heads, swap the names, see the contrast, and find
    the previous-token head behind layer 2's look at ·Mary."""
    run = lmtt.record(bundled, IOI)
    john = bundled.token_id(" John")
    picture: Picture = opened(lab, page, EXPLORE)
    view = picture.view
    picture.flow.scroll_into_view_if_needed()

    view.get_by_role("button", name="·Mary → ·to", exact=True).click()
    view.get_by_role("button", name="Cut it").click()
    (cut,) = lmtt.effects(run, [lmtt.Edit(MAIN)])
    figures = f"log odds {signed(cut.odds_before)} → {signed(cut.odds)} ({signed(cut.change)}, exact)"
    expect(view.locator(".verdict")).to_contain_text(
        f"·Mary goes from {percent(cut.p_before)} to {percent(cut.p)}; {figures}"
    )
    expect(view.locator(".beside")).to_contain_text("Before: ·to → ·Mary 100%")
    view.get_by_role("button", name="difference", exact=True).click()
    expect(view.locator(".legend")).to_contain_text("▼ lost")
    picture.flow.press("u")
    expect(view.locator(".edits")).to_have_count(0)

    picture.flow.press("Escape")
    field = view.get_by_role("combobox", name="Type another token")
    field.fill("John")
    field.press("Enter")
    expect(view.locator(".why-this")).to_contain_text("Why ·Mary rather than ·John")
    view.get_by_role("button", name="Verify").click()
    expect(view.locator(".panel")).to_contain_text("32 of 32 heads taken out, exact.")
    heads = lmtt.effects(run, "heads", foil=john)
    first = max(heads, key=lambda v: abs(v.change))
    row = rows_of(view, "Strongest heads").first
    expect(row).to_contain_text(f"L{(first.edits[0].selection['state'] - 1) // 2} H{first.edits[0].selection['head']}")
    expect(row).to_contain_text(signed(first.change))

    view.get_by_role("button", name="Swap the words").click()
    swapped = lmtt.contrast_prompts(run, foil=john)[0]
    row = rows_of(view, "The same prompt with the words swapped").first
    expect(row).to_contain_text(swapped.how)
    expect(row).to_contain_text(signed(swapped.odds))
    row.get_by_role("button").click()
    expect(view.get_by_role("textbox", name="Prompt")).to_have_value(SWAPPED)
    expect(view.locator(".beside")).to_contain_text("Kept: ·to → ·Mary 100%")
    expect(view.locator(".legend")).to_contain_text("▼ lost")

    view.get_by_role("combobox", name=re.compile("Prompts")).select_option("0")
    expect(view.get_by_role("textbox", name="Prompt")).to_have_value(IOI)
    view.locator(".crumbs").get_by_role("button", name="Close").click()
    view.get_by_role("button", name="·Mary → ·to", exact=True).click()
    rows_of(view, "Heads on this line").filter(has_text="H6").get_by_role("button").click()
    view.get_by_role("button", name="Why does it look at ·Mary?").click()
    assert_reasons(view, lmtt.attention_reasons(run, run.part("attention", layer=2), 6, 13, 1))
    rows_of(view, "What ·Mary answers with").first.get_by_role("button").click()
    expect(view.locator(".panel h3").first).to_contain_text("head 3 of L1")
