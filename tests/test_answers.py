"""What an answer says, declares, and is told to the browser are one; a kind is registered by its file."""

from __future__ import annotations

import re
import runpy
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmtt_widget import Edit, answers, attribute, load_model, record
from lmtt_widget.answers.question import Record
from lmtt_widget.state import detail_state
from lmtt_widget.wire import unpack

from . import zoo

ROOT = Path(__file__).resolve().parents[1]
ASKED = {
    "state": [{"state": 0, "pos": 3}, {"state": 4, "pos": 3}],
    "carried": [{"state": 4, "pos": 3}],
    "cut": [
        {"state": 1, "query": 3, "key": 1},
        {"state": 1, "query": 3, "head": 2},
        {"state": 2, "query": 3, "neuron": 5},
    ],
    "edge": [{"state": 1, "query": 3, "key": 1}],
    "contrast": [{}],
    "edits": [{}],
    "continued": [{"n_tokens": 2}],
    "enough": [{"threshold": 0.1, "encoding": "flow", "reading": "max"}],
    "reasons": [{"state": 3, "head": 1, "query": 3, "key": 1}],
    "heads": [{}],
    "head": [{"state": 1, "head": 1, "query": 3}, {"state": 1, "head": 1, "query": 3, "key": 1}],
    "mlp": [{"state": 2, "pos": 3}, {"state": 2, "pos": 3, "top": 3}],
    "neuron": [{"state": 2, "pos": 3, "neuron": 5}],
    "token": [{"pos": 0}, {"pos": 3}],
    "word": [{"word": 5}],
}


def test_the_browsers_types_are_written_from_todays_dataclasses() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "make_answers.py"))
    assert made["FILE"].read_text("utf-8") == made["page"](), "run python tools/make_answers.py"


def test_every_file_of_the_folder_is_a_kind_and_nothing_else_names_them() -> None:
    files = {path.stem for path in (ROOT / "lmtt_widget" / "answers").glob("*.py")} - {"__init__", "question"}
    assert files == set(answers.KINDS)
    assert set(ASKED) | {"mixer"} == files
    source = (ROOT / "lmtt_widget" / "answers" / "__init__.py").read_text("utf-8")
    assert not [kind for kind in files if re.search(rf"[\"']{kind}[\"']", source)]


@pytest.mark.parametrize(("kind", "asked"), [(k, a) for k, asked in ASKED.items() for a in asked], ids=str)
def test_what_is_told_is_what_is_declared(kind: str, asked: dict[str, Any]) -> None:
    run = zoo.recorded(zoo.Case("qwen2_moe" if kind in ("mlp", "neuron") else "llama"))
    selection = {"kind": kind, **asked}
    if kind in ("edits", "continued"):
        run = record(run.model, run, interventions=[Edit({"kind": "mlp", "state": 2})])
    answer = answers.answer(run, attribute(run), selection, foil=5 if kind == "contrast" else None)
    assert type(answer) is answers.KINDS[kind].Answer
    _, meta, sections = unpack(detail_state([("selection", 0, selection, answer)]))
    (told,) = meta["answers"]
    maps = {name.removeprefix("a0.") for name in sections}
    assert maps == set(answer.map_names())
    envelope = {"slot", "index", "question"}
    declared = {f.name for f in fields(answer)} - maps
    needed = {f.name for f in fields(answer) if f.default is MISSING} - maps
    assert needed <= told.keys() - envelope <= declared
    assert told["kind"] == kind


def test_a_record_is_read_by_name_and_by_key() -> None:
    run = zoo.recorded(zoo.Case("llama"))
    answer = answers.answer(run, attribute(run), {"kind": "state", "state": 4, "pos": 3})
    assert answer["lens"]["id"] is answer.lens.id  # type: ignore[attr-defined]
    assert isinstance(answer["summary"], Record)
    assert "also" not in answer["lens"]
    assert answer["lens"]["also"] is None
    assert dict(answer)["pos"] == answer.get("pos") == 3
    with pytest.raises(KeyError):
        answer["nothing"]


def test_two_kinds_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="there is a kind of question 'token' already"):
        answers.register(ModuleType("elsewhere.token"))
    answers.register(answers.KINDS["token"])  # the same once more


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        ({"kind": "state", "state": 1, "pos": 0, "zoom": 2}, "'state' has the fields kind, state, pos, got 'zoom'"),
        ({"kind": "state", "state": 1, "pos": 0, 3: 2}, "'state' has the fields kind, state, pos, got 3"),
        ({"kind": "state", "state": 1, "pos": float("nan")}, r"pos must be in 0\.\.6, got nan"),
        ({"kind": "edge", "state": 1, "query": 3, "key": 10**400}, r"key must be in 0\.\.6, got 1000"),
        ({"kind": "head", "state": 1, "head": 0, "query": 9, "key": 12}, r"query must be in 0\.\.6, got 9"),
    ],
)
def test_a_field_that_cannot_be_is_refused(selection: Any, sentence: str) -> None:
    run = record(load_model(zoo.shared(zoo.Case("llama"))), zoo.prompt())
    with pytest.raises(ValueError, match=sentence):
        answers.check(run, selection)
