"""The widget in its page: the wheel scrolls on, a click beside everything loses nothing, unused keys pass."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

import lmtt_widget as lmtt

from .host import Host
from .picture import Picture

STATE = {"kind": "state", "state": 4, "pos": 9}


@pytest.fixture
def view(host: Host) -> Locator:
    return host.page.locator(".view")


@pytest.fixture
def picture(view: Locator) -> Picture:
    return Picture(view)


def select(host: Host, *selections: object) -> None:
    for selection in selections:
        host.widget.selection = selection
        host.sync()


def test_the_wheel_at_the_end_of_the_panel_scrolls_the_page(host: Host, view: Locator) -> None:
    select(host, STATE)
    host.page.add_style_tag(content="body { height: 4000px }")
    body = view.locator(".panel-body")
    body.evaluate("el => { el.scrollTop = el.scrollHeight }")
    body.hover(position={"x": 40, "y": 100})
    for _ in range(3):
        host.page.mouse.wheel(0, 120)
        host.page.wait_for_timeout(100)
    assert host.page.evaluate("() => scrollY") > 0


def test_a_click_on_empty_ground_lets_the_selection_step_back_and_loses_nothing(
    host: Host, widget: lmtt.FlowWidget, picture: Picture, view: Locator
) -> None:
    select(host, {"kind": "state", "state": 2, "pos": 3}, STATE)
    marked = picture.pixels()
    picture.flow.click(position={"x": 10, "y": 60})
    dimmed = picture.pixels()
    assert dimmed != marked
    assert widget.selection == STATE
    expect(view.locator(".crumb")).to_have_count(2)
    picture.flow.click(position={"x": 10, "y": 60})
    assert picture.pixels() == marked
    picture.flow.click(position={"x": 10, "y": 60})
    view.locator(".crumb").first.click()  # whatever is selected next is marked
    view.locator(".crumb").last.click()
    host.until(lambda: widget.selection == STATE, "the second state again")
    host.page.mouse.move(5, 895)
    assert picture.pixels() == marked


@pytest.mark.parametrize("key", ["F1", "Control+s", "Control+Shift+P", "Meta+p"])
def test_keys_the_widget_has_no_use_for_reach_the_notebook(host: Host, picture: Picture, key: str) -> None:
    host.page.evaluate(
        "() => { window.heard = []; addEventListener('keydown', (event) => { heard.push(event.key); "
        "event.preventDefault() }) }"
    )
    picture.flow.focus()
    host.page.keyboard.press(key)
    assert host.page.evaluate("() => heard.at(-1)").lower() == key.split("+")[-1].lower()


@pytest.mark.parametrize("key", ["x", "Escape", "ArrowDown", "Enter", "0", "Control+z", "Control+ArrowLeft"])
def test_what_is_typed_in_a_field_stays_in_it(host: Host, view: Locator, key: str) -> None:
    host.page.evaluate("() => { window.heard = []; addEventListener('keydown', (event) => { heard.push(event.key) }) }")
    view.get_by_role("textbox", name="Prompt").focus()
    host.page.keyboard.press(key)
    assert [k for k in host.page.evaluate("() => heard") if k != "Control"] == []
