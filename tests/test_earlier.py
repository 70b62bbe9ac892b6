"""What earlier versions saved opens today: the files in tests/fixtures, each written once by the version named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import lmtt_widget as lmtt
from lmtt_widget.saved import Analysis, from_json, to_json
from lmtt_widget.wire import unpack

V0_1 = Path(__file__).parent / "fixtures" / "v0_1"
PROMPTS = ["When Mary and John went to the store, John gave a drink to", "Mary went home because"]
KINDS = ["head", "head", "state", "state", "edge", "carried", "mlp", "neuron", "token"]


def inside(page: Path) -> Analysis:
    """The analysis that a saved page carries."""
    (data,) = re.findall(r'<script type="application/json" id="analysis">(.*?)</script>', page.read_text("utf-8"))
    return from_json(data)


def lines_of(svg: str) -> int:
    return len(list(ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")))


def test_a_saved_analysis_opens_as_it_was_shown() -> None:
    w = lmtt.load_json(V0_1 / "analysis.json")
    assert w.prompts == PROMPTS
    assert (w.prompt, w.target, w.encoding, w.reading, w.foil) == (PROMPTS[0], 13, "share", "sum", " John")
    assert w.threshold == 0.06
    assert w.view == {"fold": False, "height": 560, "theme": "dark", "panel": True, "text": 1}
    assert w.selection == {"kind": "head", "head": 6, "state": 5, "query": 13, "key": 1}
    assert [pin["head"] for pin in w.pins] == [2]
    answers = unpack(w.detail)[1]["answers"]
    assert [a["slot"] for a in answers] == ["selection", "pin"]
    assert not [a for a in answers if "error" in a]
    assert lines_of(w.svg()) > 5
    w.close()


@pytest.mark.parametrize("name", ["analysis.json", "page.html"])
def test_every_saved_answer_is_given_again(name: str) -> None:
    path = V0_1 / name
    analysis = inside(path) if name == "page.html" else from_json(path.read_text("utf-8"))
    (saved, other) = analysis.prompts
    assert [answer["kind"] for answer in saved.answers] == KINDS
    assert other.facts["prompt"] == PROMPTS[1]
    w = lmtt.SavedWidget(analysis)
    for answer in saved.answers:
        w.selection = answer["question"]
        _, meta, sections = unpack(w.detail)
        got = meta["answers"][0]
        assert {k: v for k, v in answer.items() if k != "maps"}.items() <= got.items()
        assert {n for n in sections if n.startswith("a0.")} == {f"a0.{n}" for n in answer["maps"]}
    w.close()


def test_what_the_menu_saved_opens() -> None:
    w = lmtt.load_json(V0_1 / "menu.json")
    assert (w.prompt, w.target, w.encoding) == (PROMPTS[1], 3, "flow")
    assert w.selection == {"kind": "token", "pos": 2}
    assert "error" not in unpack(w.detail)[1]["answers"][0]
    assert lines_of(w.svg()) > 5
    w.close()


def test_a_saved_analysis_is_saved_again_with_all_that_was_in_it(tmp_path: Path) -> None:
    w = lmtt.load_json(V0_1 / "analysis.json")
    page = lmtt.save_html(w, tmp_path / "page.html")
    assert to_json(inside(page)) == to_json(w.analysis())
    assert [answer["kind"] for answer in inside(page).prompts[0].answers] == KINDS
    w.close()


WITHOUT_TORCH = '''
import sys

class Missing:
    """Finds torch and transformers nowhere."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

sys.meta_path.insert(0, Missing())
import lmtt_widget as lmtt

widget = lmtt.load_json(sys.argv[1])
print(widget.routes)
print(lmtt.save_html(widget, sys.argv[2]).stat().st_size > 100_000)
try:
    lmtt.record
except ModuleNotFoundError as error:
    print(error)
'''


@pytest.mark.parametrize("name", ["repeat", "bincount"])
def test_a_saved_analysis_opens_where_numpy_counts_in_32_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a browser: there numpy takes no 64-bit numbers where it counts."""
    real = getattr(np, name)

    def narrow(x: Any, *args: Any, **keys: Any) -> Any:
        counts = np.asarray(args[0] if name == "repeat" else x)
        assert np.can_cast(counts.dtype, np.int32), counts.dtype
        return real(x, *args, **keys)

    monkeypatch.setattr(np, "intp", np.int32)
    monkeypatch.setattr(np, name, narrow)
    widget = lmtt.load_json(V0_1 / "analysis.json")
    before = widget.routes.input_share.tolist()
    widget.target = 3
    assert widget.routes.input_share.tolist() != before
    assert widget.page()


def test_a_saved_analysis_opens_where_there_is_no_torch(tmp_path: Path) -> None:
    """As in a notebook that runs in the browser."""
    args = [sys.executable, "-c", WITHOUT_TORCH, str(V0_1 / "analysis.json"), str(tmp_path / "page.html")]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    routes, page, missing = done.stdout.splitlines() or pytest.fail(done.stderr)
    assert routes == str(lmtt.load_json(V0_1 / "analysis.json").routes)
    assert page == "True"
    assert missing == (
        "record needs torch and transformers, which are not installed here: pip install torch transformers. "
        "Saved analyses open without them: load_json(path)"
    )
