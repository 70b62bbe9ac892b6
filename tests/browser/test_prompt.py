"""The prompt box: what is typed is what is run, and what was refused stays to be mended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

import lmtt_widget as lmtt

from .host import Host
from .models import N_POSITIONS, PROMPT, random_model

TWO_LINES = "the cat sat\non the mat"


@pytest.fixture
def box(host: Host) -> Locator:
    return host.page.get_by_role("textbox", name="Prompt")


def test_running_an_unchanged_prompt_keeps_its_newlines(open_widget: Callable[..., Host]) -> None:
    widget = lmtt.explore(random_model(), TWO_LINES)
    page = open_widget(widget).page
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(TWO_LINES)
    page.get_by_role("button", name="Run").click()
    page.wait_for_timeout(100)
    assert (widget.prompt, widget.prompts) == (TWO_LINES, [TWO_LINES])


def test_shift_enter_is_a_newline_and_enter_runs(host: Host, widget: lmtt.FlowWidget, box: Locator) -> None:
    box.fill("a dog")
    box.press("Shift+Enter")
    box.press_sequentially("ran home")
    assert widget.prompt == PROMPT
    box.press("Enter")
    host.until(lambda: widget.prompt == "a dog\nran home", "the prompt of two lines")
    expect(box).to_have_value("a dog\nran home")


def test_a_refused_prompt_stays_in_the_box_to_be_mended(host: Host, widget: lmtt.FlowWidget, box: Locator) -> None:
    long = ("cat " * (N_POSITIONS + 1)).strip()
    box.fill(long)
    box.press("Enter")
    expect(host.page.get_by_role("alert")).to_be_visible()
    host.page.wait_for_timeout(100)
    expect(box).to_have_value(long)
    assert widget.prompt == PROMPT
    box.fill("a dog ran")
    box.press("Enter")
    host.until(lambda: widget.prompt == "a dog ran", "the mended prompt")
    expect(box).to_have_value("a dog ran")


def test_escape_brings_the_prompt_on_show_back(host: Host, box: Locator) -> None:
    box.fill("something else")
    box.press("Escape")
    expect(box).to_have_value(PROMPT)


def test_the_box_grows_over_the_picture_and_moves_nothing(host: Host, box: Locator) -> None:
    toolbar = host.page.locator(".toolbar")
    before, height = toolbar.bounding_box(), box.bounding_box()
    box.fill("\n".join(["a dog ran home"] * 5))
    grown = box.bounding_box()
    assert height is not None
    assert grown is not None
    assert grown["height"] > 3 * height["height"]
    assert toolbar.bounding_box() == before
