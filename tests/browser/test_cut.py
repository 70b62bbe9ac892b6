"""What if this were not there: from a selection to the verdict, the same numbers as from Python."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

import lmtt_widget as lmtt
from lmtt_widget import Edit

from .host import Host
from .test_inspection import OpenWidget, percent, signed

INDIRECT = "When Mary and John went to the store, John gave a drink to"


@pytest.mark.parametrize(
    ("selection", "edit", "title"),
    [
        (
            {"kind": "edge", "state": 5, "query": 13, "key": 1},
            {"kind": "edge", "state": 5, "query": 13, "key": 1},
            "What if the line ·Mary → ·to were not there",
        ),
        (
            {"kind": "head", "state": 1, "query": 13, "head": 6},
            {"kind": "head", "state": 1, "query": 13, "head": 6},
            "What if L0 H6 at ·to were not there",
        ),
        (
            {"kind": "mlp", "state": 8, "pos": 13},
            {"kind": "mlp", "state": 8, "pos": 13},
            "What if L3 MLP at ·to were not there",
        ),
    ],
)
def test_from_a_selection_to_what_python_says_without_it(
    open_widget: OpenWidget, bundled: lmtt.Model, selection: dict[str, int], edit: dict[str, int], title: str
) -> None:
    host: Host = open_widget(lmtt.explore(bundled, INDIRECT))
    host.widget.selection = selection
    panel = host.page.locator(".view .panel")
    panel.get_by_role("button", name="What if this were not there?").click()
    expect(panel.locator("h3").first).to_have_text(title)
    found = lmtt.effects(host.widget.run, [Edit(edit)])[0]
    expect(panel.locator(".verdict")).to_contain_text(
        f"Without it ·Mary goes from {percent(found.p_before)} to {percent(found.p)}"
    )
    expect(panel).to_contain_text(signed(found.change))
    rows = panel.locator(".cut tbody tr")
    expect(rows).to_have_count(8)
    expect(rows.first).to_contain_text(found.moved.tokens[0].text)
