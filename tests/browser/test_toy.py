"""A kind of question and an encoding in a folder of the tests are in the widget, and nothing else was touched."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from lmtt_widget import page as pages
from lmtt_widget.saved import SavedPrompt, from_json

from .jupyter import ROOT
from .picture import Picture
from .test_offline import offline_page

SAVED = ROOT / "tests" / "fixtures" / "v0_1" / "analysis.json"
TOY = ROOT / "tests" / "toy" / "js"
LETTERS = {1: 5, 4: 2}
OpenPage = Callable[..., Page]


def question(pos: int) -> dict[str, object]:
    return {"kind": "letters", "pos": pos}


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles with the toys in them."""
    out = tmp_path_factory.mktemp("static")
    command = ["node", "js/build.mjs", "--with", str(TOY), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return out


@pytest.fixture
def open_page(
    browser: Browser, problems: list[str], static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenPage]:
    """`open_page(**traits)`: a page saved with the answers to two toy questions."""
    monkeypatch.setattr(pages, "STATIC", static)
    saved = from_json(SAVED.read_text("utf-8"))
    prompt, *others = saved.prompts
    answers = [{"question": question(pos), **question(pos), "letters": n, "maps": {}} for pos, n in LETTERS.items()]
    toys = SavedPrompt(prompt.prompt, prompt.graph, prompt.peek, [*prompt.answers, *answers])
    page = offline_page(browser, problems)

    def open_page(**traits: object) -> Page:
        shown = {**saved.traits, "encoding": "flow", "threshold": None, "selection": None, "pins": [], **traits}
        path = tmp_path / "page.html"
        path.write_text(pages.page(replace(saved, prompts=[toys, *others], traits=shown)), "utf-8")
        page.goto(path.as_uri())
        page.locator("[data-ready='1']").wait_for()
        return page

    yield open_page
    page.context.close()


def test_a_toy_kind_shows_what_a_page_saved_of_it(open_page: OpenPage) -> None:
    panel = open_page(selection=question(1)).locator(".panel")
    expect(panel.get_by_role("heading", name="How long 1 ·Mary is")).to_be_visible()
    expect(panel.locator(".facts").last).to_have_text("letters5")
    expect(panel.locator(".letters")).to_have_text("xxxxx")
    expect(panel.locator(".letters")).to_have_css("letter-spacing", "7px")
    expect(panel.locator(".crumb")).to_have_text("letters 1 ·Mary")
    panel.get_by_role("button", name="How is this computed?").click()
    expect(panel.locator(".why")).to_have_text("Counted one by one: 5.")


def test_two_toy_answers_are_compared(open_page: OpenPage) -> None:
    panel = open_page(selection=question(1), pins=[question(4)]).locator(".panel")
    row = panel.get_by_role("table", name="Lengths").locator("tbody td")
    expect(row).to_have_text(["letters", "2.00", "5.00", "+3.00"])


def test_a_toy_kind_that_was_not_saved_says_so(open_page: OpenPage) -> None:
    panel = open_page(selection=question(3)).locator(".panel")
    expect(panel.get_by_role("heading", name="How long 3 ·John is")).to_be_visible()
    expect(panel).to_contain_text("The details of this were not saved with it.")


def test_a_toy_encoding_draws_its_lines_and_says_what_they_mean(open_page: OpenPage) -> None:
    page = open_page(encoding="even")
    toolbar, picture = page.locator(".toolbar"), Picture(page.locator("#page"))
    expect(toolbar.get_by_role("button", name="even", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".legend")).to_contain_text("Every line is as wide as any other.")
    expect(page.locator(".legend")).to_contain_text("to an odd token")
    even = picture.pixels()
    toolbar.get_by_role("button", name="flow", exact=True).click()
    assert picture.pixels() != even
    expect(page.locator(".legend")).not_to_contain_text("to an odd token")
