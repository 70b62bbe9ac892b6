"""Search by word: from the search to the neurons that write it, to one of them, to a prediction without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

import lmtt_widget as lmtt

from .host import Host
from .picture import Picture
from .test_edits import IOI, view_of
from .test_inspection import OpenWidget, percent, signed


@pytest.fixture
def ioi(open_widget: OpenWidget, bundled: lmtt.Model) -> Host:
    return open_widget(lmtt.explore(bundled, IOI))


def searched(host: Host, text: str) -> Locator:
    """The panel after typing a word into the search and taking its last line."""
    view = view_of(host)
    Picture(view).flow.press("/")
    view.get_by_role("combobox", name=re.compile("^Find")).fill(text)
    view.get_by_role("option", name=f"what writes {text}").click()
    host.until(lambda: (host.widget.selection or {}).get("kind") == "word", "a word")
    return view.locator(".panel")


def test_from_a_word_to_a_neuron_that_writes_it(ioi: Host, bundled: lmtt.Model) -> None:
    panel, found = searched(ioi, "Mary"), lmtt.promoters(bundled, "Mary")
    for caption, writers in (("Neurons that raise it", found.promoting), ("Neurons that lower it", found.suppressing)):
        rows = panel.get_by_role("table", name=caption).locator("tbody tr")
        expect(rows).to_have_count(6)
        for row, writer in zip(rows.all(), writers, strict=False):
            expect(row).to_contain_text(f"L{writer.layer} MLP {writer.number}")
            expect(row).to_contain_text(signed(writer.score))
    head = found.heads[0]
    expect(panel.get_by_role("table", name="Heads that reach it").locator("tbody tr").first).to_contain_text(
        f"L{head.layer} H{head.number}"
    )
    panel.get_by_role("table", name="Neurons that raise it").get_by_role("button").first.click()
    ioi.until(lambda: ioi.widget.selection["kind"] == "neuron", "a neuron")
    assert ioi.widget.selection["neuron"] == found.promoting[0].number
    assert ioi.widget.selection["pos"] == ioi.widget.run.n_tokens - 1
    part = ioi.widget.run.parts[found.promoting[0].part]
    cases = lmtt.sign_cases(ioi.widget.run, part)[None]
    rows = panel.get_by_role("table", name="Signs of its gate and up over the prompt").locator("tbody tr")
    for row, count in zip(rows.all(), cases.count[found.promoting[0].number].tolist(), strict=True):
        expect(row.locator("td").nth(1)).to_have_text(str(count))
    expect(panel.get_by_text("Cosines: gate and up")).to_be_visible()


def test_a_head_that_was_found_is_switched_off_everywhere_and_scaled(ioi: Host) -> None:
    panel, clean = searched(ioi, "Mary"), ioi.widget.run
    found = lmtt.promoters(clean.model, "Mary").heads[0]
    row = panel.get_by_role("table", name="Heads that reach it").locator("tbody tr").first
    row.get_by_role("button", name="cut").click()
    ioi.until(lambda: len(ioi.widget.edits) == 1, "an edit")
    assert ioi.widget.selection == {"kind": "edits"}
    assert ioi.widget.edits[0]["selection"].keys() == {"kind", "state", "head", "part"}  # no query: all of them
    chip = view_of(ioi).locator(".edits .chip")
    expect(chip).to_contain_text(f"L{found.layer} H{found.number} at every token")
    (verdict,) = lmtt.effects(clean, [found.edit(to=0)])
    expect(view_of(ioi).locator(".edits .noun")).to_have_text(
        f"·Mary {percent(verdict.p_before)} → {percent(verdict.p)}"
    )
    chip.get_by_role("combobox").select_option("double")
    ioi.until(lambda: ioi.widget.edits[0]["to"] == 2, "twice")
    (verdict,) = lmtt.effects(clean, [found.edit(to=2)])
    expect(view_of(ioi).locator(".edits .noun")).to_have_text(
        f"·Mary {percent(verdict.p_before)} → {percent(verdict.p)}"
    )
    chip.get_by_role("button").first.click()
    ioi.until(lambda: ioi.widget.selection["kind"] == "head", "the head")
    assert ioi.widget.selection["head"] == found.number


def test_a_neuron_that_was_found_is_set_to_a_number_that_is_typed(ioi: Host, tmp_path: Path) -> None:
    panel, clean = searched(ioi, "Mary"), ioi.widget.run
    found = lmtt.promoters(clean.model, "Mary").promoting[0]
    row = panel.get_by_role("table", name="Neurons that raise it").locator("tbody tr").first
    row.get_by_role("button", name="cut").click()
    ioi.until(lambda: len(ioi.widget.edits) == 1, "an edit")
    number = view_of(ioi).locator(".edits .chip").get_by_role("spinbutton", name="set to")
    number.fill("-2.5")
    number.press("Enter")
    ioi.until(lambda: ioi.widget.edits[0]["to"] == {"value": -2.5}, "set")
    (verdict,) = lmtt.effects(clean, [found.edit(to={"value": -2.5})])
    expect(view_of(ioi).locator(".edits .noun")).to_have_text(
        f"·Mary {percent(verdict.p_before)} → {percent(verdict.p)}"
    )
    expect(number).to_have_value("-2.5")
    assert lmtt.load_json(lmtt.save_json(ioi.widget, tmp_path / "set.json")).edits == ioi.widget.edits


def test_what_is_no_word_of_the_model_is_said(ioi: Host) -> None:
    view = view_of(ioi)
    Picture(view).flow.press("/")
    view.get_by_role("combobox", name=re.compile("^Find")).fill("Constantinople")
    expect(view.get_by_text("Not in this prompt.")).to_be_visible()
    view.get_by_role("option", name="what writes Constantinople").click()
    expect(ioi.page.get_by_role("alert")).to_contain_text("the word must be one token")
    assert ioi.widget.selection is None
