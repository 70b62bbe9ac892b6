"""The widget without a browser: its traits are its state, and what cannot be is refused with the picture as it was."""

from __future__ import annotations

import gc
import json
import re
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lmtt_widget import FlowWidget, UndecomposableError, explore, load_model, page, session, trace
from lmtt_widget import widget as widget_module
from lmtt_widget.wire import unpack

from . import text, zoo
from .test_decomposition import plain_model
from .test_lens import Squared
from .test_model import CHAT

PROMPT = "the dog gave John a drink"
Open = Callable[..., FlowWidget]


@pytest.fixture(autouse=True)
def _no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the browser runs is tested elsewhere; here it need not be built."""
    monkeypatch.setattr(widget_module, "bundle", dict)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Makes a widget; `returned` lists the traits it sends back to the browser."""
    made: list[FlowWidget] = []

    def make(prompt: Any = PROMPT, model: Any = None, **options: Any) -> FlowWidget:
        w = explore(model or text.model(), prompt, **options)
        made.append(w)
        return w

    yield make
    for w in made:
        w.close()


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def sent(self: Any, key: Any = None) -> None:
        names.extend([key] if isinstance(key, str) else key or [])

    monkeypatch.setattr(FlowWidget, "send_state", sent)
    return names


def picture(w: FlowWidget) -> dict[str, Any]:
    """Every trait that the browser shows, except what is said."""
    names = [n for n in w.trait_names(sync=True) if not n.startswith("_") and n not in ("status", "layout", "tabbable")]
    return {name: getattr(w, name) for name in names if name != "tooltip"}


def graph_meta(w: FlowWidget) -> dict[str, Any]:
    return unpack(w.graph)[1]


# ---- what is shown ----


def test_a_prompt_is_shown_whole_and_explained_at_its_end(opened: Open) -> None:
    w = opened()
    meta = graph_meta(w)
    assert bytes.fromhex("".join(meta["tokens"]["bytes"])).decode() == PROMPT
    assert meta["prompt"] == PROMPT
    assert w.target == w.run.n_tokens - 1
    assert (w.threshold, w.encoding, w.reading) == (None, "flow", "max")
    assert (w.prompt, w.prompts) == (PROMPT, [PROMPT])
    assert w.status == {"state": "idle", "text": "", "done": 0, "total": 0}
    assert w.detail == b"" or unpack(w.detail)[1]["answers"] == []


def test_the_messages_of_one_run_name_it(opened: Open) -> None:
    w = opened(selection={"kind": "state", "state": 2, "pos": 1})
    runs = {unpack(message)[1]["run"] for message in (w.graph, w.peek, w.detail)}
    assert len(runs) == 1
    w.prompt = "another one"
    again = {unpack(message)[1]["run"] for message in (w.graph, w.peek, w.detail)}
    assert len(again) == 1
    assert again != runs


def test_the_state_travels_as_json_beside_bytes(opened: Open) -> None:
    w = opened(CHAT, selection={"kind": "token", "pos": 1}, pins=[{"kind": "state", "state": 1, "pos": 0}])
    state = w.get_state()
    json.dumps({k: v for k, v in state.items() if not isinstance(v, bytes)}, allow_nan=False)
    assert {k for k, v in state.items() if isinstance(v, bytes)} == {"_code", "graph", "peek", "detail", "before"}


@pytest.mark.parametrize("name", ["_code", "graph", "peek", "detail", "before", "status"])
def test_what_only_python_says_is_not_echoed(name: str) -> None:
    metadata = FlowWidget.class_traits()[name].metadata
    assert metadata["sync"] is True
    assert metadata["echo_update"] is False


def test_routes_are_those_on_show(opened: Open) -> None:
    w = opened(target=3, encoding="share", reading="sum")
    expected = trace(w.opened.graph, 3, reading="sum", encoding="share")
    assert (w.routes.target, w.routes.reading, w.routes.encoding) == (3, "sum", "share")
    assert np.array_equal(w.routes.strength, expected.strength)


@pytest.mark.parametrize("prompt", [[5, 6, 7], (5, 6, 7), torch.tensor([5, 6, 7])], ids=["list", "tuple", "tensor"])
def test_a_prompt_may_be_token_ids(opened: Open, prompt: Any) -> None:
    w = opened(prompt)
    assert w.prompt == [5, 6, 7]
    assert w.run.token_ids.tolist() == [5, 6, 7]
    json.dumps(w.prompts)


