"""Edits on screen: x cuts what is selected, u takes it back; chips, verdict, before and after, kept in pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

import lmtt_widget as lmtt

from .host import Host
from .models import PROMPT, random_model
from .picture import Picture
from .test_inspection import OpenWidget, percent, signed
from .test_offline import offline_page

IOI = "When Mary and John went to the store, John gave a drink to"
MAIN = {"kind": "edge", "state": 5, "query": 13, "key": 1}


@pytest.fixture
def ioi(open_widget: OpenWidget, bundled: lmtt.Model) -> Host:
    host = open_widget(lmtt.explore(bundled, IOI))
    host.widget.selection = MAIN
    host.sync()
    return host


def view_of(host: Host) -> Locator:
    return host.page.locator(".view")


def cut(host: Host) -> None:
    Picture(view_of(host)).flow.press("x")
    host.until(lambda: len(host.widget.edits) == 1, "one edit")
    expect(view_of(host).locator(".edits .chip")).to_have_count(1)


def test_x_cuts_the_selected_line_and_says_what_that_did(ioi: Host) -> None:
    clean, view = ioi.widget.run, view_of(ioi)
    cut(ioi)
    (found,) = lmtt.effects(clean, [lmtt.Edit(MAIN)])
    before, after = percent(found.p_before), percent(found.p)
    expect(view.locator(".edits .noun")).to_have_text(f"·Mary {before} → {after}")
    verdict = view.locator(".panel .verdict")
    expect(verdict).to_contain_text(f"·Mary goes from {before} to {after}")
    expect(verdict).to_contain_text(f"({signed(found.change)}, exact)")
    rows = view.get_by_role("table", name="Tokens that moved most").locator("tbody tr")
    expect(rows.first).to_contain_text(found.moved.tokens[0].text)
    expect(view.get_by_role("table", name="Heads whose direct effect changed most").locator("tbody tr")).to_have_count(
        5
    )


def test_the_legend_names_the_mark_of_an_edit_while_there_is_one(ioi: Host) -> None:
    legend = view_of(ioi).locator(".legend")
    expect(legend).not_to_contain_text("edited")
    cut(ioi)
    expect(legend.locator(".key").filter(has_text="edited")).to_have_count(1)
    Picture(view_of(ioi)).flow.press("u")
    expect(legend).not_to_contain_text("edited")


def test_u_takes_the_last_edit_back(ioi: Host) -> None:
    view, clean = view_of(ioi), ioi.widget.graph
    drawn = Picture(view).pixels()
    cut(ioi)
    assert Picture(view).pixels() != drawn
    Picture(view).flow.press("u")
    ioi.until(lambda: ioi.widget.edits == [], "no edit")
    expect(view.locator(".edits")).to_have_count(0)
    assert ioi.widget.graph == clean


def test_what_keys_point_at_is_cut_without_a_click(ioi: Host) -> None:
    ioi.widget.selection = None
    ioi.sync()
    flow = Picture(view_of(ioi)).flow
    flow.focus()
    flow.press("ArrowUp")
    flow.press(".")  # the heaviest line into the last state: carried, which is no part of a sum
    flow.press("x")
    ioi.sync()
    assert ioi.widget.edits == []
    flow.press(".")
    flow.press("x")
    ioi.until(lambda: len(ioi.widget.edits) == 1, "one edit")
    assert ioi.widget.edits[0]["selection"] == {"kind": "mlp", "state": 8, "pos": 13}


def test_the_panel_cuts_heads_and_parts_too(ioi: Host) -> None:
    view = view_of(ioi)
    for selection in (
        {"kind": "head", "state": 5, "head": 2, "query": 13, "key": None},
        {"kind": "mlp", "state": 8, "pos": 13, "top": 40},
        {"kind": "neuron", "state": 8, "pos": 13, "neuron": 5},
    ):
        ioi.widget.selection = selection
        ioi.sync()
        n = len(ioi.widget.edits)
        view.locator(".panel").get_by_role("button", name="Cut it").click()
        ioi.until(lambda n=n: len(ioi.widget.edits) == n + 1, "one more edit")
    said = [edit["selection"]["kind"] for edit in ioi.widget.edits]
    assert said == ["head", "mlp", "neuron"]
    assert ioi.widget.status["state"] == "idle"


def test_a_chip_opens_changes_and_removes_its_edit(ioi: Host) -> None:
    view = view_of(ioi)
    cut(ioi)
    chip = view.locator(".edits .chip")
    expect(chip).to_contain_text("L2 ·Mary → ·to")
    chip.get_by_role("combobox", name="What stands there instead").select_option("mean")
    ioi.until(lambda: ioi.widget.edits[0]["to"] == "mean", "the mean instead")
    chip.get_by_role("button", name="L2 ·Mary → ·to").click()
    ioi.until(lambda: ioi.widget.selection == MAIN, "the line")
    chip.get_by_role("button", name="Close").click()
    ioi.until(lambda: ioi.widget.edits == [], "no edit")
    expect(view.locator(".edits")).to_have_count(0)


def test_before_and_after_are_one_choice_and_so_is_their_difference(ioi: Host) -> None:
    view = view_of(ioi)
    cut(ioi)
    beside = view.locator(".beside")
    expect(beside).to_contain_text("Before: ·to → ·Mary 100%")
    choice = view.locator(".edits .choice")
    choice.get_by_role("button", name="difference").click()
    expect(view.locator(".legend")).to_contain_text("▼ lost")
    choice.get_by_role("button", name="after", exact=True).click()
    expect(beside).to_have_count(0)
    expect(view.locator(".legend")).not_to_contain_text("▼ lost")
    choice.get_by_role("button", name="before and after").click()
    expect(beside).to_be_visible()


def test_an_edit_that_cannot_be_is_said_and_nothing_else_changes(ioi: Host) -> None:
    view = view_of(ioi)
    cut(ioi)
    drawn, graph = Picture(view).pixels(), ioi.widget.graph
    ioi.set(edits=[{"selection": {"kind": "edge", "state": 5, "query": 3, "key": 9}, "to": 0}])
    expect(view.get_by_role("alert")).to_contain_text("a line from the future")
    expect(view.locator(".edits .chip")).to_have_count(1)
    assert ioi.widget.graph == graph
    assert ioi.widget.edits[0]["selection"] == MAIN
    assert Picture(view).pixels() == drawn


def test_edits_are_on_the_way_back(ioi: Host) -> None:
    ioi.page.wait_for_timeout(350)
    cut(ioi)
    ioi.page.wait_for_timeout(400)
    view_of(ioi).get_by_role("button", name="Step back").click()
    ioi.until(lambda: ioi.widget.edits == [], "no edit")
    ioi.page.wait_for_timeout(400)
    assert ioi.widget.selection == MAIN
    view_of(ioi).get_by_role("button", name="Step forward").click()
    ioi.until(lambda: len(ioi.widget.edits) == 1, "the edit again")


def test_where_a_line_was_the_figure_has_a_broken_one(ioi: Host) -> None:
    ioi.widget.edits = [lmtt.Edit(MAIN)]
    assert "#70005d" in ioi.widget.svg(theme="light")
    ioi.widget.edits = []
    assert "#70005d" not in ioi.widget.svg(theme="light")


def test_a_saved_page_keeps_edits_verdict_and_the_picture_before(
    browser: Browser, problems: list[str], bundled: lmtt.Model, tmp_path: Path
) -> None:
    widget = lmtt.explore(bundled, [IOI, "Mary went home because"])
    widget.edits = [lmtt.Edit(MAIN)]
    (found,) = lmtt.effects(lmtt.record(bundled, IOI), [lmtt.Edit(MAIN)])
    path = lmtt.save_html(widget, tmp_path / "edited.html", max_bytes=1_000_000)
    page = offline_page(browser, problems)
    page.goto(path.as_uri())
    page.locator("[data-ready='1']").wait_for()
    row = page.locator(".edits")
    expect(row.locator(".noun")).to_have_text(f"·Mary {percent(found.p_before)} → {percent(found.p)}")
    expect(row.get_by_role("combobox")).to_have_count(0)
    expect(page.locator(".beside")).to_contain_text("Before: ·to → ·Mary 100%")
    row.get_by_role("button", name="difference").click()
    expect(page.locator(".legend")).to_contain_text("▼ lost")
    row.locator(".noun").click()
    expect(page.locator(".verdict")).to_contain_text("·Mary goes from")
    page.locator(".prompts select").select_option("1")
    expect(row).to_have_count(0)
    page.locator(".prompts select").select_option("0")
    expect(row.locator(".noun")).to_contain_text("·Mary")
    page.context.close()
    widget.close()


def test_edits_of_a_random_model_are_drawn_too(open_widget: OpenWidget) -> None:
    host = open_widget(lmtt.explore(random_model(), PROMPT))
    host.set(selection={"kind": "edge", "state": 3, "query": 8, "key": 2})
    cut(host)
    expect(view_of(host).locator(".beside")).to_be_visible()
