"""The signs of gates, against what hooks on the model's own modules count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lmtt_widget as lmtt
from lmtt_widget import answers
from lmtt_widget.gated import suggested

from . import zoo
from .oracle import watch


def counted(gate: Tensor, up: Tensor) -> Tensor:
    """[neuron, case], one token after the other."""
    found = torch.zeros(gate.shape[1], 4, dtype=torch.long)
    for g, u in zip(gate, up, strict=True):
        for k, (gate_on, up_on) in enumerate(((True, True), (True, False), (False, True), (False, False))):
            found[:, k] += ((g > 0) == gate_on) & ((u > 0) == up_on)
    return found


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_counts_are_those_of_hooks(name: str) -> None:
    module = zoo.make(name)
    run = lmtt.record(lmtt.load_model(module), zoo.prompt())
    for layer in (0, 3):
        mlp = module.model.layers[layer].mlp
        _, ((_, gate), (_, up)) = watch(module, zoo.prompt(), mlp.gate_proj, mlp.up_proj)
        found = lmtt.sign_cases(run, run.part("mlp", layer=layer))
        assert list(found) == [None]
        assert torch.equal(found[None].count, counted(gate[0], up[0]))
        neurons = mlp.act_fn(gate[0]) * up[0]
        most = neurons[found[None].pos.clamp_min(0), torch.arange(len(found[None].pos))[:, None]]
        seen = found[None].count > 0
        assert torch.allclose(found[None].value[seen], most[seen].float(), atol=1e-5)


def test_counts_of_experts_are_those_of_hooks() -> None:
    module = zoo.make("mixtral")
    run = lmtt.record(lmtt.load_model(module), zoo.prompt())
    block = module.model.layers[1].mlp
    _, ((given, _), (_, routed)) = watch(module, zoo.prompt(), block.experts, block.gate)
    chosen = routed[-1]  # [pos, k], the experts of each token
    found = lmtt.sign_cases(run, run.part("mlp", layer=1))
    assert set(found) == set(chosen.unique().tolist())
    for expert, cases in found.items():
        rows = given.reshape(-1, given.shape[-1])[(chosen == expert).any(1)]
        gate, up = (rows @ block.experts.gate_up_proj[expert].T).chunk(2, -1)
        assert torch.equal(cases.count, counted(gate, up))


def test_an_expert_that_is_called_without_a_row_is_read_as_nothing() -> None:
    """As transformers 4.51 calls those that no token chose."""
    module = zoo.make("llama")
    mlp = module.model.layers[1].mlp
    before = mlp.forward
    mlp.forward = lambda x: before(x).index_add(1, torch.arange(0), before(x[:, :0]))
    run = lmtt.record(lmtt.load_model(module), zoo.prompt())
    assert run.fidelity.exact
    assert torch.equal(run.logits, module(torch.tensor([zoo.prompt()])).logits[0])


@pytest.mark.parametrize(("name", "expert"), [("llama", None), ("gemma2", None), ("mixtral", 1), ("phi3", None)])
def test_similarities_are_those_of_the_weights(name: str, expert: int | None) -> None:
    module: Any = zoo.make(name)
    run = lmtt.record(lmtt.load_model(module), zoo.prompt())
    mlp = module.model.layers[1].mlp
    if name == "mixtral":
        gate, up = mlp.experts.gate_up_proj[expert].chunk(2)
        out = mlp.experts.down_proj[expert].T
    elif name == "phi3":
        (gate, up), out = mlp.gate_up_proj.weight.chunk(2), mlp.down_proj.weight.T
    else:
        gate, up, out = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.T
    by_hand = torch.stack([torch.cosine_similarity(a, b) for a, b in ((gate, up), (gate, out), (up, out))], 1)
    found = lmtt.row_similarity(run, run.part("mlp", layer=1), expert)
    assert torch.allclose(found, by_hand.detach().float(), atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_some_neurons_are_those_of_all(name: str) -> None:
    run = lmtt.record(lmtt.load_model(zoo.make(name)), zoo.prompt())
    part = run.part("mlp", layer=1)
    for expert, all_of_them in lmtt.sign_cases(run, part).items():
        some = lmtt.sign_cases(run, part, [3, 0])[expert]
        assert torch.equal(some.count, all_of_them.count[[3, 0]])
        assert torch.equal(some.pos, all_of_them.pos[[3, 0]])
        alike = lmtt.row_similarity(run, part, expert)
        assert torch.allclose(lmtt.row_similarity(run, part, expert, [3, 0]), alike[[3, 0]], atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gemma2", "mixtral", "phi3"])
def test_the_panel_of_a_neuron_says_its_cases_and_what_its_weights_suggest(name: str) -> None:
    run = lmtt.record(lmtt.load_model(zoo.make(name)), zoo.prompt())
    part, graph = run.part("mlp", layer=1), lmtt.attribute(run)
    answer: Any = answers.answer(run, graph, {"kind": "neuron", "state": part.state, "pos": 3, "neuron": 5})
    whole = lmtt.sign_cases(run, part)[answer.expert]
    assert answer.cases.count == whole.count[5].tolist()
    assert answer.cases.at == whole.pos[5].tolist()
    alike = lmtt.row_similarity(run, part, answer.expert)[5].tolist()
    assert answer.cases.similarity == pytest.approx(alike, abs=1e-6)
    assert answer.cases.suggests == [suggested(x) for x in alike[1:]]


def test_what_a_similarity_suggests_is_said_both_ways() -> None:
    """A neuron that writes what it reads, one that writes the opposite, and one that writes something else."""
    assert suggested(0.9) == "promotes what it detects"
    assert suggested(-0.9) == "removes what it detects"
    assert suggested(0.1) == "writes something else than it detects"


def test_neurons_without_a_gate_are_refused() -> None:
    run = zoo.recorded(zoo.Case("gpt2"))
    with pytest.raises(ValueError, match="only an MLP with a gate has sign cases"):
        lmtt.sign_cases(run, run.part("mlp", layer=0))
    with pytest.raises(ValueError, match="only an MLP with a gate has sign cases"):
        lmtt.sign_cases(run, run.part("attention", layer=0))
    mixture = zoo.recorded(zoo.Case("mixtral"))
    with pytest.raises(ValueError, match="no token went to expert 99"):
        lmtt.row_similarity(mixture, mixture.part("mlp", layer=0), 99)
