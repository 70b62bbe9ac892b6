"""What is saved is what was on show, opens without a model, and is refused with a sentence when it cannot be."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import lmtt_widget as lmtt
from lmtt_widget import figures
from lmtt_widget.saved import FORMAT, NOT_SAVED, SavedPrompt, from_json, to_json
from lmtt_widget.wire import pack, unpack

from . import text

PROMPT = "the dog gave John a drink"
HOSTILE = "</script><script>dog</script> \u2028 \u202e <!-- &amp; ' \" ]]> \x00"
SAVERS = {
    "page.html": lmtt.save_html, "figure.svg": lmtt.save_svg, "figure.png": lmtt.save_png, "it.json": lmtt.save_json,
}  # fmt: skip
Save = Callable[..., Path]


@pytest.fixture(scope="module")
def shared() -> Iterator[lmtt.FlowWidget]:
    """For tests that leave it as it is."""
    w = lmtt.explore(text.model(), PROMPT)
    yield w
    w.close()


@pytest.fixture
def widget() -> Iterator[lmtt.FlowWidget]:
    w = lmtt.explore(text.model(), PROMPT)
    yield w
    w.close()


# ---- the page ----


class Tags(HTMLParser):
    """Every tag, and the text inside each kind of script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str | None, str] = {}
        self.at: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.at = dict(attrs).get("type")

    def handle_endtag(self, tag: str) -> None:
        self.at = None

    def handle_data(self, data: str) -> None:
        self.inside[self.at] = self.inside.get(self.at, "") + data


