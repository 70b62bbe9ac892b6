"""Whatever a public function is given instead of what it needs is refused in a sentence of the package's own."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lmtt_widget as lmtt

from . import text

PACKAGE = str(Path(lmtt.__file__).parent)
PROMPT = [3, 4, 5, 9, 8]
WRONG: dict[str, Any] = {
    "None": None,
    "text": "nonsense",
    "half": 0.5,
    "nan": float("nan"),
    "negative": -(10**6),
    "huge": 10**400,
    "object": object(),
    "bytes": b"\xff",
    "tensor": torch.zeros(2, 3, 4),
    "module": inspect,
    "run": "another run",  # these three are made by `made`
    "part": "a part of another run",
    "graph": "another graph",
}
NUMBERS = {"half", "nan", "negative", "huge"}
ANY_SHARE = {"half", "negative", "huge"}  # no edge is above a threshold so large, every one above one so small


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, Any]]:
    model = text.model()
    run, other = lmtt.record(model, PROMPT), lmtt.record(model, [7, 6, 5])
    graph = lmtt.attribute(run)
    widget = lmtt.explore(model, PROMPT)
    attention, mlp = (next(p for p in run.parts if p.kind == kind) for kind in ("attention", "mlp"))
    yield {
        "model": model, "run": run, "graph": graph, "widget": widget, "attention": attention, "mlp": mlp,
        "routes": lmtt.trace(graph), "vector": run.value(1)[0],
        "wrong": WRONG | {"run": other, "part": other.parts[0], "graph": lmtt.attribute(other)},
    }  # fmt: skip
    widget.close()


def closed(widget: Any) -> None:
    widget.close()


Taken = dict[str, set[str]]  # parameter -> the wrong things that it can take
Row = tuple[Callable[..., Any], dict[str, Any], Taken]


def rows(made: dict[str, Any], folder: Path) -> dict[str, Row]:
    """Every public function with arguments that fit; a text that is the name of something made stands for it."""
    lmtt.survey(made["model"], [PROMPT], folder / "many", progress=False)
    json_file = lmtt.save_json(made["widget"], folder / "it.json", include="nothing")
    at: dict[str, Any] = {"run": "run", "pos": -1}
    norm = {"normalise": True}
    saved = {"widget": "widget", "include": "nothing", "max_bytes": 10**8, "progress": None}
    fine_saved = {"max_bytes": {"huge"}, "progress": {"None"}}
    sizes = {"width": 300, "height": 200, "theme": "light"}
    fine_sizes = {"height": {"None"}, "theme": {"None"}}
    traits = {
        "target": 0, "threshold": 0.1, "encoding": "flow", "reading": "max", "renormalise": True, "normalise": True,
        "token": None, "foil": None, "selection": None, "pins": [], "view": {}, "preview": True,
    }  # fmt: skip
    takes_none = {"threshold": {"None", "half"}, "token": {"None"}, "foil": {"None"}, "selection": {"None"}}
    return {
        "attribute": (
            lmtt.attribute,
            {"run": "run", "bias_part": False, "tolerance": 0.0, "most_keys": 3, "kernel": "torch", "progress": None},
            {"run": {"run"}, "tolerance": {"half"}, "most_keys": {"None", "huge"}, "progress": {"None"}},
        ),
        "bundled_model": (lmtt.bundled_model, {"name": "grammar"}, {}),
        "contrast": (
            lmtt.contrast,
            {"graph": "graph", "other": "graph", "alignment": None},
            {"graph": {"graph"}, "other": {"graph"}, "alignment": {"None"}},
        ),
        "direct_logit_attribution": (
            lmtt.direct_logit_attribution,
            at | {"token": 5, "foil": 6, "by": "head"},
            {"run": {"run"}, "token": {"None"}, "foil": {"None"}},
        ),
        "doctor": (lmtt.doctor, {}, {}),
        "attention_pattern": (
            lmtt.attention_pattern,
            {"part": "attention", "query": 1},
            {"part": {"part"}, "query": {"None"}},
        ),
        "circuit_graph": (
            lmtt.circuit_graph,
            {"routes": "routes", "threshold": 0.1, "slug": "it"},
            {"threshold": ANY_SHARE | {"None"}, "slug": {"text"}},
        ),
        "direct_effects": (
            lmtt.direct_effects,
            at | {"vectors": made["run"].value(1)[:2], "state": 1, "token": 5, "foil": 6},
            {"run": {"run"}, "foil": {"None"}},
        ),
        "head_vectors": (
            lmtt.head_vectors,
            {"part": "attention", "query": 1, "head": 1},
            {"part": {"part"}, "head": {"None"}},
        ),
        "neuron_vectors": (
            lmtt.neuron_vectors,
            {"run": "run", "part": "mlp", "pos": 1, "neurons": [1, 2]},
            {"neurons": {"None"}},
        ),
        "neurons_by_effect": (
            lmtt.neurons_by_effect,
            at | {"part": "mlp", "token": 5, "foil": 6, "k": 2},
            {"token": {"None"}, "foil": {"None"}, "k": {"huge"}},
        ),
        "value_vectors": (lmtt.value_vectors, {"part": "attention", "head": 1}, {"part": {"part"}}),
        "effects": (
            lmtt.effects,
            at | {"edits": "heads", "token": 5, "foil": 6, "ablation": "zero", "whole_pass": False, "progress": None},
            {"run": {"run"}, "token": {"None"}, "foil": {"None"}, "progress": {"None"}},
        ),
        "knock_outs": (
            lmtt.knock_outs,
            {"run": "run", "key": 1, "query": 2, "layers": [0]},
            {"run": {"run"}, "query": {"None"}, "layers": {"None"}},
        ),
        "changed_heads": (
            lmtt.changed_heads,
            at | {"edited": made["run"], "token": 5, "foil": 6, "k": 2},
            {"foil": {"None"}, "k": {"huge"}},
        ),
        "estimate": (
            lmtt.estimate,
            at | {"token": 5, "foil": 6, "other": None, "steps": 1},
            {"run": {"run"}, "token": {"None"}, "foil": {"None"}, "other": {"None"}},
        ),
        "faithfulness": (
            lmtt.faithfulness,
            {"routes": "routes", "threshold": 0.1, "off": "mean", "run": None, "token": 5, "foil": 6, "pos": -1,
             "progress": None},
            {"threshold": ANY_SHARE | {"None"}, **{n: {"None"} for n in ("run", "token", "foil", "progress")}},
        ),
        "attention_reasons": (
            lmtt.attention_reasons,
            {"run": "run", "part": "attention", "head": 0, "query": 2, "key": 1},
            {},
        ),
        "contrast_prompts": (
            lmtt.contrast_prompts,
            {"run": "run", "foil": 6, "token": 5, "pos": -1},
            {"run": {"run"}, "token": {"None"}},
        ),
        "generate": (
            lmtt.generate,
            {"model": "model", "prompt": PROMPT, "n_tokens": 1, "temperature": 0.0, "seed": 0, "stop": None,
             "interventions": (), "progress": None},
            {"prompt": {"text"}, "temperature": {"half"}, "stop": {"None"}, "progress": {"None"}},
        ),
        "load_survey": (lmtt.load_survey, {"folder": folder / "many"}, {}),
        "promoters": (
            lmtt.promoters,
            {"model": "model", "word": 5, "k": 2, "progress": None},
            {"k": {"huge"}, "progress": {"None"}},
        ),
        "survey": (
            lambda **given: lmtt.survey(**given | ({"folder": folder / "it"} if given["folder"] == "nonsense" else {})),
            {"model": "model", "prompts": [PROMPT], "folder": folder / "many", "target": -1, "keep": ("prompts",),
             "chunk": 50, "engine": None, "progress": None},
            {"folder": {"text"}, "engine": {"None"}, "progress": {"None"}},
        ),
        "fit_lens": (
            lmtt.fit_lens,
            {"model": "model", "prompts": [PROMPT] * 5, "ahead": 1, "ridge": 1e-3, "progress": None},
            {"ridge": {"half", "huge"}, "progress": {"None"}},
        ),
        "row_similarity": (lmtt.row_similarity, {"run": "run", "part": "mlp", "expert": None}, {"expert": {"None"}}),
        "sign_cases": (lmtt.sign_cases, {"run": "run", "part": "mlp"}, {}),
        "swap_words": (lmtt.swap_words, {"prompt": "the hat", "words": {"hat": "cat"}}, {}),
        "persuasion": (
            lmtt.persuasion,
            {"model": "model", "query": "the hat is", "contexts": ["so it was "], "entities": None, "progress": None},
            {"query": {"text"}, "entities": {"None"}, "progress": {"None"}},
        ),
        "explore": (
            lambda **given: closed(lmtt.explore(**given)),
            {"model": "model", "prompt": PROMPT} | traits,
            takes_none | {"prompt": {"text"}},
        ),
        "head_output": (lmtt.head_output, {"part": "attention", "head": 0}, {"part": {"part"}}),
        "head_shares": (
            lmtt.head_shares,
            {"run": "run", "part": "attention", "query": 1, "graph": "graph"},
            {"query": {"None"}, "graph": {"None"}},
        ),
        "lens_logits": (lmtt.lens_logits, {"run": "run", "state": 1, "pos": 1} | norm, {"run": {"run"}}),
        "load_json": (lmtt.load_json, {"path": json_file}, {}),
        "load_model": (
            lmtt.load_model,
            {"name_or_model": made["model"].module, "tokenizer": made["model"].tokenizer, "layers": None},
            {"tokenizer": {"None"}, "layers": {"None"}},
        ),
        "logit_lens": (lmtt.logit_lens, at | {"k": 1, "states": [1]} | norm,
            {"run": {"run"}, "k": {"huge"}, "states": {"None"}, "pos": {"None"}}),
        "model_card": (
            lmtt.model_card,
            {"model": "model", "prompts": PROMPT, "scale": 1},
            {"prompts": {"text"}, "scale": {"half"}},
        ),
        "neuron_shares": (lmtt.neuron_shares, {"run": "run", "part": "mlp", "pos": 1}, {}),
        "promoted": (
            lmtt.promoted,
            at | {"vector": "vector", "state": 1, "k": 2},
            {"run": {"run"}, "k": {"huge"}},
        ),
        "proximity": (
            lmtt.proximity,
            {"parts": torch.ones(2, 4), "whole": torch.ones(4), "p": 1},
            {"p": {"half", "huge"}},
        ),
        "record": (
            lmtt.record,
            {"model": "model", "prompt": PROMPT, "interventions": (), "strict": True, "check": "all", "probe": True,
             "force": False, "progress": None},
            {"prompt": {"text", "run"}, "progress": {"None"}},
        ),
        "renormalise": (
            lmtt.renormalise,
            {"graph": "graph", "threshold": 0.1, "by": "head"},
            {"graph": {"graph"}, "threshold": ANY_SHARE},
        ),
        "save_html": (lmtt.save_html, saved | {"path": folder / "it.html"}, fine_saved),
        "save_json": (lmtt.save_json, saved | {"path": folder / "it.json"}, fine_saved),
        "save_png": (lmtt.save_png, {"widget": "widget", "path": folder / "a.png", "scale": 1} | sizes,
                     fine_sizes | {"scale": {"half"}}),
        "save_svg": (lmtt.save_svg, {"widget": "widget", "path": folder / "a.svg"} | sizes, fine_sizes),
        "top_tokens": (lmtt.top_tokens, at | {"state": -1, "k": 2} | norm, {"run": {"run"}, "k": {"huge"}}),
        "trace": (
            lmtt.trace,
            {"graph": "graph", "target": 1, "reading": "max", "encoding": "share"},
            {"graph": {"graph"}},
        ),
        "Graph.block": (made["graph"].block, {"part": 0}, {}),
        "Graph.map": (made["graph"].map, {"part": 0}, {}),
        "Graph.share": (made["graph"].share, {"part": 0}, {}),
        "Graph.to_dict": (made["graph"].to_dict, {"smallest": 0}, {"smallest": ANY_SHARE}),
        "Routes.automatic_threshold": (made["routes"].automatic_threshold, {"budget": 3}, {"budget": {"None", "huge"}}),
        "Routes.coverage": (made["routes"].coverage, {"threshold": 0.1}, {"threshold": ANY_SHARE}),
        "Routes.edges": (made["routes"].edges, {"threshold": 0.1}, {"threshold": ANY_SHARE}),
        "Run.carried": (made["run"].carried, {"state": 1}, {}),
        "Run.value": (made["run"].value, {"state": 1}, {}),
        "Run.view": (made["run"].view, {"name": "resid_pre", "layer": 0}, {}),
    }  # fmt: skip


FUNCTIONS = [name for name in lmtt.__all__ if inspect.isfunction(getattr(lmtt, name))]
METHODS = ["Graph.block", "Graph.map", "Graph.share", "Graph.to_dict", "Routes.automatic_threshold", "Routes.coverage",
           "Routes.edges", "Run.carried", "Run.value", "Run.view"]  # fmt: skip


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_a_wrong_thing_is_refused_in_a_sentence(name: str, made: dict[str, Any], tmp_path: Path) -> None:
    call, fitting, takes = rows(made, tmp_path)[name]
    fitting = {k: made[v] if isinstance(v, str) and v in made else v for k, v in fitting.items()}
    call(**fitting)
    for parameter in fitting:
        for kind, wrong in made["wrong"].items():
            where = f"{name}({parameter}={kind})"
            if kind in takes.get(parameter, ()):
                call(**fitting | {parameter: wrong})
                continue
            try:
                call(**fitting | {parameter: wrong})
            except Exception as e:  # noqa: BLE001
                assert_is_our_sentence(e, where)
            else:
                pytest.fail(f"{where} was taken")


def assert_is_our_sentence(e: Exception, where: str) -> None:
    last = traceback.extract_tb(e.__traceback__)[-1]
    said = f"{where}: {type(e).__name__}: {e}"
    assert isinstance(e, (ValueError, TypeError, OSError)), said
    assert last.filename.startswith(PACKAGE), f"{said} ({last})"
    assert (last.line or "").startswith("raise "), f"{said} ({last})"
    assert len(str(e).split()) > 3, said


def test_the_doctor_says_whatever_is_wrong(made: dict[str, Any]) -> None:
    for kind, wrong in made["wrong"].items():
        found = lmtt.doctor(wrong)
        if kind != "None":
            assert not found.ok
            assert "got" in str(found.reading) or "not loaded: OSError" in str(found.reading), (kind, found.reading)
