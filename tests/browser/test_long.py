"""Long prompts in the picture: a thousand tokens through eighty layers, drawn over several frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.browser import opened, synthetic_graph
from lmtt_widget.wire import unpack

from .picture import Picture

SLIDE = """(el, step) => {
  el.value = step;
  el.dispatchEvent(new Event('input', { bubbles: true }));
  el.dispatchEvent(new Event('change', { bubbles: true }));
}"""


@pytest.fixture(scope="module")
def graph() -> bytes:
    return synthetic_graph(1024, 80)


@pytest.fixture
def long(browser: Browser, graph: bytes, problems: list[str]) -> Iterator[Page]:
    with opened(browser, graph) as page:
        page.on("pageerror", lambda error: problems.append(f"exception in the page: {error}"))
        page.evaluate("benchmark.paint(1000)")
        yield page


def ink(page: Page) -> list[int]:
    """How many pixels of each canvas are not clear."""
    count = """el => [...el.querySelectorAll('canvas')].map((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let n = 0;
      for (let i = 3; i < data.length; i += 4) if (data[i] > 0) n++;
      return n;
    })"""
    return page.locator(".flow").evaluate(count)


def steady_ink(page: Page) -> list[int]:
    """The same once nothing more is drawn: what stands beside the picture comes later, and may move it."""
    before, now = None, ink(page)
    while now != before:
        page.wait_for_timeout(300)
        before, now = now, ink(page)
    return now


def n_reached(graph: bytes) -> int:
    """Attention edges on any path down from the last token, counted row by row."""
    _, meta, sections = unpack(graph)
    n_tokens = len(meta["tokens"]["text"])
    reached = np.zeros((len(meta["states"]), n_tokens), bool)
    reached[-1, -1] = True
    n = 0
    for s in range(len(meta["states"]) - 1, 0, -1):
        carried = sections["carried"][s] > 0
        reached[meta["states"][s]["carried"]] |= reached[s] & carried
        for k, part in enumerate(meta["parts"]):
            if part["state"] == s and part["kind"] == "attention":
                query = np.repeat(np.arange(n_tokens), np.diff(sections[f"p{k}.row"].astype(int)))
                on_path = reached[s][query]
                reached[part["reads"], sections[f"p{k}.key"][on_path]] = True
                n += int(on_path.sum())
            elif part["state"] == s:
                reached[part["reads"]] |= reached[s] & (sections[f"p{k}.share"] > 0)
    return n


def test_the_first_picture_shows_the_target_and_every_layer(long: Page) -> None:
    expect(long.locator(".readout")).to_contain_text("lines")
    picture = Picture(long.locator("body"))
    assert 8 <= picture.n_edges <= 1000
    assert min(ink(long)[:2]) > 0
    target = picture.place("^L79 after MLP · 1023 ")
    assert picture.place(r"\bL[0-3] ")[1] > target[1] + 200


@pytest.mark.parametrize(("n_tokens", "n_layers"), [(30, 4), (128, 12), (1024, 80)])
def test_the_first_picture_stays_where_it_is(
    browser: Browser, problems: list[str], n_tokens: int, n_layers: int
) -> None:
    """What comes after the first frame has its room already: a picture that moves is read, and drawn, twice."""
    with opened(browser, synthetic_graph(n_tokens, n_layers)) as page:
        page.on("pageerror", lambda error: problems.append(f"exception in the page: {error}"))
        page.evaluate("benchmark.paint(1000)")
        first = page.locator(".flow").evaluate("el => JSON.stringify(el.getBoundingClientRect())")
        page.locator(".lmtt-widget[data-ready='1']").wait_for()
        expect(page.get_by_role("table", name="Strongest lines")).to_be_visible()
        assert page.locator(".flow").evaluate("el => JSON.stringify(el.getBoundingClientRect())") == first


def test_every_edge_is_drawn_in_the_end_and_fewer_again_after_that(long: Page, graph: bytes) -> None:
    slider = long.get_by_role("slider", name="Threshold")
    few = steady_ink(long)
    slider.evaluate(SLIDE, 0)
    picture = Picture(long.locator("body"))
    assert picture.n_edges == n_reached(graph)
    everything = ink(long)
    assert everything[0] > few[0] + 10_000
    slider.evaluate(SLIDE, 40)
    assert 80 < picture.n_edges < n_reached(graph)
    assert ink(long)[0] <= everything[0]
    long.get_by_role("button", name="Auto").click()
    assert 8 <= picture.n_edges <= 1000
    assert steady_ink(long) == pytest.approx(
        few, rel=1e-3
    )  # a pixel or two at the edges of lines drawn in another order


def test_folding_keeps_the_selection(long: Page) -> None:
    picture = Picture(long.locator("body"))
    picture.click("^L40 after MLP · 1023 ")
    selection = {"kind": "state", "state": 82, "pos": 1023}
    assert long.evaluate("benchmark.model.get('selection')") == selection
    marked = ink(long)[2]
    assert marked > 0
    for pressed in ("false", "true"):
        fold = long.get_by_role("button", name="Fold")
        fold.click()
        expect(fold).to_have_attribute("aria-pressed", pressed)
        picture.pixels()
        assert long.evaluate("benchmark.model.get('selection')") == selection
        assert ink(long)[2] > 0
    assert ink(long)[2] == marked


def test_lines_are_hit_in_the_whole_picture_and_close_up(long: Page) -> None:
    picture = Picture(long.locator("body"))
    long.get_by_role("button", name="Fold").click()
    assert int(long.locator(".flow").get_attribute("data-edges") or 0) <= 1000
    long.get_by_role("button", name="Fit").click()
    picture.hover(r"^L\d+ attention · \d+ .* → \d+ ")
    expect(picture.tip).to_contain_text("share")
    picture.flow.focus()
    for _ in range(3):
        long.keyboard.press("+")
    picture.hover(r"^L\d+ attention · \d+ .* → \d+ ")
    expect(picture.tip).to_contain_text("share")
