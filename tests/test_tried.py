"""Heads taken out one after the other: the numbers of `effects`, best estimates first, kept whatever ends it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lmtt_widget as lmtt
from lmtt_widget import tried
from lmtt_widget import widget as widget_module
from lmtt_widget.faithful import Trial
from lmtt_widget.readings import Readings
from lmtt_widget.saved import answers_of
from lmtt_widget.session import Session
from lmtt_widget.tried import tried_heads

from . import text, zoo
from .conftest import PROMPT
from .test_estimates import OnlyForwardLinear

HEADS = {"kind": "heads"}


def exact(run: lmtt.Run, foil: int | None = None) -> list[float]:
    return [v.change for v in lmtt.effects(run, "heads", foil=foil, progress=False)]


def test_the_best_estimates_are_tried_first_and_all_are_those_of_effects() -> None:
    run = zoo.recorded(zoo.Case("llama"))
    heads = tried_heads(Readings(run), 6, None, 3)
    assert heads.more(5)
    sizes = lmtt.estimate(run, foil=3).all_heads().abs()
    assert set(heads.verdicts) == set(sizes.topk(5).indices.tolist())
    while heads.more(5):
        pass
    found = [x for p in run.parts if p.kind == "attention" for x in heads.of(p.number)[1]]
    assert found == pytest.approx(exact(run, 3), abs=1e-9)


def test_where_no_gradient_goes_back_all_heads_are_tried_in_their_order() -> None:
    model = zoo.make("llama", dtype=torch.float32)
    for layer in model.model.layers:
        layer.self_attn.k_proj.__class__ = OnlyForwardLinear
    run = lmtt.record(lmtt.load_model(model), zoo.prompt())
    heads = tried_heads(Readings(run), 6, None, None)
    heads.more(3)
    assert (heads.estimates, list(heads.verdicts)) == (None, [0, 1, 2])


def test_what_is_known_is_of_one_prediction_against_one_foil() -> None:
    read = Readings(zoo.recorded(zoo.Case("llama")))
    predicted = int(read.run.logits[6].argmax())
    one = tried_heads(read, 6, None, 3)
    assert tried_heads(read, 6, predicted, 3) is one
    assert tried_heads(read, 6, None, predicted) is tried_heads(read, 6, None, None)
    others = [(6, None, None), (5, None, 3), (6, (predicted + 1) % 97, 3)]
    assert len({id(one), *(id(tried_heads(read, *asked)) for asked in others)}) == 4


def test_a_widget_in_a_script_verifies_all_of_them_and_a_file_keeps_it(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    widget.selection, widget.foil = HEADS, 3
    assert widget.selected is not None
    assert set(widget.selected["table"].exact) == {None}
    widget.verify = True
    assert not widget.verify  # it is done
    assert widget.selected["table"].exact == pytest.approx(exact(widget.run, 3), abs=1e-5)
    (told,) = answers_of(widget.detail)
    assert told["table"]["exact"] == pytest.approx(exact(widget.run, 3), abs=1e-5)
    saved = lmtt.load_json(lmtt.save_json(widget, tmp_path / "verified.json"))
    (kept,) = answers_of(saved.detail)
    assert kept["table"]["exact"] == told["table"]["exact"]
    with pytest.raises(Exception, match="saved without its model"):
        saved.verify = True


def in_a_loop(monkeypatch: pytest.MonkeyPatch, look: Callable[[lmtt.FlowWidget], None]) -> None:
    """A widget that verifies while nobody waits, looked at whenever something new is known, and at the end."""
    monkeypatch.setattr(widget_module, "bundle", dict)
    monkeypatch.setattr(widget_module, "_IDLE", 0)
    raised: list[BaseException] = []

    async def shown() -> None:
        w = lmtt.explore(text.model(), PROMPT, selection=HEADS)
        w.observe(lambda _: look(w), "detail")
        w.verify = True
        for _ in range(60):
            await asyncio.sleep(0)
        look(w)
        w.close()

    def run() -> None:
        try:
            asyncio.run(shown())
        except BaseException as e:  # noqa: BLE001
            raised.append(e)

    thread = threading.Thread(target=run)  # a browser of another test may have left its loop running in this one
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def n_tried(w: lmtt.FlowWidget) -> int:
    (told,) = answers_of(w.detail)
    return sum(x is not None for x in told["table"]["exact"])


def test_it_goes_on_while_nobody_waits_and_stops_when_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def look(w: lmtt.FlowWidget) -> None:
        seen.append(n_tried(w))
        if seen[-1]:
            w.verify = False

    in_a_loop(monkeypatch, look)
    assert seen == [8, 8]  # of twelve; what is known stays


def test_another_foil_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[tuple[bool, int]] = []

    def look(w: lmtt.FlowWidget) -> None:
        states.append((w.verify, n_tried(w)))
        if w.foil is None:
            w.foil = 3

    in_a_loop(monkeypatch, look)
    assert states[0] == (True, 8)
    assert states[-1] == (False, 0)


def test_an_interrupt_keeps_what_is_known_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = 0
    effects = tried.effects

    def interrupted(*args: object, **options: object) -> object:
        nonlocal passes
        passes += 1
        if passes > 1:
            raise KeyboardInterrupt
        return effects(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tried, "effects", interrupted)
    said: list[str] = []
    in_a_loop(monkeypatch, lambda w: said.append(f"{n_tried(w)} {w.verify} {w.status['text']}"))
    assert said[-1].startswith("8 False interrupted")


def drawn(widget: lmtt.FlowWidget, threshold: float) -> dict[str, object]:
    return {"kind": "enough", "threshold": threshold, "encoding": widget.encoding, "reading": widget.reading}


def test_what_is_drawn_is_tried_alone_and_a_file_keeps_it(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    widget.foil = 3
    question = drawn(widget, 0.05)
    widget.selection = question
    assert (widget.selected["passes"], widget.selected["kept"]) == (0, None)
    widget.verify = True
    assert not widget.verify
    expected = lmtt.faithfulness(widget.routes, 0.05, foil=3, progress=False)
    (told,) = answers_of(widget.detail)
    assert (told["passes"], told["off"]) == (4, "mean")
    found = [told[name] for name in ("n_lines", "n_squares", "kept", "kept_frozen", "kept_random", "p_before", "p")]
    assert found == pytest.approx(
        [
            getattr(expected, name)
            for name in ("n_lines", "n_squares", "kept", "kept_frozen", "kept_random", "p_before", "p")
        ]
    )
    assert told["nothing_to_lose"] == expected.nothing_to_lose
    widget.selection = HEADS  # the reader went on
    saved = lmtt.load_json(lmtt.save_json(widget, tmp_path / "enough.json"))
    saved.selection = question
    (kept,) = answers_of(saved.detail)
    assert kept["kept"] == told["kept"]


def test_where_nothing_is_at_stake_the_panel_is_told(widget: lmtt.FlowWidget) -> None:
    predicted = int(widget.run.logits[-1].argmax())
    widget.selection = drawn(widget, 0.9)
    widget.verify = True
    stake = widget.selected["at_stake"]
    assert widget.selected["nothing_to_lose"] == (abs(stake) < 1)
    widget.foil = predicted  # the token itself is no foil
    assert widget.selected["at_stake"] == stake


def test_a_drawn_set_is_stopped_between_passes_and_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(text.model())
    opened = session.open(PROMPT)
    question = {"kind": "enough", "threshold": 0.1, "encoding": "flow", "reading": "max"}
    made: list[int] = []
    alone = Trial._alone
    monkeypatch.setattr(Trial, "_alone", lambda *a, **k: made.append(1) or alone(*a, **k))
    told = []
    for _ in range(4):
        told.append((session.go_on(opened, question), session.ask(opened, question)["passes"]))
    assert told == [(True, 1), (True, 2), (True, 3), (False, 4)]
    first = session.ask(opened, question)
    other = question | {"threshold": 0.2}
    while session.go_on(opened, other):
        pass
    assert len(made) == 7  # with everything taken out it says the same at every threshold
    assert session.ask(opened, other)["at_stake"] == first["at_stake"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"threshold": 1}, r"threshold must be a share in \[0, 1\)"), ({"threshold": "x"}, "threshold must be"),
     ({"encoding": "no"}, "encoding must be one of"), ({"encoding": []}, "encoding must be one of"),
     ({"reading": "min"}, "reading must be")],
)  # fmt: skip
def test_a_set_that_cannot_be_drawn_is_refused(widget: lmtt.FlowWidget, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(Exception, match=said):
        widget.selection = drawn(widget, 0.1) | wrong
    assert widget.selection is None


def test_with_edits_it_goes_on_as_generate_does_a_token_at_a_time_and_a_file_keeps_it(tmp_path: Path) -> None:
    widget = lmtt.explore(text.model(), PROMPT, preview=False)
    cut = {"selection": {"kind": "mlp", "state": 2}}
    with pytest.raises(Exception, match="nothing is edited in this picture"):
        widget.selection = {"kind": "continued", "n_tokens": 3}
    widget.edits = [cut]
    widget.selection = {"kind": "continued", "n_tokens": 3}
    assert (widget.selected["before"], widget.selected["after"]) == ([], [])
    widget.verify = True
    assert not widget.verify
    (told,) = [a for a in answers_of(widget.detail) if a["kind"] == "continued"]
    model = widget.run.model
    for name, edits in (("before", []), ("after", [lmtt.Edit(**cut)])):
        said = lmtt.generate(model, widget.prompt, 3, interventions=edits, progress=False)
        assert told[name] == [t.text for t in said.tokens]
    assert told["ended"]
    saved = lmtt.load_json(lmtt.save_json(widget, tmp_path / "continued.json"))
    assert answers_of(saved.detail)[0]["after"] == told["after"]
    widget.selection = {"kind": "continued", "n_tokens": 2}  # fewer of them are known
    assert widget.selected["after"] == told["after"][:2]
    for n in (0, 65, "3"):
        with pytest.raises(Exception, match="n_tokens must be in"):
            widget.selection = {"kind": "continued", "n_tokens": n}
    widget.close()


def test_heads_of_an_edited_pass_are_not_verified(widget: lmtt.FlowWidget) -> None:
    widget.edits = [{"selection": {"kind": "mlp", "state": 2}}]
    with pytest.raises(Exception, match="take the edits back first"):
        widget.verify = True
    assert not widget.verify
