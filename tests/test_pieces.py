"""What a part is made of is what the model's own modules made, and adds up to what the part added."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lmtt_widget as lmtt

from . import zoo


@pytest.fixture(scope="module")
def run() -> lmtt.Run:
    return lmtt.record(lmtt.load_model(zoo.make("llama", attention="eager")), zoo.prompt(), check="all")


def test_a_pattern_is_what_the_model_gives_out(run: lmtt.Run) -> None:
    model = run.model.module
    with torch.no_grad():
        given = model(run.token_ids[None], output_attentions=True).attentions
    for layer, truth in enumerate(given):
        part = run.part("attention", layer=layer)
        torch.testing.assert_close(lmtt.attention_pattern(part), truth[0])
        torch.testing.assert_close(lmtt.attention_pattern(part, -1), truth[0, :, -1])
    with pytest.raises(ValueError, match="only an attention part has heads"):
        lmtt.attention_pattern(run.part("mlp", layer=0))
    with pytest.raises(ValueError):
        lmtt.attention_pattern(part, run.n_tokens)


def test_values_are_the_output_of_the_value_projection(run: lmtt.Run) -> None:
    module = run.model.module.model.layers[1].self_attn  # type: ignore[union-attr, index]
    kept: list[Tensor] = []
    hook = module.v_proj.register_forward_hook(lambda m, i, o: kept.append(o[0]))
    with torch.no_grad():
        run.model.module(run.token_ids[None])
    hook.remove()
    part = run.part("attention", layer=1)
    per_kv = kept[0].unflatten(-1, (-1, module.head_dim))
    for h in range(part.n_heads):
        truth = per_kv[:, h // (part.n_heads // per_kv.shape[1])]
        torch.testing.assert_close(lmtt.value_vectors(part, h), truth)
        moved = lmtt.attention_pattern(part)[h, 5, :6, None] * (
            truth[:6] @ module.o_proj.weight.detach()[:, h * module.head_dim : (h + 1) * module.head_dim].T
        )
        torch.testing.assert_close(lmtt.head_vectors(part, 5, head=h), moved, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(lmtt.head_vectors(part, 5)[h], moved.sum(0), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("case", ["llama", "gpt2", "mixtral"])
def test_neurons_add_up_to_their_mlp_and_so_do_their_effects(case: str) -> None:
    recorded = zoo.recorded(zoo.Case(case))
    part = next(p for p in recorded.parts if p.kind == "mlp")
    pos = 4
    made = lmtt.neuron_vectors(recorded, part, pos)
    bias = part.output(recorded.n_tokens)[pos] - made.sum(0)
    some = lmtt.neuron_vectors(recorded, part, pos, [3, 0, -1])
    torch.testing.assert_close(some, made[[3, 0, -1]])
    with pytest.raises(ValueError):
        lmtt.neuron_vectors(recorded, part, pos, [len(made)])
    ranked = lmtt.neurons_by_effect(recorded, part, pos, token=5, foil=7, k=len(made))
    effects = lmtt.direct_effects(recorded, made, pos, part.state, 5, 7)
    torch.testing.assert_close(ranked.effect, effects[ranked.neuron])
    assert (ranked.effect.abs().diff() <= 0).all()
    rest = lmtt.direct_effects(recorded, bias[None], pos, part.state, 5, 7)
    whole = next(e for e in lmtt.direct_logit_attribution(recorded, pos, 5, 7, by="part").effects
                 if e.part == part.number)  # fmt: skip
    assert float(ranked.effect.sum() + rest[0]) == pytest.approx(whole.value, abs=1e-5)


def test_a_part_is_found_by_kind_and_layer_or_the_layer_is_described(run: lmtt.Run) -> None:
    assert run.part("attention", layer=1).module == "model.layers.1.self_attn.o_proj"
    with pytest.raises(ValueError, match=r"expected one mixer part in layer 0, found 0; the layer has attention model"):
        run.part("mixer", layer=0)
    with pytest.raises(ValueError, match="in layer 99, found 0; the layer has no parts"):
        run.part("mlp", layer=99)


def test_the_flow_of_the_heads_of_a_part_is_that_of_its_edges(run: lmtt.Run) -> None:
    graph = lmtt.attribute(run)
    routes = lmtt.trace(graph, encoding="flow")
    for part in graph.parts:
        if part.kind == "attention":
            own = float(routes.flow[graph.block(part.number).edges].sum())
            assert routes.head_flow[part.number].sum() == pytest.approx(own, rel=1e-5)
        else:
            assert not routes.head_flow[part.number].any()
