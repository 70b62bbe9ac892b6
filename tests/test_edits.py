"""Edits of the picture on show: the same numbers as from `record` and `effects`, kept in files, refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmtt_widget as lmtt
from lmtt_widget import widget as widget_module
from lmtt_widget.saved import answers_of
from lmtt_widget.session import Session
from lmtt_widget.state import graph_state, read_graph

from . import text
from .conftest import PROMPT

LINE = {"selection": {"kind": "edge", "state": 1, "query": 3, "key": 1}, "to": 0.0, "renormalise": False}
MLP = {"selection": {"kind": "mlp", "state": 2, "pos": 4}, "to": "mean", "renormalise": False}


def edits_of(edits: list[dict[str, Any]]) -> list[lmtt.Edit]:
    return [lmtt.Edit(**edit) for edit in edits]


@pytest.mark.parametrize("edits", [[LINE], [MLP], [LINE, MLP]])
def test_the_picture_is_that_of_the_edited_pass_beside_the_clean_one(
    widget: lmtt.FlowWidget, edits: list[dict[str, Any]]
) -> None:
    clean = widget.graph
    widget.edits = edits
    own = lmtt.attribute(lmtt.record(text.model(), PROMPT, interventions=edits_of(edits)))
    assert read_graph(widget.graph).share_sum.tolist() == read_graph(graph_state(own)).share_sum.tolist()
    assert widget.before == clean
    assert widget.run.interventions == tuple(edits_of(edits))


def test_the_verdict_is_that_of_effects(widget: lmtt.FlowWidget) -> None:
    run = widget.run
    widget.foil = 3
    widget.edits = [LINE, MLP]
    assert widget.selection == {"kind": "edits"}
    said = widget.selected
    assert said is not None
    (found,) = lmtt.effects(run, [edits_of([LINE, MLP])], foil=3)
    for name in ("p_before", "p", "odds_before", "odds", "kl"):
        assert said[name] == pytest.approx(getattr(found, name), rel=1e-5, abs=1e-6), name
    assert [t.id for t in said["moved"].tokens] == [t.id for t in found.moved.tokens]
    told = {a["kind"]: a for a in answers_of(widget.detail)}
    assert told["edits"]["p"] == pytest.approx(found.p)


def test_the_heads_that_changed_are_those_of_the_direct_effects_of_both_passes(widget: lmtt.FlowWidget) -> None:
    clean = widget.run
    widget.edits = [LINE]
    assert widget.selected is not None
    heads, token = widget.selected["heads"], int(clean.logits[-1].argmax())
    known = [
        {(e.part, e.head): e.value for e in lmtt.direct_logit_attribution(run, token=token).effects if e.kind == "head"}
        for run in (clean, widget.run)
    ]
    most = sorted(known[0], key=lambda head: -abs(known[1][head] - known[0][head]))
    assert list(zip(heads.part, heads.head, strict=True))[:3] == most[:3]
    for part, head, before, effect in zip(heads.part, heads.head, heads.before, heads.effect, strict=True):
        expected = known[0][part, head], known[1][part, head]
        assert (float(before), float(effect)) == pytest.approx(expected, abs=1e-5)


def test_taking_the_last_edit_back_is_the_picture_as_it_was(widget: lmtt.FlowWidget) -> None:
    before = {name: getattr(widget, name) for name in ("graph", "detail", "selection", "opened", "before")}
    widget.edits = [LINE]
    widget.edits = []
    assert {name: getattr(widget, name) for name in before} == before


def test_another_prompt_has_no_edits(widget: lmtt.FlowWidget) -> None:
    widget.edits = [LINE]
    widget.prompt = "the dog ran home"
    assert (widget.edits, widget.before, widget.selection) == ([], b"", None)


def test_an_edit_may_be_given_as_one_and_as_an_option_of_explore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widget_module, "bundle", dict)
    w = lmtt.explore(text.model(), PROMPT, edits=edits_of([LINE]))
    assert w.edits == [LINE]
    w.close()


def test_what_no_file_can_keep_is_refused(widget: lmtt.FlowWidget) -> None:
    before, run = widget.graph, widget.run
    with pytest.raises(ValueError, match=r'to a number, to "mean", to {"value": ...} or to {"prompt": ...}, .*takes'):
        widget.edits = [lmtt.Edit(MLP["selection"], run)]
    assert (widget.graph, widget.edits) == (before, [])


def test_a_file_keeps_edits_and_verdict(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    widget.edits = [LINE, MLP]
    saved = lmtt.load_json(lmtt.save_json(widget, tmp_path / "edited.json"))
    assert (saved.edits, saved.selection) == (widget.edits, {"kind": "edits"})
    assert np.array_equal(read_graph(saved.before).share_sum, read_graph(widget.before).share_sum)
    (kept, _) = answers_of(saved.detail)
    assert widget.selected is not None
    assert kept["p"] == pytest.approx(widget.selected["p"])
    again = lmtt.load_json(lmtt.save_json(saved, tmp_path / "again.json", include="nothing"))
    assert again.edits == widget.edits
    with pytest.raises(Exception, match="saved without its model"):
        saved.edits = []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda edits: "x", "edits are a list"),
        (lambda edits: [{"to": 0}], "an edit has a selection"),
        (lambda edits: [{**edits[0], "to": 1e300}], "to a number or a mean"),
        (lambda edits: [{**edits[0], "selection": {"kind": 7}}], "a selection is a dictionary"),
    ],
)
def test_edits_of_a_damaged_file_are_refused(
    widget: lmtt.FlowWidget, tmp_path: Path, damage: Any, sentence: str
) -> None:
    widget.edits = [LINE]
    path = lmtt.save_json(widget, tmp_path / "edited.json", include="nothing")
    whole = json.loads(path.read_text())
    whole["prompts"][0]["edits"] = damage(whole["prompts"][0]["edits"])
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=sentence):
        lmtt.load_json(path)


def test_a_session_opens_a_prompt_with_and_without_its_edits() -> None:
    session = Session(text.model())
    edited = session.open(PROMPT, edits_of([LINE]))
    assert edited.clean is session.open(PROMPT)
    assert edited.clean is not None
    assert edited.clean.run.interventions == ()
    assert session.open(PROMPT, edits_of([LINE])) is edited
    with pytest.raises(ValueError, match="nothing is edited in this picture"):
        session.ask(edited.clean, {"kind": "edits"})


# ---- what stands there in another prompt, and what takes over ----

OTHER = "the dog gave Mary a drink"  # another token at 5
HEAD = {"kind": "head", "state": 3, "head": 1, "query": 8}
LATER = [{"kind": "edge", "state": 1, "query": 8, "key": 5}, {"kind": "mlp", "state": 2, "pos": 5}, HEAD]


@pytest.mark.parametrize("selection", LATER, ids=str)
def test_what_stands_in_another_prompt_is_what_that_prompts_run_has(
    widget: lmtt.FlowWidget, selection: dict[str, Any]
) -> None:
    clean = widget.run
    assert lmtt.record(text.model(), OTHER).n_tokens == clean.n_tokens
    widget.edits = [{"selection": selection, "to": {"prompt": OTHER}}]
    patched = lmtt.record(text.model(), clean, interventions=[lmtt.Edit(selection, lmtt.record(text.model(), OTHER))])
    assert widget.run.logits.equal(patched.logits)
    assert not patched.logits.equal(clean.logits)
    assert widget.edits == [{"selection": selection, "to": {"prompt": OTHER}, "renormalise": False}]


def test_a_knock_out_lets_the_rest_of_the_row_take_over(widget: lmtt.FlowWidget) -> None:
    clean = widget.run
    widget.edits = [{**LINE, "renormalise": True}]
    part = widget.run.part("attention", layer=0)
    before, after = (lmtt.attention_pattern(run.part("attention", layer=0), 3) for run in (clean, widget.run))
    assert float(after[:, 1].abs().max()) == 0
    np.testing.assert_allclose(after.sum(-1), before.sum(-1), atol=1e-6)
    assert part.state == 1


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ({"selection": MLP["selection"] | {"pos": 5}, "to": {"prompt": "the dog"}}, r"which have \d+ and \d+ tokens"),
        ({"selection": {"kind": "mlp", "state": 2}, "to": {"prompt": "the dog"}}, "must exist in both runs"),
        ({"selection": MLP["selection"], "to": {"prompt": ""}}, "the prompt is empty"),
        ({"selection": MLP["selection"], "to": {"prompt": 7}}, "a prompt is text, a list of token ids"),
        ({"selection": MLP["selection"], "to": {"run": "x"}}, "to is a number"),
        ({**LINE, "to": {"prompt": OTHER}, "renormalise": True}, "renormalise knocks out attention"),
        ({"selection": {**LINE["selection"], "query": 0, "key": 0}, "renormalise": True}, "the only key"),
        ({**LINE, "to": float("nan")}, "to must be a finite number"),
    ],
)  # fmt: skip
def test_what_cannot_stand_there_is_refused_and_nothing_changes(
    widget: lmtt.FlowWidget, edit: dict[str, Any], sentence: str
) -> None:
    widget.edits = [LINE]
    before = {name: getattr(widget, name) for name in ("graph", "detail", "selection", "opened", "before", "edits")}
    with pytest.raises(ValueError, match=sentence):
        widget.edits = [edit]
    assert {name: getattr(widget, name) for name in before} == before


def test_edits_on_what_was_pinned_in_another_prompt_are_refused_in_words(widget: lmtt.FlowWidget) -> None:
    pin = {"kind": "edge", "state": 1, "query": 5, "key": 1}
    widget.pins = [pin]
    widget.prompt = "the dog"
    assert widget.pins == []  # what was pinned is of another prompt
    n, graph = widget.run.n_tokens, widget.graph
    with pytest.raises(
        ValueError, match=rf"query must be a position in 0\.\.{n - 1} \(the prompt has {n} tokens\), got 5"
    ):
        widget.edits = [{"selection": pin}]
    with pytest.raises(ValueError, match=rf"query must be in 0\.\.{n - 1}"):
        widget.pins = [pin]
    assert (widget.graph, widget.edits, widget.pins) == (graph, [], [])


def test_a_file_keeps_what_stands_in_another_prompt(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    widget.edits = [{"selection": HEAD, "to": {"prompt": OTHER}}, {**LINE, "renormalise": True}]
    saved = lmtt.load_json(lmtt.save_json(widget, tmp_path / "edited.json"))
    assert saved.edits == widget.edits
    whole = json.loads((tmp_path / "edited.json").read_text())
    whole["prompts"][0]["edits"][0]["to"] = {"prompt": [{"role": 7}, 5]}
    (tmp_path / "damaged.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="a prompt is text, token ids or messages"):
        lmtt.load_json(tmp_path / "damaged.json")