def test_a_page_runs_nothing_but_its_own_script_and_asks_nobody(shared: lmtt.FlowWidget) -> None:
    page = shared.page("nothing")
    tags = Tags(page)
    policy = next(a["content"] for tag, a in tags.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    hashed = base64.b64encode(hashlib.sha256(tags.inside["module"].encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not [a for _, a in tags.found if {"src", "href", "style", "onload"} & set(a)]


def test_hostile_prompts_are_data_in_the_page_and_text_in_the_figure() -> None:
    plain = lmtt.explore(text.model(), PROMPT)
    w = lmtt.explore(text.model(), [HOSTILE, PROMPT])
    page, figure = w.page("nothing"), w.svg()
    assert [tag for tag, _ in Tags(page).found] == [tag for tag, _ in Tags(plain.page("nothing")).found]
    assert not re.search("[\u2028\u202e\x00]", page)
    assert json.loads(Tags(page).inside["application/json"])["prompts"][0]["prompt"] == HOSTILE
    assert "<script" not in figure
    ElementTree.fromstring(figure)
    for each in (plain, w):
        each.close()


def test_a_page_is_the_analysis_with_the_details_of_the_visible_routes(shared: lmtt.FlowWidget, tmp_path: Path) -> None:
    page = lmtt.save_html(shared, tmp_path / "page.html").read_text("utf-8")
    saved = from_json(Tags(page).inside["application/json"]).prompts[0]
    assert saved.graph[:4] == b"LMTW"
    asked = [answer["question"] for answer in saved.answers]
    edges = shared.routes.edges(shared.routes.automatic_threshold())
    for edge in edges:
        assert {"kind": "state", "state": edge.state, "pos": edge.query} in asked
        if edge.kind == "attention":
            question = {"kind": "edge", "state": edge.state, "query": edge.query, "key": edge.key}
            assert question in asked
            assert any({**question, "kind": "head", "head": q.get("head")} == q for q in asked)
    assert len({json.dumps(q, sort_keys=True) for q in asked}) == len(asked)


def test_saved_answers_are_the_live_ones(widget: lmtt.FlowWidget) -> None:
    question = {"kind": "head", "state": 3, "head": 1, "query": 4, "key": 2}
    widget.selection = question
    (saved,) = widget.analysis("nothing").prompts
    _, live, maps = unpack(widget.detail)
    _, kept, kept_maps = unpack(saved.detail([("selection", 0, question)]))
    assert kept["answers"] == live["answers"]
    assert {name: values.tolist() for name, values in kept_maps.items()} == {n: v.tolist() for n, v in maps.items()}


def test_what_is_included_can_be_chosen(widget: lmtt.FlowWidget) -> None:
    token = {"kind": "token", "pos": 1}
    assert [a["question"] for a in widget.analysis("nothing").prompts[0].answers] == []
    widget.pins = [{"kind": "token", "pos": 2}]
    assert [a["question"] for a in widget.analysis([token]).prompts[0].answers] == [*widget.pins, token]
    with pytest.raises(ValueError, match='include is "auto", "nothing" or a list of selections, got \'all\''):
        widget.analysis("all")
    with pytest.raises(ValueError, match=r"pos must be in 0\.\.10, got 99"):
        widget.analysis([{"kind": "token", "pos": 99}])


def test_the_details_fit_the_budget(shared: lmtt.FlowWidget) -> None:
    everything = shared.page()
    budget = len(everything) - 20_000
    page = shared.page(max_bytes=budget)
    assert len(page) <= budget
    few, many = (len(from_json(Tags(p).inside["application/json"]).prompts[0].answers) for p in (page, everything))
    assert 0 < few < many


def test_every_prompt_is_in_the_page_in_the_order_given() -> None:
    w = lmtt.explore(text.model(), [PROMPT, "a dog", "John gave"])
    w.prompt = "a dog"
    analysis = from_json(to_json(w.analysis()))
    assert [p.prompt for p in analysis.prompts] == [PROMPT, "a dog", "John gave"]
    assert analysis.at == 1
    assert all(p.answers for p in analysis.prompts)
    assert len({p.facts["run"] for p in analysis.prompts}) == 3
    w.close()


# ---- figures ----


def test_a_figure_has_every_drawn_line_and_its_text(shared: lmtt.FlowWidget) -> None:
    svg = ElementTree.fromstring(shared.svg(width=640, height=400))
    assert (svg.get("width"), svg.get("height")) == ("640", "400")
    texts = ["".join(t.itertext()) for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {token.text for token in shared.run.tokens} <= set(texts)


def test_a_figure_follows_the_traits(widget: lmtt.FlowWidget) -> None:
    before = widget.svg()
    widget.target = 2
    other = widget.svg()
    assert other != before
    widget.view = {"theme": "dark"}
    assert "#0d1117" in widget.svg()
    assert widget.svg(theme="light") == other


def test_a_png_has_scale_pixels_for_every_px(shared: lmtt.FlowWidget, tmp_path: Path) -> None:
    data = lmtt.save_png(shared, tmp_path / "f.png", width=300, height=200, scale=3).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (900, 600)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 5}, r"width \(in pixels\) must be in 120\.\.10000, got 5"),
        ({"height": float("nan")}, r"height \(in pixels\) must be in"),
        ({"theme": "pink"}, 'theme must be "auto", "light" or "dark", got \'pink\''),
        ({"scale": 0}, r"scale must be in 0\.1\.\.10, got 0"),
    ],
)
def test_a_figure_out_of_range_is_refused(shared: lmtt.FlowWidget, tmp_path: Path, options: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        lmtt.save_png(shared, tmp_path / "f.png", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["quickjs", "resvg_py"])
def test_without_the_extra_the_sentence_says_what_to_install_and_the_widget_is_shown(
    shared: lmtt.FlowWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "lmtt-widget\[figures\]"'):
        lmtt.save_png(shared, tmp_path / "f.png")
    assert not list(tmp_path.iterdir())
    data, _ = shared._repr_mimebundle_()
    assert "image/png" not in data
    assert "application/vnd.jupyter.widget-view+json" in data


# ---- the preview ----


def test_a_displayed_widget_carries_its_picture(widget: lmtt.FlowWidget) -> None:
    data, metadata = widget._repr_mimebundle_()
    assert base64.b64decode(data["image/png"])[:4] == b"\x89PNG"
    assert metadata["image/png"] == {"width": figures.WIDTH}
    widget.preview = False
    assert "image/png" not in widget._repr_mimebundle_()[0]


def test_a_preview_that_fails_or_takes_long_is_left_out(
    widget: lmtt.FlowWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmtt_widget.shown._PREVIEWED", 100)
    assert "image/png" not in widget._repr_mimebundle_()[0]
    monkeypatch.undo()
    widget.graph = b"LMTW nonsense"
    assert "image/png" not in widget._repr_mimebundle_()[0]


def test_a_snapshot_is_the_page_in_a_frame_that_may_do_nothing_else(shared: lmtt.FlowWidget) -> None:
    tags = Tags(shared.snapshot("nothing").data)
    (frame,) = [a for tag, a in tags.found if tag == "iframe"]
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert frame["srcdoc"] == shared.page("nothing")
    assert any(tag == "img" for tag, _ in tags.found)


# ---- and back ----


def test_a_saved_analysis_comes_back_as_it_was(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    widget.target, widget.threshold, widget.view = 3, 0.02, {"fold": False}
    widget.selection = {"kind": "state", "state": 4, "pos": 3}
    back = lmtt.load_json(lmtt.save_json(widget, tmp_path / "it.json"))
    for name in ("target", "threshold", "encoding", "view", "selection", "prompt", "prompts"):
        assert getattr(back, name) == getattr(widget, name), name
    assert back.svg() == widget.svg()
    assert unpack(back.detail)[1]["answers"] == unpack(widget.detail)[1]["answers"]
    assert to_json(back.analysis()) == (tmp_path / "it.json").read_text()
    back.close()


def test_a_threshold_in_the_unit_of_shares_comes_back(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    widget.encoding, widget.threshold = "share", 0.07
    back = lmtt.load_json(lmtt.save_json(widget, tmp_path / "it.json"))
    assert (back.encoding, back.threshold) == ("share", 0.07)
    assert back.svg() == widget.svg()
    back.close()


def test_the_routes_of_a_saved_analysis_are_those_on_show(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    widget.target = 4
    back = lmtt.load_json(lmtt.save_json(widget, tmp_path / "it.json"))
    live = {(e.kind, e.state, e.query, e.key): e.flow for e in widget.routes.edges(0.01)}
    saved = {(e.kind, e.state, e.query, e.key): e.flow for e in back.routes.edges(0.0)}
    assert live
    assert {key: saved[key] for key in live} == pytest.approx(live, rel=5e-3)
    back.close()


def test_a_saved_widget_answers_what_was_saved_and_says_what_was_not(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    head = {"kind": "head", "state": 3, "head": 1, "query": 4, "key": 2}
    lmtt.save_json(widget, tmp_path / "it.json", include=[head])
    back = lmtt.load_json(tmp_path / "it.json")
    back.set_state({"selection": {**head, "query": 5, "key": 1}})
    widget.selection = back.selection
    (answer,), (live,) = (unpack(w.detail)[1]["answers"] for w in (back, widget))
    assert answer["note"] == NOT_SAVED
    assert answer["all"] is None
    assert (answer["share"], answer["attention"]) == pytest.approx((live["share"], live["attention"]), rel=1e-3)
    back.set_state({"selection": {**head, "part": answer["part"]}})  # named, though there is no other
    assert unpack(back.detail)[1]["answers"][0]["all"]
    back.set_state({"selection": {**head, "key": None}})
    widget.selection = back.selection
    (answer,), (live,) = (unpack(w.detail)[1]["answers"] for w in (back, widget))
    assert answer["attention"] is None
    assert answer["share"] == pytest.approx(live["share"], rel=1e-3)
    back.set_state({"selection": {"kind": "token", "pos": 1}})
    assert unpack(back.detail)[1]["answers"][0]["error"] == NOT_SAVED
    back.set_state({"prompt": "another"})
    assert back.status["text"] == "this analysis was saved without its model, so only its own prompts can be shown"
    back.set_state({"normalise": False})
    assert back.normalise is True
    assert "normalise cannot be changed" in back.status["text"]
    back.set_state({"target": 99})
    assert "target must be a position in 0..10" in back.status["text"]
    back.close()


def test_a_saved_analysis_opens_without_torch(shared: lmtt.FlowWidget, tmp_path: Path) -> None:
    lmtt.save_json(shared, tmp_path / "it.json")
    code = (
        "import sys, lmtt_widget as l; w = l.load_json('it.json'); w.target = 2; l.save_svg(w, 'f.svg');"
        "l.save_html(w, 'p.html'); print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(lmtt.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    assert (tmp_path / "f.svg").is_file()


def test_prompts_of_a_saved_widget_change_without_a_model(tmp_path: Path) -> None:
    w = lmtt.explore(text.model(), [PROMPT, "a dog"])
    back = lmtt.load_json(lmtt.save_json(w, tmp_path / "it.json"))
    back.selection = {"kind": "token", "pos": 4}
    back.prompt = "a dog"
    assert (back.target, back.threshold, back.selection) == (1, None, None)
    assert (
        unpack(back.graph)[1]["tokens"]["text"] == unpack(w.analysis("nothing").prompts[1].graph)[1]["tokens"]["text"]
    )
    for each in (w, back):
        each.close()


def test_what_the_menu_saves_is_taken_too(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    widget.selection = {"kind": "token", "pos": 1}
    messages = {n: base64.b64encode(getattr(widget, n)).decode() for n in ("graph", "peek", "detail")}
    shown = {"target": 2, "selection": widget.selection}
    whole = {"format": FORMAT, "version": "1.0", "shown": shown, "at": 0, "prompts": [{"prompt": PROMPT, **messages}]}
    (tmp_path / "menu.json").write_text(json.dumps(whole))
    back = lmtt.load_json(tmp_path / "menu.json")
    assert back.target == 2
    assert "error" not in unpack(back.detail)[1]["answers"][0]
    back.close()


# ---- what cannot be ----


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize("path", ["page.pdf", "page", ".html.txt"])
def test_an_unknown_ending_is_refused(shared: lmtt.FlowWidget, tmp_path: Path, name: str, path: str) -> None:
    with pytest.raises(ValueError, match=r"the file's name must end in \.\w+, got"):
        SAVERS[name](shared, tmp_path / path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SAVERS)
def test_a_path_that_cannot_be_written_leaves_nothing(shared: lmtt.FlowWidget, tmp_path: Path, name: str) -> None:
    save = SAVERS[name]
    options = {"include": "nothing"} if name in ("page.html", "it.json") else {}
    with pytest.raises(OSError, match=r"cannot be written: No such file or directory"):
        save(shared, tmp_path / "nowhere" / name, **options)
    (tmp_path / name).mkdir()
    with pytest.raises(OSError, match="cannot be written: "):
        save(shared, tmp_path / name, **options)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_full_disk_leaves_the_older_file_whole(
    shared: lmtt.FlowWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Path, data: bytes) -> int:
        with self.open("wb") as f:
            f.write(data[:10])
        raise OSError(28, "No space left on device")

    (tmp_path / "figure.svg").write_text("older")
    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(OSError, match=r"figure\.svg cannot be written: No space left on device"):
        lmtt.save_svg(shared, tmp_path / "figure.svg")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("figure.svg", "older")]


def test_a_page_over_the_budget_is_refused(shared: lmtt.FlowWidget, tmp_path: Path) -> None:
    for save, name in ((lmtt.save_html, "p.html"), (lmtt.save_json, "p.json")):
        with pytest.raises(
            ValueError, match=r"this would take \d\.\d MB, more than the 0\.001 MB allowed: include less"
        ):
            save(shared, tmp_path / name, max_bytes=1000)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def good(shared: lmtt.FlowWidget) -> str:
    return to_json(shared.analysis([{"kind": "head", "state": 3, "head": 1, "query": 4, "key": 2}]))


def refused(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        lmtt.load_json(path)
    return str(error.value).removeprefix(f"{path} cannot be opened: ")


def test_a_file_that_was_cut_off_is_refused(good: str, tmp_path: Path) -> None:
    for n in (50, len(good) // 2, len(good) - 1):
        assert refused(tmp_path / "it.json", good[:n]) == "it is cut off"


def test_another_file_is_refused(tmp_path: Path) -> None:
    for content in ("", "[]", "{}", '{"format": "x"}', "<html>", b"\xff\xfe\x00", "[" * 100_000):
        assert refused(tmp_path / "it.json", content) == "it is no analysis saved by lmtt_widget"
    with pytest.raises(OSError, match=r"none\.json cannot be read: No such file or directory"):
        lmtt.load_json(tmp_path / "none.json")


def test_a_newer_version_is_refused_and_a_newer_minor_version_is_not(good: str, tmp_path: Path) -> None:
    newer = good.replace('"version": "1.0"', '"version": "2.0"')
    assert refused(tmp_path / "it.json", newer) == "it has version '2.0', which needs a newer lmtt_widget"
    from_json(good.replace('"version": "1.0"', '"version": "1.7"'))


def damages(good: str) -> Iterator[dict[str, Any]]:
    whole = json.loads(good)
    (prompt,) = whole["prompts"]
    kind, meta, sections = unpack(zlib.decompress(base64.b64decode(prompt["data"])))

    def with_data(data: bytes) -> dict[str, Any]:
        return {**whole, "prompts": [{**prompt, "data": base64.b64encode(data).decode()}]}

    yield {**whole, "prompts": []}
    yield {**whole, "prompts": None}
    yield {**whole, "at": 5}
    yield {**whole, "at": "x"}
    yield {**whole, "shown": None}
    yield {**whole, "prompts": [{**prompt, "data": "%%%"}]}
    yield with_data(b"nothing")
    yield with_data(zlib.compress(b"LMTW" + b"\xff" * 40))
    yield with_data(zlib.compress(pack("graph", meta, sections)))
    yield with_data(zlib.compress(pack(kind, {"answers": [{}]}, sections)))
    yield with_data(zlib.compress(pack(kind, {"answers": [{"question": 1, "maps": {}}]}, sections)))
    yield with_data(zlib.compress(pack(kind, meta, {**sections, "graph": sections["peek"]})))
    yield with_data(zlib.compress(b"\0" * (1 << 29), 9))  # half a gigabyte in half a megabyte
    header = {"version": 1, "kind": "saved", "meta": meta, "sections": {"graph": {"dtype": "uint8", "shape": [-1]}}}
    text = json.dumps(header).encode()
    yield with_data(zlib.compress(b"LMTW" + len(text).to_bytes(4, "little") + text))


def test_a_damaged_or_hostile_file_is_refused(good: str, tmp_path: Path) -> None:
    for damaged in damages(good):
        assert refused(tmp_path / "it.json", json.dumps(damaged)).startswith("it is damaged: ")


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        ({"target": 99}, "target must be a position in 0..10"),
        ({"target": "x"}, "expected an int"),
        ({"view": {"height": "100%"}}, "height must be in 420..900 pixels"),
        ({"selection": "<img>"}, 'a selection is a dictionary with a "kind"'),
        ({"pins": [1]}, 'a selection is a dictionary with a "kind"'),
        ({"encoding": "x"}, 'encoding must be "flow" or "share"'),
    ],
)
def test_traits_that_cannot_be_are_refused(good: str, tmp_path: Path, shown: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(tmp_path / "it.json", json.dumps({**json.loads(good), "shown": shown}))


def test_a_map_that_answers_share_is_saved_once(shared: lmtt.FlowWidget) -> None:
    cells = [{"kind": "head", "state": 3, "head": 1, "query": 5, "key": key} for key in range(5)]
    saved: SavedPrompt = shared.analysis(cells).prompts[0]
    _, _, sections = unpack(zlib.decompress(saved.folded))
    assert len(saved.answers) == 5
    assert {name for name in sections if name.startswith("m")} == {"m0", "m1"}