def test_a_prompt_may_be_messages(opened: Open) -> None:
    w = opened(CHAT)
    assert w.prompts == [CHAT]
    assert graph_meta(w)["tokens"]["role"][0] == "system"
    assert "be kind" in graph_meta(w)["prompt"]


@pytest.mark.parametrize(
    "prompts", [["the dog", "and"], [[5, 6], [7, 8, 9]], [CHAT, CHAT[1:]]], ids=["text", "ids", "chat"]
)
def test_several_prompts_are_listed_and_the_first_is_shown(opened: Open, prompts: Any) -> None:
    w = opened(prompts)
    assert w.prompts == prompts
    assert w.prompt == prompts[0]
    w.prompt = prompts[1]
    assert w.prompts == prompts


def test_a_model_without_a_tokenizer_is_shown_with_numbers(opened: Open) -> None:
    w = opened([5, 6, 7], load_model(zoo.shared(zoo.Case("llama"))))
    assert graph_meta(w)["tokens"]["text"] == ["#5", "#6", "#7"]


def test_a_model_without_a_linear_read_out_is_shown_without_a_lens(opened: Open) -> None:
    w = opened([5, 6, 7], load_model(Squared(plain_model()).eval()))
    assert w.peek == b""
    w.selection = {"kind": "state", "state": 1, "pos": 1}
    assert w.selected is not None
    assert unpack(w.detail)[1]["answers"][0]["kind"] == "state"
    assert "cannot be read as tokens" in " ".join(graph_meta(w)["fidelity"]["problems"])


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><!--",
    "\u202eabc\u2066",
    "\x00\x1b[31m\x7f",
    "\ufffd\ud7ff🎉\u200d猫",
    "{{7*7}}${x}`'\"",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_shown_as_text(opened: Open, hostile: str) -> None:
    w = opened()
    w.set_state({"prompt": hostile})
    assert w.status["state"] == "idle"
    meta = graph_meta(w)
    assert meta["prompt"] == hostile
    assert bytes.fromhex("".join(meta["tokens"]["bytes"])).decode() == hostile


# ---- two-way state ----

