"""What a host loads for every widget is a few lines; the script itself is unfolded once in a page."""

from __future__ import annotations

import re

import lmtt_widget as lmtt

from .host import Host

# As a host does, for every run of a cell; says how many bytes became an address that a page loads scripts from.
LOAD = """async ([esm, code]) => {
  let made = 0;
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    made += blob.size;
    return make.call(URL, blob);
  };
  try {
    const address = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
    const { default: widget } = await import(address);
    const el = document.body.appendChild(document.createElement("div"));
    const get = (name) => (name === "_code" && code ? new Uint8Array(code) : host.model.get(name));
    const model = Object.assign(Object.create(host.model), { get });
    const cleanup = await widget.render({ model, el });
    const said = el.textContent;
    cleanup?.();
    el.remove();
    return [made, said];
  } finally {
    URL.createObjectURL = make;
  }
}"""


def test_the_script_is_unfolded_once_in_a_page(host: Host, widget: lmtt.FlowWidget) -> None:
    esm = str(widget._esm)
    assert len(esm) < 1_000
    for _ in range(2):
        assert host.page.evaluate(LOAD, [esm, None])[0] == len(esm)  # the picture on show has unfolded it


def test_another_version_of_the_script_is_one_of_its_own(host: Host, widget: lmtt.FlowWidget) -> None:
    esm = str(widget._esm)
    other = esm.replace("lmtt_widget ", "lmtt_widget other ")
    assert host.page.evaluate(LOAD, [other, None])[0] > 100 * len(esm)


def test_a_script_that_cannot_be_unfolded_is_said_and_tried_again(host: Host, widget: lmtt.FlowWidget) -> None:
    esm = str(widget._esm).replace("lmtt_widget ", "lmtt_widget broken ")
    _, said = host.page.evaluate(LOAD, [esm, [1, 2, 3]])
    assert re.fullmatch(r"The widget's script could not be loaded \(.+\)\. It needs a browser of 2023 or newer\.", said)
    assert host.page.evaluate(LOAD, [esm, None])[1] == ""


def test_a_browser_that_cannot_unfold_is_said(host: Host, widget: lmtt.FlowWidget) -> None:
    host.page.evaluate("() => { delete globalThis.DecompressionStream; }")
    _, said = host.page.evaluate(LOAD, [str(widget._esm).replace("lmtt_widget ", "lmtt_widget old "), None])
    assert "DecompressionStream is not defined" in said
