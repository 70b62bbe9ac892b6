"""The documentation as a site: it builds offline, no link is dead, everybody can read every page, widgets live."""

from __future__ import annotations

import html.parser
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

import lmtt_widget as lmtt

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"

sys.path.insert(0, str(ROOT / "docs"))
from gallery import ANALYSES  # noqa: E402
from make_site import build  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("docs")).parent


class Found(html.parser.HTMLParser):
    """What a page links to, what it loads, and the places in it that have a name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names |= {value for name, value in attrs if name in ("id", "name") and value}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        elif tag == "link" and given.get("rel") != "canonical":
            self.loads.append(str(given.get("href")))
        elif given.get("src"):
            self.loads.append(str(given["src"]))


def pages(site: Path) -> dict[Path, Found]:
    return {path: Found(path) for path in sorted(site.glob("*.html")) if path.name != "404.html"}


def test_no_link_of_the_site_is_dead_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    found = pages(site)
    assert len(found) > 15
    for path, page in found.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme in ("https", "mailto") and link in page.links:
                continue
            assert not parts.scheme, f"{path.name} loads {link}"
            there = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            assert there.exists(), f"{path.name} links to {link}"
            if parts.fragment and there in found:
                assert unquote(parts.fragment) in found[there].names, f"{path.name} links to {link}"


def test_every_public_name_is_found_by_the_search(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    titles = {entry["title"] for entry in index["docs"]}
    assert set(lmtt.__all__) <= titles


def test_the_gallery_has_every_analysis_with_a_sentence(site: Path) -> None:
    kinds = {"induction", "indirect-object", "copying", "sink", "experts", "mixer", "chat", "contrast", "cut", "survey"}
    assert kinds <= set(ANALYSES)
    text = (site / "gallery.html").read_text("utf-8")
    for name, (title, _) in ANALYSES.items():
        assert f'src="widgets/{name}.html"' in text
        assert title in text
        assert (site / "widgets" / f"{name}.html").stat().st_size < 1_000_000


@pytest.fixture
def read(browser: Browser, problems: list[str]) -> Iterator[Page]:
    """A page without a network."""
    context = browser.new_context(offline=True, viewport={"width": 1300, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(f"exception in the page: {error}"))
    yield page
    context.close()


def test_every_widget_of_the_gallery_is_alive_in_its_page(read: Page, site: Path) -> None:
    read.goto((site / "gallery.html").as_uri())
    for name in ANALYSES:
        read.locator(f'iframe[src="widgets/{name}.html"]').scroll_into_view_if_needed()
        frame = read.frame_locator(f'iframe[src="widgets/{name}.html"]')
        if name == "survey":
            frame.locator("button.cell").first.click()
            expect(frame.locator(".example .text").first).to_be_visible()
            continue
        expect(frame.locator(".lmtt-widget[data-ready='1'] .flow")).to_be_visible()
        frame.get_by_role("combobox", name="Explain").select_option("1")
        expect(frame.get_by_role("combobox", name="Explain")).to_have_value("1")


def test_the_search_finds_a_name_without_a_network(read: Page, site: Path) -> None:
    read.goto((site / "index.html").as_uri())
    box = read.locator(".md-search__input")
    box.click()
    box.press_sequentially("direct_effects")
    found = read.locator('.md-search-result__list a[href*="#direct_effects"]')
    expect(found.first).to_have_attribute("href", re.compile(r"/api\.html"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_page_of_every_sort(read: Page, site: Path, scheme: Any) -> None:
    read.emulate_media(color_scheme=scheme)
    found = []
    for name in ("index", "gallery", "quickstart", "truth", "api"):  # text, widgets, a notebook, tables, names
        path = site / f"{name}.html"
        read.goto(path.as_uri())
        read.evaluate("() => document.querySelectorAll('iframe.widget').forEach((frame) => frame.remove())")
        read.add_script_tag(path=AXE)
        for violation in read.evaluate("() => axe.run()")["violations"]:
            found.append((path.name, violation["id"], [node["target"] for node in violation["nodes"]][:3]))
    assert found == []
