"""A kind of question and an encoding in a folder of the tests are in the widget, and nothing else was touched."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

import lmtt_widget as lmtt
from lmtt_widget import answers, encodings
from lmtt_widget import page as pages
from lmtt_widget.saved import SavedPrompt, from_json
from lmtt_widget.wire import unpack

from ..toy import letters
from ..toy.even import EVEN
from .host import Host
from .jupyter import ROOT
from .models import PROMPT, random_model
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


# ---- the live widget ----


@pytest.fixture
def registered(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys known to Python and to the bundle; nothing else is touched."""
    monkeypatch.setattr(pages, "STATIC", static)
    monkeypatch.setattr(answers, "KINDS", dict(answers.KINDS))
    monkeypatch.setattr(encodings, "REGISTERED", dict(encodings.REGISTERED))
    answers.register(letters)
    encodings.register(EVEN)


def test_the_widget_shows_compares_and_saves_a_toy_kind(
    registered: None, open_widget: Callable[..., Host], browser: Browser, problems: list[str], tmp_path: Path
) -> None:
    widget = lmtt.explore(random_model(), PROMPT)  # the cat sat on the mat and saw a dog
    host = open_widget(widget)
    panel = host.page.locator(".panel")
    host.set(selection=question(1))
    assert widget.status["state"] == "idle"
    assert widget.selected is not None
    assert widget.selected["letters"] == 3
    expect(panel.get_by_role("heading", name="How long 1 cat is")).to_be_visible()
    expect(panel.locator(".letters")).to_have_text("xxx")
    host.set(pins=[question(8)])
    row = panel.get_by_role("table", name="Lengths").locator("tbody td")
    expect(row).to_have_text(["letters", "1.00", "3.00", "+2.00"])
    host.set(selection={**question(1), "pos": 99})
    assert widget.selection == question(1)
    assert "pos must be in 0..9, got 99" in widget.status["text"]

    page = offline_page(browser, problems)
    page.goto(lmtt.save_html(widget, tmp_path / "page.html").as_uri())
    page.locator("[data-ready='1']").wait_for()
    expect(page.get_by_role("table", name="Lengths").locator("tbody td").last).to_have_text("+2.00")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".letters").first).to_have_text("xxx")
    page.context.close()
    back = lmtt.load_json(lmtt.save_json(widget, tmp_path / "it.json"))
    assert unpack(back.detail)[1]["answers"] == unpack(widget.detail)[1]["answers"]
    back.close()


def test_the_widget_draws_a_toy_encoding_and_saves_it(
    registered: None, open_widget: Callable[..., Host], tmp_path: Path
) -> None:
    widget = lmtt.explore(random_model(), PROMPT)
    host = open_widget(widget)
    before = widget.svg()
    host.page.locator(".toolbar").get_by_role("button", name="even", exact=True).click()
    host.until(lambda: widget.encoding == "even", "the encoding in Python")
    expect(host.page.locator(".legend")).to_contain_text("Every line is as wide as any other.")
    assert widget.routes.encoding == "even"
    assert (widget.routes.strength == lmtt.trace(widget.opened.graph, encoding="flow").strength).all()
    assert widget.svg() != before
    back = lmtt.load_json(lmtt.save_json(widget, tmp_path / "it.json"))
    assert back.encoding == "even"
    assert back.svg() == widget.svg()
    back.close()


def test_what_is_not_registered_is_refused(open_widget: Callable[..., Host]) -> None:
    widget = lmtt.explore(random_model(), PROMPT)
    host = open_widget(widget)
    host.set(selection=question(1))
    assert widget.selection is None
    assert "a selection has one of the kinds carried, continued, contrast, cut" in widget.status["text"]
    host.set(encoding="even")
    assert widget.encoding == "flow"
    assert widget.status["text"] == 'encoding must be "flow" or "share" or "effect", got \'even\''
