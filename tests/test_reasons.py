"""Laws of reasons: a score is the sum of its table, whatever the architecture, and the table is what hands compute."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import lmtt_widget as lmtt
from lmtt_widget import Reasons, attention_reasons

from . import untouched, zoo
from .test_estimates import OnlyForwardLinear
from .test_interventions import clean

QUERY = 5
# What no sum of products of two linear maps is, in the words of the refusal.
REFUSED = {
    "gemma3n_text": "several streams",
    "hy_v4": "several streams",
    "gemma3n_text-shared-keys": "several streams",
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_a_score_is_the_sum_of_its_table_and_scores_differ_as_the_pattern_says(case: zoo.Case) -> None:
    run = clean(case)
    exact = run.states[0].value.dtype == torch.float64
    part = next((p for p in reversed(run.parts) if p.kind == "attention"), None)
    if part is None:
        return
    head = part.n_heads - 1
    pattern = lmtt.attention_pattern(part, QUERY)[head].double()
    keys = [k for k in range(QUERY + 1) if pattern[k] > 0]
    if str(case) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[str(case)]):
            attention_reasons(run, part, head, QUERY, keys[0])
        return
    found = {k: attention_reasons(run, part, head, QUERY, k) for k in keys}
    first = found[keys[0]]
    average = torch.stack([found[k].table.sum(0) for k in keys]).mean(0)
    for k, r in found.items():
        assert float(r.table.sum()) + r.beside == pytest.approx(r.score, rel=1e-9, abs=1e-9)
        if not r.capped:  # a softmax knows nothing of what a row shares
            ratio = float((pattern[k] / pattern[keys[0]]).log())
            assert r.score - first.score == pytest.approx(ratio, rel=1e-6, abs=1e-6 if exact else 1e-4)
        for side in (r.asked, r.answered):
            assert float(side.sum()) + r.position == pytest.approx(r.score - r.average, rel=1e-9, abs=1e-9)
        size = float(r.table.abs().sum())
        torch.testing.assert_close(r.answered, r.table.sum(0) - average, rtol=0, atol=size * (1e-9 if exact else 1e-5))


def test_heads_that_are_subtracted_from_one_another_answer_each_for_itself() -> None:
    """Two heads stand at one place of what is projected (differential attention; Ye et al. 2024, arXiv:2410.05258)."""
    test_a_score_is_the_sum_of_its_table_and_scores_differ_as_the_pattern_says(zoo.Case("diffllama"))


def test_queries_and_keys_that_are_rotated_in_place_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama import modeling_llama

    of_new = modeling_llama.apply_rotary_pos_emb

    def in_place(q: Tensor, k: Tensor, *beside: Any, **options: Any) -> tuple[Tensor, Tensor]:
        half, (new_q, new_k) = q.shape[-1] // 2, of_new(q, k, *beside, **options)
        q, made = q.clone(), torch.empty_like(k)
        for old, new in ((q, new_q), (made, new_k)):
            old[..., :half] = new[..., :half]
            old[..., half:].copy_(new[..., half:])
        return q, made

    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", in_place)
    clean.cache_clear()
    (llama,) = [case for case in zoo.cases() if str(case) == "llama"]
    test_a_score_is_the_sum_of_its_table_and_scores_differ_as_the_pattern_says(llama)
    clean.cache_clear()


def rotated(x: Tensor, model: Any, pos: int) -> Tensor:
    """Rotary embedding by hand: [.., d_head]."""
    n = x.shape[-1]
    angle = pos * 10000.0 ** (-torch.arange(0, n, 2, dtype=torch.float64) / n)
    c, s = angle.cos().repeat(2), angle.sin().repeat(2)
    half = torch.cat([-x[..., n // 2 :], x[..., : n // 2]], -1)
    return x * c + half * s


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_cell_of_the_table_is_what_weights_by_hand_give(name: str) -> None:
    """q and k of one head's and one MLP's output, through frozen norms, weights and rotary embedding."""
    run = clean(zoo.Case(name))
    model: Any = run.model.module
    part = run.part("attention", layer=2)
    head, query, key = 3, 5, 2
    r = attention_reasons(run, part, head, query, key)
    state = run.value(part.reads)
    asker = next(i for i, s in enumerate(r.asked_by) if (s.kind, s.layer, s.head) == ("head", 1, 2))
    answerer = next(i for i, s in enumerate(r.answered_by) if (s.kind, s.layer) == ("mlp", 0))
    a = lmtt.head_vectors(run.part("attention", layer=1), query)[2]
    b = run.part("mlp", layer=0).output(run.n_tokens)[key]
    if name == "gpt2":
        block = model.transformer.h[2]
        d = block.attn.head_dim

        def normed(x: Tensor, pos: int) -> Tensor:
            sigma = (state[pos].var(unbiased=False) + block.ln_1.eps).sqrt()
            return (x - x.mean()) / sigma * block.ln_1.weight

        w = block.attn.c_attn.weight
        q = normed(a, query) @ w[:, head * d : (head + 1) * d]
        k = normed(b, key) @ w[:, 48 + head * d : 48 + (head + 1) * d]
        scale = d**-0.5
    else:
        block = model.model.layers[2]
        d, shared = block.self_attn.head_dim, block.self_attn.num_key_value_groups

        def normed(x: Tensor, pos: int) -> Tensor:
            norm = block.input_layernorm
            return x / (state[pos].pow(2).mean() + norm.variance_epsilon).sqrt() * norm.weight

        kv = head // shared
        q = rotated(normed(a, query) @ block.self_attn.q_proj.weight[head * d : (head + 1) * d].T, model, query)
        k = rotated(normed(b, key) @ block.self_attn.k_proj.weight[kv * d : (kv + 1) * d].T, model, key)
        scale = block.self_attn.scaling
    torch.testing.assert_close(r.table[asker, answerer], (q @ k * scale).detach(), rtol=1e-5, atol=1e-9)


def test_pairs_are_cells_less_the_average_of_their_row(bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, "When Mary and John went to the store, John gave a drink to")
    part = run.part("attention", layer=2)
    found = {k: attention_reasons(run, part, 6, 13, k) for k in range(14)}
    r = found[1]
    best = r.answered_by[int(r.answered.argmax())]
    assert (best.layer, best.head) == (1, 3)  # the previous-token head of the model's card
    mean = torch.stack([f.table for f in found.values()]).mean(0)
    for pair in r.pairs[:20]:
        a, b = r.asked_by.index(pair.asked_by), r.answered_by.index(pair.answered_by)
        assert pair.value == pytest.approx(float((r.table - mean)[a, b]), abs=1e-4)
    sizes = [abs(pair.value) for pair in r.pairs]
    assert sizes == sorted(sizes, reverse=True)
    assert {row["side"] for row in r.to_dict()} == {"asked", "answered"}


def test_every_part_that_asked_or_answered_opens_a_selection_of_the_run(bundled: lmtt.Model) -> None:
    from lmtt_widget import answers

    run = lmtt.record(bundled, "When Mary and John went to the store, John gave a drink to")
    r = attention_reasons(run, run.part("attention", layer=2), 6, 13, 1)
    for sources, pos in ((r.asked_by, 13), (r.answered_by, 1)):
        selections = [s.selection(pos) for s in sources if s.kind != "bias"]
        assert [answers.why_not(run, s) for s in selections] == [""] * len(selections)


def test_the_model_is_untouched_and_the_tape_is_kept_for_the_next_question() -> None:
    run = lmtt.record(lmtt.load_model(zoo.shared(zoo.Case("gpt2"))), zoo.prompt())
    before = untouched.everything(run.model.module)
    part, calls = run.part("attention", layer=2), []
    layers = run.model.module.transformer.h  # type: ignore[union-attr]
    hooks = [m.register_forward_pre_hook(lambda m, *_: calls.append(m)) for m in layers]  # type: ignore[union-attr]
    first = attention_reasons(run, part, 1, 5, 2)
    again: Reasons = attention_reasons(run, part, 1, 5, 2)
    attention_reasons(run, part, 0, 6, 1)
    for hook in hooks:
        hook.remove()
    assert calls == [layers[2]]  # type: ignore[index]
    assert torch.equal(first.table, again.table)
    untouched.assert_unchanged(run.model.module, before)


@pytest.mark.parametrize("case", zoo.cases()[::3], ids=str)
def test_a_layer_alone_says_what_a_whole_pass_says(case: zoo.Case) -> None:
    run, whole = clean(case), copy.copy(clean(case))
    whole.given_to, whole.asked = [], {}
    for part in [p for p in run.parts if p.kind == "attention"][1:3]:
        tables = []
        for one in (run, whole):
            try:
                found = attention_reasons(one, part, 1, QUERY, QUERY)
                tables.append((found.table, found.asked, found.answered))
            except ValueError as e:
                tables.append(str(e))
        if isinstance(tables[0], str):
            assert tables[0] == tables[1]
        else:
            for a, b in zip(*tables, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_a_layer_that_does_not_do_the_same_again_is_run_in_its_pass() -> None:
    """What is kept of its call is no longer what it was: somebody wrote in it."""
    run = lmtt.record(lmtt.load_model(zoo.make("llama")), zoo.prompt())
    part, plain = run.part("attention", layer=2), lmtt.record(run.model, zoo.prompt())
    for x in run.given_to[2].kwargs["position_embeddings"]:  # type: ignore[union-attr]
        x.zero_()
    found, expected = (attention_reasons(r, r.part("attention", layer=2), 1, 5, 2) for r in (run, plain))
    assert torch.equal(found.table, expected.table)
    assert part.layer == 2


def test_what_cannot_be_asked_is_refused_in_words(bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, "Mary went home because")
    part, mlp = run.part("attention", layer=1), run.part("mlp", layer=1)
    with pytest.raises(ValueError, match="only an attention part has scores"):
        attention_reasons(run, mlp, 0, 2, 1)
    with pytest.raises(ValueError, match=r"a query looks back: key must be in 0\.\.1, got 2"):
        attention_reasons(run, part, 0, 1, 2)
    with pytest.raises(ValueError, match=r"head must be in 0\.\.7"):
        attention_reasons(run, part, 8, 2, 1)
    with pytest.raises(ValueError, match=r"query must be in 0\.\.3"):
        attention_reasons(run, part, 0, 9, 1)
    edited = lmtt.record(bundled, run, interventions=[lmtt.Edit({"kind": "mlp", "state": 2})])
    with pytest.raises(ValueError, match="without edits"):
        attention_reasons(edited, edited.part("attention", layer=1), 0, 2, 1)


def test_a_kernel_without_a_way_back_says_the_same() -> None:
    plain, forward_only = (lmtt.load_model(zoo.make("llama", dtype=torch.float32)) for _ in range(2))
    for layer in forward_only.module.model.layers:  # type: ignore[union-attr]
        layer.self_attn.k_proj.__class__ = OnlyForwardLinear
    one, two = (lmtt.record(m, zoo.prompt()) for m in (plain, forward_only))
    first, second = (attention_reasons(run, run.part("attention", layer=2), 1, 5, 2) for run in (one, two))
    torch.testing.assert_close(first.table, second.table, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.answered, second.answered, rtol=1e-3, atol=1e-5)
