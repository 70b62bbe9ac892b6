"""The tour: six steps on the prompt that is shown, asked for, walked by keys, left at any of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

import lmtt_widget as lmtt

from .host import Host
from .models import PROMPT, model_of_type
from .test_screen import IOI

MAIN = {"state": 5, "query": 13, "key": 1}  # Mary's line into the last token


@pytest.fixture
def ioi(open_widget: Callable[..., Host], bundled: lmtt.Model) -> Host:
    return open_widget(lmtt.explore(bundled, IOI))


def dialog(host: Host) -> Locator:
    return host.page.locator(".view").get_by_role("dialog")


def ask(host: Host) -> None:
    host.page.locator(".flow").press("?")


def test_it_is_walked_by_keys_and_opens_on_this_prompt_what_it_speaks_of(ioi: Host) -> None:
    widget = ioi.widget
    expect(dialog(ioi)).to_have_count(0)  # it never comes by itself
    ioi.page.locator(".flow").focus()
    ask(ioi)
    expect(dialog(ioi)).to_have_attribute("aria-label", "Keys in the picture")
    ioi.page.keyboard.press("Enter")
    expect(dialog(ioi)).to_have_attribute("aria-label", "Tour")
    (part,) = [p for p in widget.run.parts if p.kind == "attention" and p.state == MAIN["state"]]
    head = int(lmtt.head_shares(widget.run, part, MAIN["query"])[:, MAIN["key"]].argmax())
    shown = [
        None,
        {"kind": "edge", **MAIN},
        {"kind": "head", **MAIN, "head": head},
        {"kind": "state", "state": len(widget.run.states) // 2, "pos": 13},
        {"kind": "heads"},
        None,
    ]
    for step, selection in enumerate(shown, 1):
        expect(dialog(ioi)).to_contain_text(f"Tour {step} / 6")
        ioi.until(lambda selection=selection: widget.selection == selection, f"step {step}")
        ioi.page.keyboard.press("ArrowRight" if step % 2 else "Enter")
    expect(dialog(ioi)).to_have_count(0)
    expect(ioi.page.locator(".flow")).to_be_focused()


def test_it_goes_back_and_is_left_at_any_step(ioi: Host) -> None:
    ask(ioi)
    dialog(ioi).get_by_role("button", name="Tour").click()
    dialog(ioi).get_by_role("button", name="Next").click()
    ioi.until(lambda: bool(ioi.widget.selection), "the main line")
    ioi.page.keyboard.press("ArrowLeft")
    expect(dialog(ioi)).to_contain_text("Tour 1 / 6")
    ioi.until(lambda: not ioi.widget.selection, "nothing selected")
    ioi.page.keyboard.press("Escape")
    expect(dialog(ioi)).to_have_count(0)
    ask(ioi)
    expect(dialog(ioi)).to_have_attribute("aria-label", "Keys in the picture")
    ioi.page.keyboard.press("?")
    expect(dialog(ioi)).to_have_count(0)


def test_a_closed_panel_is_opened_for_it(ioi: Host) -> None:
    ioi.set(view={**ioi.get("view"), "panel": False})
    expect(ioi.page.locator(".panel")).to_have_count(0)
    ask(ioi)
    dialog(ioi).get_by_role("button", name="Tour").click()
    expect(ioi.page.locator(".panel")).to_contain_text("comes next")


def test_a_model_without_attention_is_shown_what_it_has(open_widget: Callable[..., Host]) -> None:
    host = open_widget(lmtt.explore(model_of_type("mamba"), PROMPT))
    ask(host)
    host.page.keyboard.press("Enter")
    for step in range(1, 7):
        expect(dialog(host)).to_contain_text(f"Tour {step} / 6")
        host.page.keyboard.press("ArrowRight")
    expect(dialog(host)).to_have_count(0)
