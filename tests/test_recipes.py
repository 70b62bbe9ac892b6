"""What CONTRIBUTING tells to do works as it is told, with the code that stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import lmtt_widget as lmtt
from lmtt_widget import answers, encodings
from lmtt_widget.decomposition import residual

from . import zoo
from .toy import degrees, letters
from .toy.even import EVEN

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^### (Add .+?)\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(answers, "KINDS", dict(answers.KINDS))
    monkeypatch.setattr(encodings, "REGISTERED", dict(encodings.REGISTERED))
    monkeypatch.setattr(residual, "RULES", list(residual.RULES))


def test_there_are_four_and_their_code_is_that_of_the_files_they_name() -> None:
    assert list(RECIPES) == [
        "Add a kind of question", "Add an encoding", "Add a rule for an operation", "Add a test model",
    ]  # fmt: skip
    for name, recipe in RECIPES.items():
        assert len(recipe.splitlines()) < 45, name
        for code in re.findall(r"```python\n(.*?)```", recipe, re.DOTALL):
            (file,) = re.findall(r"`(tests/toy/\w+\.py)`", recipe)
            assert code in (ROOT / file).read_text("utf-8"), name
        for path in re.findall(r"`((?:tests|lmtt_widget|js|tools)/[\w/.]+)`", recipe):
            assert (ROOT / path).exists(), path


def test_a_kind_of_question_is_asked_once_it_is_registered(own: None) -> None:
    run = zoo.recorded(zoo.Case("llama"))
    graph = lmtt.attribute(run)
    with pytest.raises(ValueError, match="a selection has one of the kinds"):
        answers.check(run, {"kind": "letters", "pos": 1})
    answers.register(letters)
    assert answers.answer(run, graph, {"kind": "letters", "pos": 1})["letters"] == 0  # "#14"
    with pytest.raises(ValueError, match="has the fields kind, pos, got 'state'"):
        answers.check(run, {"kind": "letters", "pos": 1, "state": 2})


def test_an_encoding_weighs_lines_once_it_is_registered(own: None) -> None:
    graph = lmtt.attribute(zoo.recorded(zoo.Case("llama")))
    with pytest.raises(ValueError, match='encoding must be "flow" or "share" or "effect", got \'even\''):
        lmtt.trace(graph, encoding="even")
    encodings.register(EVEN)
    assert (lmtt.trace(graph, encoding="even").strength == lmtt.trace(graph, encoding="flow").strength).all()
    with pytest.raises(ValueError, match="there is an encoding 'even' already"):
        encodings.register(encodings.Encoding("even", lambda lines: lines.share))


def in_degrees(module: nn.Module) -> nn.Module:
    """A model whose second layer ends in a call that no rule reads."""
    layer = module.get_submodule("model.layers.1")
    forward: Callable[..., Any] = layer.forward

    def turned(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        return torch.deg2rad(out) if isinstance(out, torch.Tensor) else (torch.deg2rad(out[0]), *out[1:])

    layer.forward = turned  # type: ignore[method-assign]
    return module


def test_a_call_is_read_once_it_has_a_rule(own: None) -> None:
    model = lmtt.load_model(in_degrees(zoo.make("llama")))
    with pytest.raises(lmtt.UndecomposableError, match="deg2rad"):
        lmtt.record(model, zoo.prompt())
    degrees.register()
    run = lmtt.record(model, zoo.prompt())
    assert run.fidelity.exact
    for state in run.states[1:]:
        parts = sum((p.output(run.n_tokens) for p in state.parts), run.carried(state.index))
        torch.testing.assert_close(parts, run.value(state.index), atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match=r"deg2rad is read by _radians already; one rule per call"):
        degrees.register()


def test_a_type_that_the_zoo_does_not_name_is_built_small_and_read() -> None:
    name = "arcee"
    if name not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        pytest.skip(f"this version of transformers has no {name}")
    assert name not in zoo._TYPES.split()
    run = lmtt.record(lmtt.load_model(zoo.make(name)), zoo.prompt())
    assert run.fidelity.exact
    assert sum(p.numel() for p in run.model.module.parameters()) < 1_000_000
