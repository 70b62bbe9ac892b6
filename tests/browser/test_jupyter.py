"""The widget in a real JupyterLab, with a real kernel."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from .jupyter import JupyterServer, run_all, save
from .picture import Picture

EXPLORE = """import lmtt_widget as lmtt
from tests.browser.models import PROMPT, random_model
widget = lmtt.explore(random_model(), PROMPT)
widget"""
# What only the kernel can write.
ECHO = """import ipywidgets
echo = ipywidgets.Label("nothing yet")
def tell(change):
    echo.value = f"{change.name} {change.new} of {widget.run.n_tokens}"
widget.observe(tell, "target")
echo"""


def opened(server: JupyterServer, page: Page, *cells: str) -> Picture:
    server.open(page, server.write(f"{server.app}-{len(list(server.notebooks.iterdir()))}.ipynb", *cells))
    run_all(page)
    page.locator(".lmtt-widget[data-ready='1']").first.wait_for()
    return Picture(page.locator(".lmtt-widget").first)


def test_a_click_reaches_the_kernel_and_a_typed_prompt_its_model(lab: JupyterServer, page: Page) -> None:
    picture = opened(lab, page, EXPLORE, ECHO)
    picture.flow.scroll_into_view_if_needed()
    picture.click("^4 the$")
    expect(page.get_by_text("target 4 of 10")).to_be_visible()
    prompt = picture.view.get_by_role("textbox", name="Prompt")
    prompt.fill("a dog ran home")
    prompt.press("Enter")
    expect(page.get_by_text("target 3 of 4")).to_be_visible()
    expect(picture.view.get_by_role("combobox", name="Explain").locator("option")).to_have_count(4)


def test_what_a_later_cell_sets_is_drawn_above(lab: JupyterServer, page: Page) -> None:
    picture = opened(lab, page, EXPLORE, "widget.target = 2")
    expect(picture.view.get_by_role("combobox", name="Explain")).to_have_value("2")


def test_a_letter_pressed_in_the_picture_does_not_cut_the_cell(lab: JupyterServer, page: Page) -> None:
    picture = opened(lab, page, EXPLORE)
    n_cells = page.locator(".jp-Cell").count()
    picture.flow.focus()
    for key in ("x", "d", "d", "z"):
        page.keyboard.press(key)
    assert page.locator(".jp-Cell").count() == n_cells
    expect(picture.flow).to_be_visible()


def test_a_narrow_notebook_puts_the_panel_under_the_picture(lab: JupyterServer, page: Page) -> None:
    page.set_viewport_size({"width": 900, "height": 1000})
    picture = opened(lab, page, EXPLORE)
    flow, panel = picture.flow.bounding_box(), picture.view.locator(".panel").bounding_box()
    assert flow is not None
    assert panel is not None
    assert panel["y"] >= flow["y"] + flow["height"] - 1


def test_a_saved_notebook_stays_small(lab: JupyterServer, page: Page) -> None:
    opened(lab, page, EXPLORE)
    save(page)
    (latest,) = sorted(lab.notebooks.glob("*.ipynb"), key=lambda path: path.stat().st_mtime)[-1:]
    assert latest.stat().st_size < 400_000
