"""Neurons and heads that write a word, against products of the model's own weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lmtt_widget as lmtt

from . import zoo

TOKEN = 11


def by_hand(name: str, model: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Of each layer the scores of neurons [expert * neuron] and of heads [head]; every array built in full."""
    neurons, heads = [], []
    with torch.no_grad():
        if name == "gpt2":
            final = model.transformer.ln_f.weight * model.get_output_embeddings().weight[TOKEN]
            onto = final - final.mean()
            for block in model.transformer.h:
                neurons.append(block.mlp.c_proj.weight @ onto)
                heads.append((block.attn.c_proj.weight @ onto).unflatten(0, (block.attn.num_heads, -1)).norm(dim=1))
            return neurons, heads
        gain = 1 + model.model.norm.weight if name == "gemma2" else model.model.norm.weight
        onto = gain * model.get_output_embeddings().weight[TOKEN]
        for block in model.model.layers:
            of_mlp = of_heads = onto
            if name == "gemma2":
                of_mlp = onto * (1 + block.post_feedforward_layernorm.weight)
                of_heads = onto * (1 + block.post_attention_layernorm.weight)
            if name == "gemma2":
                neurons.append(block.mlp.down_proj.weight.T @ of_mlp)
            elif name == "mixtral":
                neurons.append(torch.einsum("edn,d->en", block.mlp.experts.down_proj, of_mlp).flatten())
            else:
                routed = torch.einsum("edn,d->en", block.mlp.experts.down_proj, of_mlp).flatten()
                neurons.append(torch.cat([routed, block.mlp.shared_expert.down_proj.weight.T @ of_mlp]))
            d_head = block.self_attn.head_dim
            heads.append((block.self_attn.o_proj.weight.T @ of_heads).unflatten(0, (-1, d_head)).norm(dim=1))
    return neurons, heads


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mixtral", "qwen2_moe"])
def test_the_found_are_those_of_a_product_of_all_weights(name: str, tied: bool) -> None:
    """A norm with a mean, norms after the branches, experts of which most are not asked, one that always is."""
    module = zoo.make(name, tie_word_embeddings=tied)
    neurons, heads = by_hand(name, module)
    found = _promoters(module, 12)
    every = torch.cat(neurons)
    assert [w.score for w in found.promoting] == pytest.approx(every.topk(12).values.tolist(), rel=1e-5)
    assert [w.score for w in found.suppressing] == pytest.approx((-(-every).topk(12).values).tolist(), rel=1e-5)
    assert [w.score for w in found.heads] == pytest.approx(torch.cat(heads).topk(12).values.tolist(), rel=1e-5)
    for w in found.heads:
        assert w.score == pytest.approx(float(heads[w.layer or 0][w.number]), rel=1e-5)


def _promoters(module: Any, k: int) -> lmtt.Promoters:
    """A model of the zoo has no tokenizer, so its words are ids."""
    return lmtt.promoters(lmtt.load_model(module), TOKEN, k=k)


def test_the_score_of_a_neuron_is_what_it_adds_up_to_the_norms_numbers(bundled: lmtt.Model) -> None:
    """On a prompt, effect = activation x score x one number for the final norm at that position."""
    found = lmtt.promoters(bundled, " Mary", k=6)
    run = lmtt.record(bundled, "When Mary and John went to the store, John gave a drink to")
    ratios = []
    for w in (*found.promoting, *found.suppressing):
        part = run.parts[w.part]
        vector = lmtt.neuron_vectors(run, part, 13, [w.number])
        effect = float(lmtt.direct_effects(run, vector, 13, part.state, found.token.id)[0])
        ratios.append(effect / (float(part.linear[0].input[13, w.number]) * w.score))
    assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-3)
    assert ratios[0] > 0


def test_what_was_found_can_be_switched_off(bundled: lmtt.Model) -> None:
    """A neuron that writes the word in the last layer and does so here: without it the word is less likely."""
    found = lmtt.promoters(bundled, "Mary", k=10)
    prompt = "When Mary and John went to the store, John gave a drink to"
    run, w = lmtt.record(bundled, prompt), next(w for w in found.promoting if w.layer == 3)
    assert float(run.parts[w.part].linear[0].input[13, w.number]) > 0
    cut = lmtt.record(bundled, prompt, interventions=[w.edit(to=0, pos=13)])
    change = lmtt.lens_logits(run, -1)[found.token.id] - lmtt.lens_logits(cut, -1)[found.token.id]
    assert float(change) > 0


def test_what_was_found_can_be_set_to_a_value_and_the_word_follows(bundled: lmtt.Model) -> None:
    found = lmtt.promoters(bundled, "Mary", k=10)
    w = next(w for w in found.promoting if w.layer == 3)
    said = []
    for value in (-3.0, 0.0, 3.0):
        run = lmtt.record(bundled, "The capital of France is", interventions=[w.edit(to={"value": value})])
        assert run.parts[w.part].linear[0].input[:, w.number].tolist() == [value] * run.n_tokens
        said.append(float(lmtt.lens_logits(run, -1)[found.token.id]))
    assert said == sorted(said)
    assert said[0] < said[2]


def test_a_word_of_several_tokens_is_refused_with_its_pieces(bundled: lmtt.Model) -> None:
    with pytest.raises(ValueError, match="the word must be one token"):
        lmtt.promoters(bundled, "Constantinople")
    with pytest.raises(ValueError, match="k must be at least 1"):
        lmtt.promoters(bundled, "Mary", k=0)
