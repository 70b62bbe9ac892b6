"""The effects of all heads at once against one at a time, and the kinds of heads against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

import lmtt_widget as lmtt
from lmtt_widget import answers, attribute, direct_logit_attribution, trace
from lmtt_widget.direct import effects_at
from lmtt_widget.patterns import scores

from . import zoo

CASES = ["llama", "gpt2", "gemma2", "falcon", "bloom", "qwen2_moe"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("foil", [None, 3])
def test_effects_of_all_keys_add_up_to_those_of_their_heads(name: str, foil: int | None) -> None:
    run = zoo.recorded(zoo.Case(name))
    token, pos = 5, run.n_tokens - 2
    found = effects_at(run, pos, token, foil)
    for effect in direct_logit_attribution(run, pos, token, foil).effects:
        if effect.part is None or effect.kind == "constant":
            continue
        if effect.head is None:
            if effect.part in found.parts:
                assert found.parts[effect.part] == pytest.approx(effect.value, abs=1e-4)
        else:
            by_key = found.heads[effect.part][effect.head]
            assert len(by_key) == pos + 1
            assert float(by_key.sum()) == pytest.approx(effect.value, abs=1e-4)


def test_the_table_of_heads_adds_up_to_the_logit_difference() -> None:
    model = lmtt.bundled_model()
    run = lmtt.record(model, "When Mary and John went to the store, John gave a drink to")
    foil = model.token_id(" John", "a foil")
    found = answers.answer(run, attribute(run), {"kind": "heads"}, foil=foil)
    total = float(run.logits[-1].max() - run.logits[-1, foil])
    table = found["table"]
    summed = sum(table.effect) + sum(found["others"].effect) + found["rest"]
    assert found["total"] == pytest.approx(total, abs=1e-3)
    assert summed == pytest.approx(total, abs=1e-3)
    assert abs(found["rest"]) < 0.1 * abs(total)


@pytest.mark.parametrize("name", ["llama", "falcon_h1"])
def test_the_shares_of_heads_add_up_to_the_flow_through_attention(name: str) -> None:
    run = zoo.recorded(zoo.Case(name))
    graph = attribute(run)
    table = answers.answer(run, graph, {"kind": "heads"})["table"]
    routes = trace(graph, encoding="flow")
    for part in run.parts:
        if part.heads is not None:
            mine = sum(float(s) for s, p in zip(table.share, table.part, strict=True) if p == part.number)
            assert mine == pytest.approx(float(routes.flow[graph.block(part.number).edges].sum()), abs=1e-5)


def test_the_kinds_of_heads_are_what_they_are_called() -> None:
    """Cell by cell, in plain Python."""
    run = zoo.recorded(zoo.Case("llama"))
    heads = run.parts[0].heads
    assert heads is not None
    ids = [3, 7, 3, 7, 5, 3, 7][: run.n_tokens]
    n = len(ids)
    pattern = heads.pattern()[:, :n, :n]
    wanted: dict[str, list[list[int]]] = {name: [] for name in ("previous", "first", "duplicate", "induction")}
    for q in range(n):
        earlier = [k for k in range(q) if ids[k] == ids[q]]
        wanted["previous"].append([q - 1] if q else [])
        wanted["first"].append([0] if q else [])
        wanted["duplicate"].append(earlier)
        wanted["induction"].append([k + 1 for k in earlier if k + 1 < q])
    found = scores(heads, torch.tensor([*ids, *range(100, 100 + run.n_tokens - n)]))
    padded = run.n_tokens - n
    for name, places in wanted.items():
        for head in range(heads.n_heads):
            rows = [sum(float(pattern[head, q, k]) for k in keys) for q, keys in enumerate(places) if keys]
            if padded and name in ("previous", "first"):
                continue
            assert float(found[name][head]) == pytest.approx(sum(rows) / len(rows), abs=1e-5), name


def test_without_a_token_that_comes_twice_there_is_no_induction() -> None:
    heads = zoo.recorded(zoo.Case("llama")).parts[0].heads
    assert heads is not None
    n = heads.pattern().shape[-1]
    assert all(math.isnan(x) for x in scores(heads, torch.arange(n))["induction"].tolist())