GOOD = [
    ("target", 1),
    ("threshold", 0.25),
    ("threshold", 0),
    ("encoding", "share"),
    ("reading", "sum"),
    ("renormalise", True),
    ("normalise", False),
    ("token", 7),
    ("token", "·dog"),
    ("foil", 7),
    ("foil", " dog"),
    ("foil", "·dog"),
    ("foil", ""),
    ("selection", {"kind": "head", "state": 1, "head": 3, "query": 3, "key": 1}),
    ("selection", {"kind": "head", "state": 1, "head": 3, "query": 3, "key": None}),
    ("selection", {"kind": "edge", "state": 3, "query": 3, "key": 3, "part": 2}),
    ("selection", {"kind": "neuron", "state": 2, "pos": 0, "neuron": 39}),
    ("selection", None),
    ("pins", [{"kind": "mlp", "state": 2, "pos": 1}, {"kind": "token", "pos": 0}]),
    ("view", {"fold": False, "height": 700, "theme": "dark", "panel": False, "text": 1.25}),
    ("prompt", "and John"),
    ("prompt", [3, 4]),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_the_browser_sets_python_has_and_the_other_way_round(opened: Open, name: str, value: Any) -> None:
    by_browser, by_python = opened(), opened()
    by_browser.set_state({name: value})
    setattr(by_python, name, value)
    assert getattr(by_browser, name) == getattr(by_python, name) == value
    assert by_browser.status["state"] == by_python.status["state"] == "idle"
    shown = [{k: v for k, v in picture(w).items() if not isinstance(v, bytes)} for w in (by_browser, by_python)]
    assert shown[0] == shown[1]


def test_targets_count_from_the_end_and_are_kept_as_positions(opened: Open) -> None:
    w = opened(target=-2)
    assert w.target == w.run.n_tokens - 2
    w.target = -1
    assert w.target == w.run.n_tokens - 1
    w.set_state({"target": -3})
    assert w.target == w.run.n_tokens - 3


def test_another_encoding_has_another_unit_of_threshold(opened: Open) -> None:
    w = opened(threshold=0.1, encoding="share")
    assert w.threshold == 0.1
    w.encoding = "flow"
    assert w.threshold is None


def test_a_view_may_be_given_in_part(opened: Open) -> None:
    w = opened(view={"theme": "dark"})
    assert w.view["theme"] == "dark"
    assert w.view["height"] == 560


def test_options_of_explore_are_traits(opened: Open) -> None:
    w = opened(reading="sum", renormalise=True, threshold=0.2, encoding="share", foil=" dog")
    assert (w.reading, w.renormalise, w.threshold, w.encoding, w.foil) == ("sum", True, 0.2, "share", " dog")


# ---- another prompt ----


@pytest.mark.parametrize("by", ["browser", "python"])
def test_a_new_prompt_is_recorded_and_joins_the_list(opened: Open, by: str) -> None:
    w = opened(target=2, threshold=0.3)
    before, said = w.graph, []
    w.observe(lambda change: said.append(change["new"]["state"]), "status")
    if by == "browser":
        w.set_state({"prompt": "and the dog"})
        assert said[0] == "running"
    else:
        w.prompt = "and the dog"
    assert w.status["state"] == "idle"
    assert w.prompts == [PROMPT, "and the dog"]
    assert w.graph != before
    assert (w.target, w.threshold) == (w.run.n_tokens - 1, None)


def test_going_back_to_a_prompt_does_not_run_the_model_again(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    w = opened()
    first, graph = w.run, w.graph
    w.prompt = "and the dog"
    monkeypatch.setattr(session, "record", None)
    w.prompt = PROMPT
    assert w.run is first
    assert w.graph == graph
    assert w.prompts == [PROMPT, "and the dog"]


def test_a_selection_that_the_new_prompt_has_too_stays_and_what_was_pinned_in_the_old_one_goes(opened: Open) -> None:
    w = opened()
    kept = {"kind": "edge", "state": 1, "query": 1, "key": 0}
    w.selection, w.pins = kept, [kept]
    w.prompt = "the dog and"
    assert w.selection == kept
    assert w.pins == []
    run = unpack(w.graph)[1]["run"]
    _, meta, _ = unpack(w.detail)
    assert meta["run"] == run
    assert [a["question"] for a in meta["answers"]] == [kept]


def test_a_selection_that_is_gone_is_dropped_and_the_reader_told(opened: Open) -> None:
    w = opened()
    last = w.run.n_tokens - 1
    w.selection = {"kind": "state", "state": 1, "pos": last}
    w.prompt = "the dog"
    assert w.selection is None
    assert w.status["state"] == "idle"
    assert "what was selected is not in this prompt: pos must be in 0.." in w.status["text"]


def test_only_the_latest_runs_are_kept(opened: Open) -> None:
    w = opened()
    first = weakref.ref(w.run)
    for i in range(12):
        w.prompt = [3 + i, 4, 5]
    gc.collect()
    assert first() is None
    w.prompt = PROMPT
    assert w.run.prompt == PROMPT


def test_close_frees_the_runs(opened: Open) -> None:
    w = opened(selection={"kind": "head", "state": 1, "head": 0, "query": 2, "key": 1})
    refs = [weakref.ref(w.run), weakref.ref(w.opened.graph)]
    w.prompt = "and the dog"
    refs += [weakref.ref(w.run), weakref.ref(w.opened.graph)]
    w.close()
    gc.collect()
    assert [r() for r in refs] == [None] * 4
    w.close()


# ---- answers ----


def test_a_selection_and_the_pins_are_answered(opened: Open) -> None:
    w = opened()
    selection, pin = {"kind": "state", "state": 2, "pos": 3}, {"kind": "token", "pos": 1}
    w.set_state({"selection": selection})
    w.set_state({"pins": [pin]})
    _, meta, _ = unpack(w.detail)
    assert [(a["slot"], a["question"]) for a in meta["answers"]] == [("selection", selection), ("pin", pin)]
    assert w.selected is not None
    assert w.selected["pos"] == 3
    w.selection = None
    assert w.selected is None
    assert [a["slot"] for a in unpack(w.detail)[1]["answers"]] == ["pin"]


@pytest.mark.parametrize("change", [{"target": 1}, {"token": 8}, {"foil": 9}, {"normalise": False}])
def test_an_answer_follows_what_it_depends_on(opened: Open, change: dict[str, Any]) -> None:
    w = opened(selection={"kind": "state", "state": 3, "pos": 1})
    before = w.detail
    w.set_state(change)
    assert w.detail != before


def test_every_kind_of_selection_is_answered(opened: Open) -> None:
    w = opened()
    for selection in (
        {"kind": "state", "state": 0, "pos": 2},
        {"kind": "state", "state": 6, "pos": 2},
        {"kind": "carried", "state": 1, "pos": 2},
        {"kind": "edge", "state": 1, "query": 2, "key": 0},
        {"kind": "head", "state": 1, "head": 2, "query": 2, "key": 0},
        {"kind": "head", "state": 1, "head": 2, "query": 2},
        {"kind": "mlp", "state": 2, "pos": 2},
        {"kind": "neuron", "state": 2, "pos": 2, "neuron": 5},
        {"kind": "token", "pos": 0},
    ):
        w.set_state({"selection": selection})
        assert w.status["state"] == "idle", w.status
        (answer,) = unpack(w.detail)[1]["answers"]
        assert answer["question"] == selection
        assert "error" not in answer


# ---- what is refused ----

BAD = [
    ("prompt", "", "the prompt is empty; type some text"),
    ("prompt", [], "the prompt has no tokens; type some text"),
    ("prompt", "dog " * 99, "the model has 90 positions; shorten it"),
    ("prompt", [5] * 91, "the prompt has 91 tokens, but the model has 90 positions; shorten it"),
    ("prompt", [5, 10**6], "token ids must be in"),
    ("prompt", 7, "a prompt is text"),
    ("prompt", None, "a prompt is text"),
    ("prompt", {"role": "user"}, "a prompt is text"),
    ("prompt", [None], "a prompt is text"),
    ("prompt", [[5]], "a prompt is text"),
    ("target", 99, r"target must be a position in 0\.\.\d+ \(the prompt has \d+ tokens\), got 99"),
    ("target", -99, "target must be a position"),
    ("target", "2", "target"),
    ("target", None, "target"),
    ("target", 2.5, "target"),
    ("threshold", 1.0, r"threshold must be a share in \[0, 1\), or None to choose it automatically, got 1\.0"),
    ("threshold", -0.01, "threshold must be a share"),
    ("threshold", float("nan"), "threshold must be a share"),
    ("threshold", "0.1", "threshold"),
    ("encoding", "weight", 'encoding must be "flow" or "share" or "effect", got \'weight\''),
    ("encoding", None, "encoding"),
    ("reading", "mean", 'reading must be "max" or "sum", got \'mean\''),
    ("renormalise", "yes", "renormalise"),
    ("normalise", None, "normalise"),
    ("foil", "two whole words", "a foil must be one token; 'two whole words' is"),
    ("foil", 10**6, r"the id of a foil must be in 0\.\."),
    ("foil", [1], "a foil is a token"),
    ("token", 10**6, r"the id of the token explained must be in 0\.\."),
    ("token", "two whole words", "the token explained must be one token; 'two whole words' is"),
    ("foil", True, "a foil is a token"),
    ("selection", "state", "a selection has one of the kinds"),
    ("selection", {"state": 1, "pos": 0}, "a selection has one of the kinds"),
    ("selection", {"kind": "layer", "state": 1}, "a selection has one of the kinds"),
    ("selection", {"kind": ["state"], "state": 1, "pos": 0}, "a selection has one of the kinds"),
    ("selection", {"kind": "state", "state": 1}, "a selection of kind 'state' needs state, pos; pos is missing"),
    ("selection", {"kind": "state", "state": 7, "pos": 0}, r"state must be in 0\.\.6, got 7"),
    ("selection", {"kind": "state", "state": -1, "pos": 0}, r"state must be in 0\.\.6, got -1"),
    ("selection", {"kind": "state", "state": True, "pos": 0}, "state must be in"),
    ("selection", {"kind": "state", "state": 1.0, "pos": 0}, "state must be in"),
    ("selection", {"kind": "edge", "state": 1, "query": 2, "key": 3}, "a query reads keys up to itself"),
    ("selection", {"kind": "edge", "state": 2, "query": 2, "key": 1}, "no attention part enters state 2"),
    ("selection", {"kind": "edge", "state": 1, "query": 2, "key": "1"}, "key must be in"),
    ("selection", {"kind": "edge", "state": 1, "query": 2, "key": None}, "key must be in"),
    ("selection", {"kind": "edge", "state": 1, "query": 2, "key": 1, "part": 9}, "part"),
    ("selection", {"kind": "head", "state": 1, "head": 4, "query": 2, "key": 1}, r"head must be in 0\.\.3, got 4"),
    ("selection", {"kind": "mixer", "state": 1, "pos": 0}, "no mixer part enters state 1"),
    ("selection", {"kind": "neuron", "state": 2, "pos": 0, "neuron": 40}, r"neuron must be in 0\.\.39, got 40"),
    ("selection", {"kind": "carried", "state": 0, "pos": 0}, "the embedding continues no earlier state"),
    ("selection", {"kind": "mlp", "state": 2, "pos": 0, "top": "many"}, "top"),
    ("pins", "x", "pins|a selection has one of the kinds"),
    ("pins", [5], "a selection has one of the kinds"),
    ("pins", [{"kind": "token", "pos": 0}, {"kind": "token", "pos": 99}], "pos must be in"),
    ("edits", "x", "edits are a list"),
    ("edits", None, "edits"),
    ("edits", [7], "an edit is an Edit, or a dictionary with its selection"),
    ("edits", [{"selection": {"kind": "edge", "state": 1, "query": 2, "key": 3}}], "a line from the future"),
    ("edits", [{"selection": {"kind": "edge", "state": 9}}], r"state must be in 0\.\.6, got 9"),
    ("edits", [{"selection": {"kind": "mlp", "state": 1, "pos": 0}}], "has no mlp part, so .* would do nothing"),
    ("edits", [{"selection": {"kind": "mlp", "state": 2}, "to": "median"}], "to is a number"),
    ("edits", [{"selection": {"kind": "mlp", "state": 2}, "by": 2}], "an edit has a selection, to and renormalise"),
    ("view", {"height": 100}, r"height must be in 420\.\.900 pixels, got 100"),
    ("view", {"height": "tall"}, "height must be in"),
    ("view", {"theme": "pink"}, 'theme must be "auto", "light" or "dark", got \'pink\''),
    ("view", {"text": 9}, "text is the size of everything"),
    ("view", {"text": "large"}, "text is the size of everything"),
    ("view", {"zoom": 2}, "view has the options fold, height, theme, panel, text, got 'zoom'"),
    ("view", {"fold": 1}, "fold and panel are True or False"),
    ("view", [1], "view"),
    ("view", None, "view"),
    ("prompts", "x", "prompts"),
    ("prompts", [7], "a prompt is text"),
]
each_bad = pytest.mark.parametrize(("name", "value", "sentence"), BAD, ids=[f"{n} {v!r:.40}" for n, v, _ in BAD])


@each_bad
def test_what_the_browser_cannot_set_is_refused_with_the_picture_as_it_was(
    opened: Open, returned: list[str], name: str, value: Any, sentence: str
) -> None:
    w = opened(target=3, threshold=0.2, encoding="share", selection={"kind": "token", "pos": 1})
    before = picture(w)
    returned.clear()
    w.set_state({name: value})
    assert picture(w) == before
    assert name in returned
    assert w.status["state"] == "error"
    assert _matches(sentence, w.status["text"])
    w.set_state({"target": 1})  # and the widget goes on
    assert w.target == 1


@each_bad
def test_what_python_cannot_set_is_refused_with_the_picture_as_it_was(
    opened: Open, name: str, value: Any, sentence: str
) -> None:
    w = opened(target=3, threshold=0.2, encoding="share", selection={"kind": "token", "pos": 1})
    before = picture(w)
    with pytest.raises((ValueError, TypeError, widget_module.t.TraitError), match=sentence):
        setattr(w, name, value)
    assert picture(w) == before


@pytest.mark.parametrize(
    ("prompt", "options", "sentence"),
    [
        ("", {}, "the prompt is empty; type some text"),
        ([], {}, "the prompt is empty; type some text"),
        ("dog " * 99, {}, "shorten it"),
        (PROMPT, {"target": 99}, "target must be a position in"),
        (PROMPT, {"threshold": 1}, "threshold must be a share in"),
        (PROMPT, {"threshold": -1}, "threshold must be a share in"),
        (PROMPT, {"encoding": "x"}, 'encoding must be "flow" or "share"'),
        (PROMPT, {"selection": {"kind": "x"}}, "a selection has one of the kinds"),
        (PROMPT, {"foil": "two whole words"}, "a foil must be one token"),
        (7, {}, "a prompt is text"),
    ],
)
def test_explore_refuses_in_words(prompt: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        explore(text.model(), prompt, **options)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="explore has no option 'treshold'"):
        explore(text.model(), PROMPT, treshold=0.1)


def test_a_trait_that_does_not_exist_is_ignored(opened: Open) -> None:
    w = opened()
    before = picture(w)
    w.set_state({"nothing": 1})
    assert picture(w) == before


def test_of_several_traits_in_one_message_the_good_ones_are_taken(opened: Open, returned: list[str]) -> None:
    w = opened()
    returned.clear()
    w.set_state({"target": 99, "reading": "sum", "encoding": "x", "threshold": 0.5})
    assert (w.reading, w.threshold, w.encoding) == ("sum", 0.5, "flow")
    assert w.target == w.run.n_tokens - 1
    assert {"target", "encoding"} <= set(returned)
    assert w.status["state"] == "error"


def bad_model(change: Callable[[Any], None]) -> Any:
    model = load_model(text.causal_model(), text.byte_level())
    change(model.module)
    return model


def poison(module: Any) -> None:
    with torch.no_grad():
        module.lm_head.weight[3] = float("nan")


def fail(module: Any) -> None:
    def raises(*args: Any) -> None:
        raise RuntimeError("out of everything")

    module.model.layers[1].register_forward_pre_hook(raises)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (lambda m: m.train(), ValueError, "the model is in training mode"),
        (poison, ValueError, "the model's logits are not finite"),
        (fail, RuntimeError, "out of everything"),
    ],
    ids=["training", "nan", "raises"],
)
def test_a_model_that_cannot_be_recorded_is_refused(
    opened: Open, change: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        explore(bad_model(change), PROMPT)
    model = bad_model(lambda m: None)
    w = opened(PROMPT, model)  # and one that goes bad later
    before = picture(w)
    change(model.module)
    w.set_state({"prompt": "and the dog"})
    assert picture(w) == before
    assert w.status["state"] == "error"
    assert sentence in w.status["text"]


def test_a_model_that_cannot_be_split_is_refused_with_its_reason(opened: Open) -> None:
    with pytest.raises(UndecomposableError, match=r"layer 0 \(Inkling2SlidingDecoderLayer\)"):
        explore(load_model(zoo.make("inkling2_text")), [5, 6])


def test_a_prompt_needs_a_tokenizer(opened: Open) -> None:
    model = load_model(zoo.shared(zoo.Case("llama")))
    with pytest.raises(ValueError, match="no tokenizer, so a prompt must be token ids"):
        explore(model, PROMPT)
    w = opened([5, 6, 7], model)
    before = picture(w)
    for name, value in (("prompt", PROMPT), ("foil", "dog")):
        w.set_state({name: value})
        assert w.status["state"] == "error"
        assert picture(w) == before


def test_a_bad_prompt_of_a_list_is_refused_when_it_is_chosen(opened: Open) -> None:
    w = opened(["the dog", "dog " * 99])
    w.set_state({"prompt": w.prompts[1]})
    assert w.status["state"] == "error"
    assert "shorten it" in w.status["text"]
    assert w.prompt == "the dog"


def test_without_the_bundle_the_error_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(page, "STATIC", tmp_path)
    with pytest.raises(RuntimeError, match=r"widget\.js is missing; run `npm ci && npm run build`"):
        explore(text.model(), PROMPT)


def _matches(pattern: str, sentence: str) -> bool:
    """A sentence for the reader, not the name of an exception."""
    return re.search(pattern, sentence) is not None and not re.match(r"[A-Z]\w+Error: ", sentence)
