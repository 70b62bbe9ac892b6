"""Hosts that cannot run here, simulated: outputs in frames of another origin (Colab), a webview with a strict policy
(VS Code), browsers that lack or forbid something, and state that arrives broken."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Frame, FrameLocator, Page, expect

import lmtt_widget as lmtt

from .host import ADDRESS, Host
from .models import PROMPT, random_model
from .picture import Picture

OpenWidget = Callable[..., Host]
NOTEBOOK = "http://notebook.test/"
# No style attribute and no style element, no eval, no worker, no request, no text made HTML. A violation is an error
# in the console, and so in `problems`.
STRICT = (
    f"default-src 'none'; script-src {ADDRESS} blob:; img-src blob:; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# As their own pages have it: the frame's sandbox, what is written on html and body, the policy.
COLAB = {
    "sandbox": "allow-downloads allow-forms allow-pointer-lock allow-popups allow-same-origin allow-scripts",
    "html": 'theme="dark"',
}
VSCODE = {
    "sandbox": "allow-scripts allow-same-origin allow-forms allow-pointer-lock allow-downloads",
    "html": 'style="--vscode-editor-background: #1e1e1e"',
    "body": 'class="vscode-dark" data-vscode-theme-kind="vscode-dark"',
    "style": """.view { background: white !important; }
        table, tr, td, th { background: red; font-size: 40px; padding: 30px; border: 9px solid red; }
        button, input, select { all: unset; font-size: 40px; }""",
}
SURROUNDINGS: dict[str, dict[str, str]] = {"Colab": COLAB, "VS Code": VSCODE, "without an origin": {}}


class FramedHost(Host):
    """Each output of the notebook in a frame of its own, of another origin than the notebook."""

    bytes = "Uint8Array"

    def __init__(
        self,
        page: Page,
        widget: Any,
        problems: list[str],
        *,
        sandbox: str = "allow-scripts",
        html: str = "",
        body: str = "",
        style: str = "",
        n_outputs: int = 1,
    ) -> None:
        policy = f"{STRICT}; style-src 'unsafe-inline'" if style else STRICT
        self.headers = {"Content-Security-Policy": policy, "Access-Control-Allow-Origin": "*"}
        script = f'<script type="module" src="{ADDRESS}host.js"></script>'
        style = f"<style>{style}</style>" if style else ""
        self.inner = f"<!doctype html><html {html}><title>output</title>{style}<body {body}>{script}"
        frame = f'<iframe sandbox="{sandbox}" frameborder="0" width="1100" height="640" src="{ADDRESS}"></iframe>'
        self.outer = "<!doctype html><title>notebook</title><body>" + frame * n_outputs
        super().__init__(page, widget, problems)

    def _go(self, theme: str) -> Frame:
        self.page.goto(NOTEBOOK)
        frames = self.page.frames[1:]
        for frame in frames:
            frame.wait_for_function("() => globalThis.host?.isOpen")
            frame.evaluate("() => host.show()")
            frame.locator(".view [data-ready='1']").wait_for()
        return frames[0]

    def output(self, index: int) -> FrameLocator:
        return self.page.frame_locator("iframe").nth(index)

    def _files(self) -> dict[str, tuple[str, str]]:
        return {
            **super()._files(),
            ADDRESS: ("text/html", self.inner),
            NOTEBOOK: ("text/html", self.outer),
            NOTEBOOK + "favicon.ico": ("image/x-icon", ""),
        }


@pytest.fixture
def widget() -> lmtt.FlowWidget:
    return lmtt.explore(random_model(), PROMPT)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_in_a_frame_of_another_origin_it_hears_python_and_python_hears_it(
    page: Page, problems: list[str], widget: lmtt.FlowWidget, name: str
) -> None:
    host = FramedHost(page, widget, problems, **SURROUNDINGS[name])
    view = host.output(0).locator(".view")
    picture = Picture(view)
    picture.click("^4 the$")
    host.until(lambda: widget.target == 4, "target 4")
    widget.target = 2
    expect(view.get_by_role("combobox", name="Explain")).to_have_value("2")
    widget.selection = {"kind": "state", "state": 3, "pos": 2}
    expect(view.get_by_role("table", name="Logit lens").locator("tbody tr")).to_have_count(10)
    view.get_by_role("button", name="More", exact=True).click()
    view.get_by_role("menuitemradio", name="dark").click()
    host.until(lambda: widget.view["theme"] == "dark", "the dark theme")


@pytest.mark.parametrize("name", ["Colab", "VS Code"])
def test_in_a_frame_of_another_origin_files_are_saved(
    page: Page, problems: list[str], widget: lmtt.FlowWidget, name: str
) -> None:
    view = FramedHost(page, widget, problems, **SURROUNDINGS[name]).output(0).locator(".view")
    for item, start in {"Save as SVG": b"<svg", "Save as PNG": b"\x89PNG", "Save as JSON": b"{"}.items():
        view.get_by_role("button", name="More", exact=True).click()
        with page.expect_download() as download:
            view.get_by_role("menuitem", name=item).click()
        assert download.value.path().read_bytes().startswith(start)


def test_outputs_in_frames_of_their_own_are_one_widget(
    page: Page, problems: list[str], widget: lmtt.FlowWidget
) -> None:
    host = FramedHost(page, widget, problems, **COLAB, n_outputs=2)
    first, second = (Picture(host.output(i).locator(".view")) for i in range(2))
    first.click("^4 the$")
    expect(second.view.get_by_role("combobox", name="Explain")).to_have_value("4")
    second.click("^2 sat$")
    expect(first.view.get_by_role("combobox", name="Explain")).to_have_value("2")
    assert widget.target == 2


class Unechoed(FramedHost):
    """A manager with a state for each output, which hears what Python sends and no echo of what another output set."""

    def _deliver(self) -> None:
        self.outbox[:] = [message for message in self.outbox if message[0].get("method") != "echo_update"]
        super()._deliver()


@pytest.mark.parametrize("where", ["ipywidgets 7", "Colab with ipywidgets 8"])
def test_outputs_that_hear_no_echo_show_the_same_picture_and_its_own_prompt(
    page: Page, problems: list[str], widget: lmtt.FlowWidget, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "ipywidgets 7":
        monkeypatch.setattr("ipywidgets.widgets.widget.JUPYTER_WIDGETS_ECHO", False)
    else:
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    host = Unechoed(page, widget, problems, **COLAB, n_outputs=2)
    first, second = (host.output(i).locator(".view") for i in range(2))
    Picture(first).click("^4 the$")
    expect(second.get_by_role("combobox", name="Explain")).to_have_value("4")
    box = second.get_by_role("textbox", name="Prompt")
    box.fill("a dog ran home")
    box.press("Enter")
    for view in (first, second):
        expect(view.get_by_role("textbox", name="Prompt")).to_have_value("a dog ran home")
        expect(view.get_by_role("combobox", name="Prompts, 2 of 2 shown")).to_be_visible()
        expect(view.get_by_role("combobox", name="Explain")).to_have_value("3")
    first.get_by_role("combobox", name="Prompts, 2 of 2 shown").select_option("0")
    for view in (first, second):
        expect(view.get_by_role("textbox", name="Prompt")).to_have_value(PROMPT)
        expect(view.get_by_role("combobox", name="Prompts, 1 of 2 shown")).to_be_visible()


def test_the_notebooks_own_rules_do_not_reach_into_it(page: Page, problems: list[str], widget: lmtt.FlowWidget) -> None:
    widget.selection = {"kind": "state", "state": 3, "pos": 2}
    host = FramedHost(page, widget, problems, **VSCODE)
    cell = host.output(0).locator(".view").get_by_role("table", name="Logit lens").locator("tbody td").first
    looks = cell.evaluate(
        "el => (({ fontSize, backgroundColor, borderTopWidth }) => "
        "[fontSize, backgroundColor, borderTopWidth])(getComputedStyle(el))"
    )
    assert looks[0] == "12px"
    assert "255, 0, 0" not in looks[1]
    assert looks[2] != "9px"


# what a host says of itself, what it paints behind the widget, and what the widget is to be
THEMES = [
    ({"data-vscode-theme-kind": "vscode-dark"}, {}, "white", "dark"),
    ({"data-vscode-theme-kind": "vscode-high-contrast"}, {}, "white", "dark"),
    ({"data-vscode-theme-kind": "vscode-high-contrast-light"}, {}, "white", "light"),
    ({"data-vscode-theme-kind": "vscode-light"}, {}, "", "light"),
    ({}, {"theme": "dark"}, "", "dark"),
    ({}, {"theme": "light"}, "", "light"),
    ({}, {}, "white", "light"),
    ({}, {}, "", "light"),
    ({}, {}, "rgb(30, 30, 30)", "dark"),
]
DRESS = """([body, html, background]) => {
  for (const [el, attributes] of [[document.body, body], [document.documentElement, html]]) {
    for (const name of [...el.getAttributeNames()]) el.removeAttribute(name);
    for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  }
  document.body.style.background = background;
}"""


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_host_decides_on_light_and_dark_and_not_the_system(
    page: Page, problems: list[str], widget: lmtt.FlowWidget, system: Any
) -> None:
    page.emulate_media(color_scheme=system)
    host = FramedHost(page, widget, problems)
    root = host.output(0).locator(".view .root")
    for body, html, background, wanted in THEMES:
        host.frame.evaluate(DRESS, [body, html, background])
        is_dark = expect(root).to_have_class if wanted == "dark" else expect(root).not_to_have_class
        is_dark(re.compile(r"\bdark\b"))
        # its own background, whatever is behind
        red = int(root.evaluate("el => getComputedStyle(el).backgroundColor.match(/\\d+/)[0]"))
        assert (red < 60) == (wanted == "dark"), (body, html, background)


def test_a_view_drawn_before_it_is_in_the_page_takes_its_looks_once_it_is(
    open_widget: OpenWidget, widget: lmtt.FlowWidget
) -> None:
    host = open_widget(widget)
    host.page.evaluate("""async () => {
      for (const name of document.body.getAttributeNames()) document.body.removeAttribute(name);
      const append = document.body.append;
      let el;
      document.body.append = (child) => { el = child; };
      await host.show();
      document.body.append = append;
      const cell = document.createElement('div');
      cell.style.background = '#111';
      document.body.append(cell);
      cell.append(el);
    }""")
    root = host.page.locator(".view").last.locator(".root")
    expect(root).to_have_class(re.compile(r"\bdark\b"))
    expect(host.page.locator(".view").first.locator(".root")).not_to_have_class(re.compile(r"\bdark\b"))
    host.page.locator(".view [data-ready='1']").nth(1).wait_for()
    assert Picture(host.page.locator(".view").last).n_edges > 0


# ---- what a browser lacks or forbids ----

NOT_NEEDED = """for (const name of ['WebAssembly', 'Worker', 'SharedWorker', 'SharedArrayBuffer', 'OffscreenCanvas',
    'fetch', 'XMLHttpRequest', 'WebSocket', 'EventSource', 'indexedDB', 'caches', 'crypto', 'localStorage',
    'sessionStorage', 'alert', 'confirm', 'prompt', 'open', 'Notification']) {
  Object.defineProperty(globalThis, name, { get() { throw new Error(`${name} is not for us`); }, configurable: true });
}"""


def test_it_needs_no_storage_worker_request_or_webassembly(
    page: Page, problems: list[str], widget: lmtt.FlowWidget
) -> None:
    page.add_init_script(NOT_NEEDED)
    host = FramedHost(page, widget, problems)
    view = host.output(0).locator(".view")
    assert (
        host.frame.evaluate("() => { try { fetch } catch (error) { return error.message } }") == "fetch is not for us"
    )
    Picture(view).click("^4 the$")
    host.until(lambda: widget.target == 4, "target 4")
    widget.selection = {"kind": "edge", "state": 1, "query": 4, "key": 0}
    expect(view.get_by_role("heading", name="Heads on this line")).to_be_visible()


LACKING = {
    "no observer": ("delete globalThis.ResizeObserver", "ResizeObserver"),
    "no style sheets": ("globalThis.CSSStyleSheet = undefined", "CSSStyleSheet"),
    "no canvas": ("HTMLCanvasElement.prototype.getContext = () => null", "canvas"),
    "no shadow roots": ("Element.prototype.attachShadow = undefined", "attachShadow"),
}


@pytest.mark.parametrize("name", LACKING)
def test_what_a_browser_lacks_is_told_with_the_next_step(
    page: Page, problems: list[str], widget: lmtt.FlowWidget, name: str
) -> None:
    script, missing = LACKING[name]
    page.add_init_script(script)
    host = FramedHost(page, widget, problems)
    alert = host.output(0).get_by_role("alert")
    expect(alert).to_contain_text("The widget could not be drawn")
    expect(alert).to_contain_text("update the browser")
    expect(alert).to_contain_text(missing)
    box = alert.bounding_box()
    assert box is not None
    assert box["width"] > 200
    assert box["height"] > 60
    assert [problem for problem in problems if missing in problem], "the console has the error for those who report it"
    problems.clear()


# ---- state that arrives broken ----

BROKEN: list[dict[str, Any]] = [
    {name: value}
    for name in ("graph", "peek", "detail", "target", "threshold", "encoding", "reading", "foil", "selection")
    for value in (None, 7, -1, "text", "nan", [], [None], {}, {"kind": "state"}, True)
] + [
    {name: value}
    for name in ("view", "prompts", "prompt", "status", "pins", "renormalise", "normalise")
    for value in (None, 7, "text", [], [None], {}, [{}], {"height": "tall", "theme": 3}, {"state": "error"})
]
# What a reader sees of a view for each of the states, once it is ready: its text and its height.
SEEN = """async (states) => {
  for (const state of states) await host.show(0, state);
  const seen = [...document.querySelectorAll('.view')].slice(-states.length).map(async (view) => {
    const shown = view.firstChild;
    for (let i = 0; i < 1500 && shown.dataset.ready !== '1'; i++) await new Promise((done) => setTimeout(done, 10));
    const root = shown.shadowRoot.querySelector('.root');
    return [shown.dataset.ready === '1' ? root.innerText.trim() : '', root.getBoundingClientRect().height];
  });
  const all = await Promise.all(seen);
  for (const _ of states) await host.remove(-1);
  return all;
}"""


def test_no_broken_trait_leaves_a_blank_output(page: Page, problems: list[str], widget: lmtt.FlowWidget) -> None:
    host = FramedHost(page, widget, problems)
    at_once = 20
    for start in range(0, len(BROKEN), at_once):
        states = BROKEN[start : start + at_once]
        for state, (text, height) in zip(states, host.frame.evaluate(SEEN, states), strict=True):
            assert len(text) > 20, state
            assert height > 100, state
    assert not [problem for problem in problems if problem.startswith("exception")]
    problems.clear()  # where nothing could be drawn, the console has what the panel says


PUT = """async (text) => {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  host.model.assign({ graph: bytes });
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return document.querySelector('.lmtt-widget').shadowRoot.querySelector('.root').innerText.trim();
}"""


def test_no_damaged_graph_leaves_a_blank_output(page: Page, problems: list[str], widget: lmtt.FlowWidget) -> None:
    host = FramedHost(page, widget, problems)
    chance = random.Random(0)
    for _ in range(60):
        damaged = bytearray(widget.graph)
        for _ in range(chance.choice([1, 4, 64])):
            damaged[chance.randrange(chance.choice([8, 400, len(damaged)]))] = chance.randrange(256)
        del damaged[chance.choice([len(damaged), chance.randrange(len(damaged))]) :]
        assert len(host.frame.evaluate(PUT, base64.b64encode(damaged).decode())) > 20
    assert not [problem for problem in problems if problem.startswith("exception")]
    problems.clear()
    host.frame.evaluate(PUT, base64.b64encode(widget.graph).decode())
    expect(host.output(0).locator(".view .root")).to_be_visible()


def test_a_model_that_throws_is_told(open_widget: OpenWidget, widget: lmtt.FlowWidget, problems: list[str]) -> None:
    host = open_widget(widget)
    host.page.evaluate("""async () => {
      host.model.get = () => { throw new Error('the comm is gone'); };
      await host.show();
    }""")
    expect(host.page.get_by_role("alert")).to_contain_text("the comm is gone")
    assert any("the comm is gone" in problem for problem in problems)
    problems.clear()
