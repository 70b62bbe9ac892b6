"""The map of a survey in a browser: a cell, its examples, one of them opened, and back; alive and saved."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ipywidgets
import numpy as np
import pytest
from playwright.sync_api import Page, expect

import lmtt_widget as lmtt
from tests.grammar_prompts import prompts

from .host import Host

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> lmtt.Survey:
    folder = tmp_path_factory.mktemp("survey")
    return lmtt.survey(lmtt.bundled_model(), list(prompts(12, 4)), folder, progress=False)


def opened(page: Page, view: Any, problems: list[str], theme: str = "light") -> Any:
    host = Host(page, view.map, problems, theme=theme)
    host.show()
    return page.locator(".lmtt-survey")


def test_from_the_map_to_a_cell_to_an_example_and_back(page: Page, many: lmtt.Survey, problems: list[str]) -> None:
    view = many.show(lmtt.bundled_model())
    shown = opened(page, view, problems)
    expect(shown.locator("button.cell")).to_have_count(32)
    shown.locator("select").select_option("attention to: previous")
    cell = shown.locator('button.cell[data-at="1.3"]')
    found = many.role("previous")
    cell.hover()
    expect(shown.locator(".said")).to_contain_text(f"Head 1.3: {found.value[1, 3]:.3g}, 95 % interval")
    expect(shown.locator(".said")).to_contain_text("queries of 12 prompts")
    cell.click()
    expect(cell).to_have_attribute("aria-pressed", "true")
    texts = shown.locator(".example .text")
    expect(texts).to_have_count(12)
    first = many.examples(1, 3, by="previous")[0]
    expect(texts.first).to_have_text(str(first.prompt))
    texts.first.click()
    page.wait_for_timeout(50)
    for _ in range(200):
        if view.flow is not None:
            break
        page.wait_for_timeout(50)
    assert view.children == (view.map, view.flow)
    assert view.flow.selection["head"] == 3
    assert view.flow.prompt == first.prompt
    shown.locator("select").select_option("flow")
    expect(shown.locator('button.cell[data-at="1.3"]')).to_have_attribute("aria-pressed", "true")
    view.flow.close()
    view.map.close()


def test_cells_that_are_no_different_from_chance_are_grey(page: Page, many: lmtt.Survey, problems: list[str]) -> None:
    view = many.show()
    shown = opened(page, view, problems)
    apart = many.flow().apart
    assert apart is not None
    expect(shown.locator("button.cell.grey")).to_have_count(int((~apart).sum()))
    view.map.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_map_keeps_the_theme_of_its_host(page: Page, many: lmtt.Survey, problems: list[str], theme: str) -> None:
    view = many.show()
    shown = opened(page, view, problems, theme)
    dark = "() => document.querySelector('.lmtt-survey').shadowRoot.querySelector('.root').classList.contains('dark')"
    page.wait_for_function(f"({dark})() === {str(theme == 'dark').lower()}")
    assert shown.bounding_box() is not None
    view.map.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_map_is_saved_as_python_draws_it(
    page: Page, many: lmtt.Survey, problems: list[str], tmp_path: Path, theme: str
) -> None:
    view = many.show()
    shown = opened(page, view, problems, theme)
    shown.locator("select").select_option("attention to: previous")
    kept = {}
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            shown.get_by_role("button", name=kind).click()
        assert download.value.suggested_filename == f"survey-attention-to-previous.{kind.lower()}"
        kept[kind] = download.value.path().read_bytes()
    path = view.save(tmp_path / "map.svg", theme=theme)
    assert kept["SVG"].decode() == path.read_text("utf-8")
    drawn = ElementTree.fromstring(kept["SVG"])
    assert drawn.find(f"{SVG}title").text == "Survey of lmtt-bundled"  # type: ignore[union-attr]
    assert "previous: " in "".join(drawn.itertext())
    size = struct.unpack(">II", kept["PNG"][16:24])
    assert size == tuple(2 * int(drawn.get(side, "0")) for side in ("width", "height"))
    assert view.save(tmp_path / "map.png", theme=theme).read_bytes()[16:24] == kept["PNG"][16:24]
    view.map.close()


def test_a_cell_of_the_saved_map_has_the_colour_of_the_screen(
    page: Page, many: lmtt.Survey, problems: list[str]
) -> None:
    """The style sheet mixes on screen, and a function in the file."""
    view = many.show()
    shown = opened(page, view, problems)
    shown.locator("select").select_option("effect")
    colour = "cell => getComputedStyle(cell).backgroundColor"
    cells = shown.locator("button.cell")
    on_screen = sorted(_rgb(cells.nth(i).evaluate(colour)) for i in range(32))
    drawn = ElementTree.fromstring(view.map.svg("light")).findall(f"{SVG}rect")
    inside = sorted(_rgb(rect.get("fill", "")) for rect in drawn if rect.get("rx") == "2")
    assert np.abs(np.subtract(on_screen, inside)).max() <= 1
    view.map.close()


def _rgb(colour: str) -> tuple[int, ...]:
    """Of "#0072b2", or of what a browser says of a mixed colour: "color(srgb 0 .447 .698)"."""
    if colour.startswith("#"):
        return tuple(bytes.fromhex(colour[1:]))
    return tuple(round(255 * float(x)) for x in colour.removeprefix("color(srgb ").rstrip(")").split())


@pytest.mark.parametrize("version", [7, 8])
def test_a_notebook_keeps_the_map_as_a_picture(
    many: lmtt.Survey, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = many.show()
    if version == 7:
        monkeypatch.delattr(ipywidgets.Widget, "_repr_mimebundle_")
    data, _ = view._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in data
    view.map.close()


def test_a_saved_page_needs_no_kernel_and_no_network(page: Page, many: lmtt.Survey, tmp_path: Path) -> None:
    path = many.show().save(tmp_path / "survey.html")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.locator('button.cell[data-at="2.6"]').click()
    expect(page.locator(".example")).to_have_count(5)
    expect(page.locator(".example .text").first).to_have_text(str(many.examples(2, 6)[0].prompt))
    assert asked == [path.as_uri()]
    with pytest.raises(ValueError, match=r"saved as \.html, \.svg or \.png"):
        many.show().save(tmp_path / "survey.txt")
