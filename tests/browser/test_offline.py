"""The saved page, opened from disk with the network off: every control alive, nothing asked, nothing broken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

import lmtt_widget as lmtt

from .jupyter import ROOT
from .models import HOSTILE, PROMPT, random_model
from .picture import Picture

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
IOI = "When Mary and John went to the store, John gave a drink to"
OTHER = "the dog ran home"
NOT_SAVED = "The details of this were not saved with it."


@pytest.fixture(scope="module")
def widget() -> Iterator[lmtt.FlowWidget]:
    """Three prompts, one of them hostile; tests that save it leave it as it is."""
    w = lmtt.explore(random_model(), [PROMPT, " ".join(HOSTILE), OTHER])
    yield w
    w.close()


@pytest.fixture(scope="module")
def saved(widget: lmtt.FlowWidget, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lmtt.save_html(widget, tmp_path_factory.mktemp("page") / "page.html")


def offline_page(browser: Browser, problems: list[str], **options: Any) -> Page:
    """A page of a browser without network, that remembers what goes wrong and what is asked for."""
    context = browser.new_context(offline=True, **{"viewport": {"width": 1100, "height": 800}, **options})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(f"exception in the page: {error}"))
    page.on("request", lambda request: problems.append(f"request: {request.url[:80]}") if asks(request.url) else None)
    return page


def asks(url: str) -> bool:
    return not re.match(r"file://.*\.html$|blob:|data:", url)


@pytest.fixture
def page(browser: Browser, problems: list[str], saved: Path) -> Iterator[Page]:
    page = offline_page(browser, problems)
    page.goto(saved.as_uri())
    page.locator("[data-ready='1']").wait_for()
    yield page
    page.context.close()


@pytest.fixture
def picture(page: Page) -> Picture:
    return Picture(page.locator("#page"))


def test_every_control_of_the_picture_is_alive(page: Page, picture: Picture) -> None:
    drawn = picture.pixels()

    def changes(what: str) -> None:
        nonlocal drawn
        before, drawn = drawn, picture.pixels()
        assert drawn != before, what

    page.get_by_role("combobox", name="Explain").select_option("5")
    changes("target")
    slider = page.get_by_role("slider", name="Threshold")
    slider.focus()
    for _ in range(20):
        slider.press("ArrowRight")
    changes("threshold")
    page.get_by_role("button", name="Auto").click()
    changes("automatic threshold")
    page.locator(".toolbar").get_by_role("button", name="share", exact=True).click()
    changes("encoding")
    page.get_by_role("button", name="sum", exact=True).click()
    page.get_by_role("button", name="renorm.").click()
    changes("renormalised shares")
    page.locator(".toolbar").get_by_role("button", name="flow", exact=True).click()
    changes("back to flow")
    page.get_by_role("button", name="Fold").click()
    changes("fold")
    picture.flow.hover(position={"x": 300, "y": 200})
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    changes("zoom")
    page.get_by_role("button", name="Fit").click()
    changes("fit")
    picture.hover("^L1 after attention · 5 mat$")
    expect(picture.tip).to_be_visible()
    picture.flow.focus()
    picture.flow.press("?")
    expect(page.get_by_role("dialog", name="Keys in the picture")).to_be_visible()


def test_the_theme_follows_the_reader_until_one_is_chosen(browser: Browser, problems: list[str], saved: Path) -> None:
    page = offline_page(browser, problems, color_scheme="dark")
    page.goto(saved.as_uri())
    page.locator("[data-ready='1']").wait_for()
    background = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    expect(page.locator(".root.dark")).to_have_count(1)
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("menuitemradio", name="light").click()
    expect(page.locator(".root.dark")).to_have_count(0)
    assert page.evaluate(background) != dark
    page.get_by_role("menuitemradio", name="auto").click()
    expect(page.locator(".root.dark")).to_have_count(1)
    page.context.close()


def test_the_details_of_the_visible_routes_open(page: Page, picture: Picture) -> None:
    panel = page.locator(".panel")
    picture.click("^L2 after MLP · 9 dog$")
    expect(panel.get_by_role("heading", name="What the model would say here")).to_be_visible()
    panel.get_by_role("table", name=re.compile("Made from")).get_by_role("button").nth(1).click()
    expect(panel.get_by_role("heading", name="What made up L2 after MLP at dog")).to_have_count(0)
    expect(panel.get_by_text(NOT_SAVED)).to_have_count(0)
    panel.get_by_role("button", name="Pin").click()
    picture.click("^L1 after MLP · 9 dog$")
    expect(panel.get_by_text(re.compile("^Pinned: "))).to_be_visible()


def test_a_head_opens_and_its_other_cells_show_their_numbers(page: Page, picture: Picture) -> None:
    panel = page.locator(".panel")
    picture.click("^L1 attention · . \\w+ → 9 dog$")
    panel.get_by_role("table", name=re.compile("Heads on this line")).locator("tbody tr").first.click()
    where = panel.get_by_role("heading", name="Where it looks")
    expect(where).to_be_visible()
    expect(panel.get_by_text(NOT_SAVED)).to_have_count(0)
    heat = panel.locator(".maps [aria-label^='Attention,']")
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft", "Enter"):
        heat.press(key)
    expect(panel.get_by_text(NOT_SAVED)).to_be_visible()
    expect(where).to_be_visible()
    expect(panel.locator("dl").get_by_text("attention", exact=True)).to_be_visible()


def test_what_is_not_included_says_so_in_one_line(
    browser: Browser, problems: list[str], widget: lmtt.FlowWidget, tmp_path: Path
) -> None:
    page = offline_page(browser, problems)
    page.goto(lmtt.save_html(widget, tmp_path / "few.html", include="nothing").as_uri())
    page.locator("[data-ready='1']").wait_for()
    Picture(page.locator("#page")).click("^L2 after MLP · 9 dog$")
    expect(page.locator(".panel").get_by_text(NOT_SAVED)).to_have_count(1)
    page.context.close()


def test_the_likely_next_targets_are_saved_too(page: Page, picture: Picture, widget: lmtt.FlowWidget) -> None:
    likely = int(widget.routes.input_share[:-1].argmax())
    page.get_by_role("combobox", name="Explain").select_option(str(likely))
    picture.click(f"^L2 after MLP · {likely} ")
    expect(page.get_by_role("table", name="Logit lens")).to_be_visible()


def test_another_prompt_is_shown_and_hostile_tokens_are_text(page: Page, picture: Picture) -> None:
    prompts = page.get_by_role("combobox", name=re.compile("^Prompts"))
    expect(prompts.locator("option")).to_have_count(3)
    before = picture.pixels()
    prompts.select_option("1")
    assert picture.pixels() != before
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(" ".join(HOSTILE))
    for token in HOSTILE[:3] + HOSTILE[5:]:
        expect(page.locator(".panel").get_by_text(token[:20].replace("\u202e", "")).first).to_be_attached()
    assert page.title().startswith("Information flow routes: the cat sat")
    assert page.locator("#page img, #page script").count() == 0
    prompts.select_option("2")
    expect(page.get_by_role("combobox", name="Explain")).to_have_value("3")


def test_a_prompt_cannot_be_run(page: Page) -> None:
    expect(page.get_by_role("textbox", name="Prompt")).not_to_be_editable()
    expect(page.get_by_role("button", name="Run")).to_have_count(0)
    page.get_by_role("textbox", name="Prompt").press("Enter")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, problems: list[str], saved: Path, scheme: Any) -> None:
    # Axe comes in as a script, which the page's own policy would refuse.
    page = offline_page(browser, problems, color_scheme=scheme, bypass_csp=True)
    page.goto(saved.as_uri())
    page.locator("[data-ready='1']").wait_for()
    page.add_script_tag(path=str(AXE))
    found = []
    for act in (lambda: None, lambda: Picture(page.locator("#page")).click("^L2 after MLP · 9 dog$")):
        act()
        page.wait_for_timeout(200)
        found += [(v["id"], [n["target"] for n in v["nodes"]]) for v in page.evaluate("() => axe.run()")["violations"]]
    assert not found
    page.context.close()


def from_menu(page: Page, item: str, to: Path) -> Path:
    page.get_by_role("button", name="More", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=item).click()
    download.value.save_as(to)
    return to


def elements(svg: str) -> list[tuple[str, str, list[float]]]:
    """Every drawn thing: its tag, what it says, its numbers."""
    found = []
    for e in ElementTree.fromstring(svg).iter():
        place = " ".join(e.get(name, "") for name in ("d", "points", "x", "y", "cx", "cy", "r", "width", "height"))
        numbers = [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", place)]
        found.append((e.tag, (e.text or "") + (e.get("fill") or "") + (e.get("stroke") or ""), numbers))
    return found


def test_the_menus_svg_and_pythons_are_the_same_picture(
    page: Page, picture: Picture, widget: lmtt.FlowWidget, tmp_path: Path
) -> None:
    picture.pixels()
    width, height = picture.flow.evaluate("el => [el.clientWidth, el.clientHeight]")
    menus = from_menu(page, "Save as SVG", tmp_path / "menu.svg").read_text("utf-8")
    pythons = lmtt.save_svg(widget, tmp_path / "python.svg", width=width, height=height).read_text("utf-8")
    a, b = elements(menus), elements(pythons)
    assert len(a) > 100
    assert [(tag, said) for tag, said, _ in a] == [(tag, said) for tag, said, _ in b]
    for (_, _, here), (_, _, there) in zip(a, b, strict=True):
        assert here == pytest.approx(there, abs=0.5)


def test_the_menus_json_comes_back_in_python(
    page: Page, picture: Picture, widget: lmtt.FlowWidget, tmp_path: Path
) -> None:
    page.get_by_role("combobox", name="Explain").select_option("5")
    picture.click("^L0 after MLP · 5 mat$")
    back = lmtt.load_json(from_menu(page, "Save as JSON", tmp_path / "menu.json"))
    assert (back.target, back.prompt) == (5, PROMPT)
    assert back.selection["kind"] == "state"
    assert back.analysis().prompts[0].answers
    back.close()


def test_the_menus_png_is_drawn(page: Page, tmp_path: Path) -> None:
    data = from_menu(page, "Save as PNG", tmp_path / "menu.png").read_bytes()
    assert data[:4] == b"\x89PNG"
    assert len(data) > 10_000


def test_the_page_of_the_indirect_object_prompt_is_under_a_megabyte(tmp_path: Path) -> None:
    w = lmtt.explore(lmtt.bundled_model(), IOI)
    assert lmtt.save_html(w, tmp_path / "page.html").stat().st_size < 1_000_000
    w.close()


# ---- in a notebook that was run ----

CELLS = ["import lmtt_widget as lmtt\nfrom tests.browser.models import PROMPT, random_model",
         "widget = lmtt.explore(random_model(), PROMPT)\nwidget", "widget.snapshot()"]  # fmt: skip


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook as nbconvert runs it and makes a web page of it, without the widgets' state."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "shared.ipynb")
    options = ["--execute", "--to", "html", "--NotebookClient.store_widget_state=False"]
    command = [sys.executable, "-m", "nbconvert", *options, str(folder / "shared.ipynb")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return folder / "shared.html"


@pytest.fixture
def outputs(browser: Browser, converted: Path) -> Iterator[Page]:
    context = browser.new_context(offline=True, viewport={"width": 1300, "height": 1400})
    page = context.new_page()
    page.goto(converted.as_uri())
    yield page
    context.close()


def test_an_executed_notebook_as_a_page_shows_the_picture_offline(outputs: Page) -> None:
    picture = outputs.locator(".jp-OutputArea-output img[src^='data:image/png']").first
    expect(picture).to_be_visible()
    assert picture.evaluate("img => [img.naturalWidth, img.width]") == [1080, 720]


def test_a_snapshot_in_it_is_interactive_offline(outputs: Page) -> None:
    frame: FrameLocator = outputs.frame_locator("iframe[sandbox]")
    frame.locator("[data-ready='1']").wait_for()
    frame.get_by_role("combobox", name="Explain").select_option("5")
    picture = Picture(frame.locator("#page"))
    picture.click("^L0 after MLP · 5 mat$")
    expect(frame.get_by_role("heading", name="What made up L0 after MLP at mat")).to_be_visible()


def test_pages_of_earlier_versions_are_alive_as_they_are_and_saved_again(
    browser: Browser, problems: list[str], tmp_path: Path
) -> None:
    """The page with its own script, and what it says with today's."""
    old = ROOT / "tests" / "fixtures" / "v0_1"
    again = lmtt.load_json(old / "analysis.json")
    for path in (old / "page.html", lmtt.save_html(again, tmp_path / "again.html")):
        page = offline_page(browser, problems)
        page.goto(path.as_uri())
        page.locator("[data-ready='1']").wait_for()
        assert Picture(page.locator("#page")).pixels()
        expect(page.locator(".panel").get_by_text(re.compile("^Pinned: "))).to_be_visible()
        expect(page.locator(".panel").get_by_text(NOT_SAVED)).to_have_count(0)
        page.get_by_role("combobox", name="Explain").select_option("5")
        page.context.close()
    again.close()
