"""Proximity and shares: the papers' facts, the golden files, and the naive formula on models of five types."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lmtt_widget import Graph, attribute, head_shares, inside, load_model, neuron_shares, proximity, record, renormalise
from lmtt_widget.decomposition.paths import Path
from lmtt_widget.graph import READ
from lmtt_widget.parts import Part, State

from . import dense, golden, oracle, synthetic, zoo
from .dense import AttentionShare, Dense, PartShare

IDS = zoo.prompt()
NAIVE = [zoo.Case(*c.split()) for c in ("gpt2", "gpt_neox parallel", "gemma2", "qwen3_next", "mixtral")]
each_case = pytest.mark.parametrize("case", zoo.cases(), ids=str)
each_naive = pytest.mark.parametrize("case", NAIVE, ids=str)


def rows(*vectors: list[float]) -> Tensor:
    return torch.tensor(vectors, dtype=torch.float64)


def shares_of(parts: Tensor, whole: Tensor, p: float = 1) -> Tensor:
    near = proximity(parts, whole, p)
    return near / near.sum(-1, keepdim=True)


# ---- facts about proximity ----


def test_of_disjoint_parts_each_has_its_size() -> None:
    parts = rows([3, -1, 0, 0], [0, 0, 2, 5])
    torch.testing.assert_close(shares_of(parts, parts.sum(0)), rows([4 / 11, 7 / 11])[0])


def test_a_collinear_part_is_nearest_when_it_is_the_whole() -> None:
    whole = rows([2.0, -3.0, 0.5])[0]
    c = rows([-0.5, 0, 0.25, 0.5, 1, 1.5, 2, 2.5])[0]
    expected = rows([0, 0, 0.25, 0.5, 1, 0.5, 0, 0])[0]
    for p in (1, 2):
        size = torch.linalg.vector_norm(whole, p)
        torch.testing.assert_close(proximity(c[:, None] * whole, whole, p) / size, expected)


def test_distances_are_sums_of_absolute_differences_unless_asked_otherwise() -> None:
    parts, whole = rows([1, 1], [-1, 0], [2, 1]), rows([2, 2])[0]
    torch.testing.assert_close(shares_of(parts, whole), rows([0.4, 0, 0.6])[0])
    torch.testing.assert_close(shares_of(parts, whole, 2), rows([0.43613, 0, 0.56387])[0], atol=5e-6, rtol=0)
    parts, whole = rows([1, 1], [2, 2], [1, 1]), rows([4, 4])[0]
    torch.testing.assert_close(shares_of(parts, whole, 2), rows([0.25, 0.5, 0.25])[0])


def random_parts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    parts = torch.randn(3, 6, 11, generator=generator, dtype=torch.float64)
    return parts, parts.sum(1)


def test_shares_do_not_change_with_the_unit() -> None:
    parts, whole = random_parts()
    torch.testing.assert_close(shares_of(-7 * parts, -7 * whole), shares_of(parts, whole))


def test_shares_do_not_depend_on_the_order() -> None:
    parts, whole = random_parts()
    parts_order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    axis_order = torch.randperm(11, generator=torch.Generator().manual_seed(2))
    shuffled = shares_of(parts[:, parts_order][..., axis_order], whole[:, axis_order])
    torch.testing.assert_close(shuffled, shares_of(parts, whole)[:, parts_order])


def test_a_part_listed_as_two_halves_has_another_share() -> None:
    parts = rows([3, 1, -2], [1, 2, 1])
    halves = torch.cat([parts[:1] / 2, parts[:1] / 2, parts[1:]])
    whole, halved = shares_of(parts, parts.sum(0)), shares_of(halves, parts.sum(0))
    assert abs(float(halved[:2].sum() - whole[0])) > 0.05


def test_proximity_is_at_most_the_size_of_the_part_and_never_negative() -> None:
    parts, whole = random_parts()
    near = proximity(parts, whole)
    assert bool((near >= 0).all())
    assert bool((near <= parts.abs().sum(-1) + 1e-12).all())


def test_proximity_of_half_precision_is_computed_wider() -> None:
    whole = torch.full((4096,), 30.0, dtype=torch.float16)  # |whole| overflows float16
    near = proximity(whole[None] / 2, whole)
    assert near.dtype == torch.float32
    assert float(near) == 4096 * 15


# ---- shares of a run ----


@each_case
def test_shares_of_a_node_sum_to_one(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    flow = Dense(attribute(run))
    total = flow.carried.clone()
    for part, p in zip(run.parts, flow.parts, strict=True):
        if isinstance(p, AttentionShare):
            total[part.state] += p.share_sum.sum(1)
            assert bool((p.share_sum >= p.share_max).all())
            assert bool((p.share_max >= 0).all())
            assert not p.share_sum.triu(1).any()  # a later token is no part
        elif isinstance(p, PartShare):
            total[part.state] += p.share
            assert bool((p.share >= 0).all())
        else:
            assert part.kind in ("constant", "embedding", "rounding")
    torch.testing.assert_close(total[1:], (~flow.ended[1:]).to(total), atol=1e-6, rtol=0)
    assert not total[0].any()
    assert not flow.ended[0].any()


@each_naive
def test_shares_are_those_of_the_naive_formula(case: zoo.Case) -> None:
    run, eager = zoo.recorded(case), zoo.make(case, attention="eager")
    flow = Dense(attribute(run))
    for index in range(zoo.N_LAYERS):
        layer = oracle.layer(eager, IDS, index)
        update = layer.attention if layer.attention is not None else layer.mixer
        assert update is not None
        if layer.middle is None:
            steps = [(run.view("resid_post", index), layer.after, [layer.before, update, layer.mlp])]
        else:
            steps = [
                (run.view("resid_mid", index), layer.middle, [layer.before, update]),
                (run.view("resid_post", index), layer.after, [layer.middle, layer.mlp]),
            ]
        for state, whole, parts in steps:
            carried, *expected = oracle.shares(whole, *parts)
            close(flow.carried[state.index], carried)
            assert len(state.parts) == len(expected)
            for part, share in zip(state.parts, expected, strict=True):
                p = flow.parts[run.parts.index(part)]
                if isinstance(p, AttentionShare):  # share: [query, key, head]
                    close(p.share_sum, share.sum(2))
                    close(p.share_max, share.amax(2))
                    close(dense.tensor(flow.graph.head_sum[part.number, : share.shape[2]]), share.sum(1).T)
                    close(head_shares(run, part), share.permute(2, 0, 1))
                    close(head_shares(run, part, 4), share[4].T)
                    held = share.gather(2, p.top_head[..., None].long())[..., 0]
                    close(held, share.amax(2))
                else:
                    assert isinstance(p, PartShare)
                    close(p.share, share)


@each_naive
def test_shares_of_neurons_are_those_of_the_naive_formula(case: zoo.Case) -> None:
    run, eager = zoo.recorded(case), zoo.make(case, attention="eager")
    index = 1  # qwen3_next: the layer whose MLP is dense
    layer = oracle.layer(eager, IDS, index)
    part = next(p for p in run.view("resid_post", index).parts if p.kind == "mlp")
    if layer.middle is None:
        assert layer.attention is not None
        others = [layer.before, layer.attention]
    else:
        others = [layer.middle]
    expected = oracle.shares(layer.after, layer.neurons, *others)[0]
    for pos in (0, 3, len(IDS) - 1):
        got = neuron_shares(run, part, pos)
        n_neurons = part.linear[0].input.shape[1]
        experts = [int(w.module.split("[")[1][:-1]) if "[" in w.module else 0 for w in part.linear]
        at = torch.tensor(experts)[got.write] * n_neurons + got.neuron
        assert len(at.unique()) == len(at)
        full = torch.zeros_like(expected[pos])
        full[at] = got.share.to(full)
        close(full, expected[pos])


def test_a_neuron_has_the_value_that_enters_the_down_projection() -> None:
    run, model = zoo.recorded(zoo.Case("llama")), zoo.shared(zoo.Case("llama"))
    part = next(p for p in run.parts if p.kind == "mlp" and p.layer == 2)
    _, [(x, _)] = oracle.watch(model, IDS, model.get_submodule("model.layers.2.mlp.down_proj"))
    torch.testing.assert_close(neuron_shares(run, part, 4).value, x[0, 4])


def test_the_share_of_an_mlp_is_not_the_sum_over_its_neurons() -> None:
    run = zoo.recorded(zoo.Case("llama"))
    part = next(p for p in run.parts if p.kind == "mlp")
    mlp = Dense(attribute(run)).parts[run.parts.index(part)]
    assert isinstance(mlp, PartShare)
    assert abs(float(neuron_shares(run, part, 5).share.sum() - mlp.share[5])) > 1e-3


@pytest.mark.parametrize("case", ["openai-gpt", "opt 350m", "bloom post-norm_residual", "gpt_oss", "rwkv"])
def test_constants_get_shares_only_when_asked(case: str) -> None:
    run = zoo.recorded(zoo.Case(*[c.replace("_residual", " residual") for c in case.split()]))
    plain, asked = Dense(attribute(run)), Dense(attribute(run, bias_part=True))
    assert "constants no part" in plain.graph.partition
    assert "constants as one part" in asked.graph.partition
    constants = [k for k, p in enumerate(run.parts) if p.kind == "constant"]
    assert constants
    for k in constants:
        part, share = run.parts[k], asked.parts[k]
        assert plain.parts[k] is None
        assert isinstance(share, PartShare)
        whole = run.value(part.state)
        near, carried = (proximity(z[:, None], whole)[:, 0] for z in (part.output(7), run.carried(part.state)))
        close(share.share * carried, asked.carried[part.state] * near)
    total = asked.carried.clone()
    for part, p in zip(run.parts, asked.parts, strict=True):
        if p is not None:
            total[part.state] += p.share_sum.sum(1) if isinstance(p, AttentionShare) else p.share
        if isinstance(p, AttentionShare):
            total[part.state] += p.constant
    close(total[1:], torch.ones_like(total[1:]))


def test_the_output_bias_of_attention_is_a_constant_too() -> None:
    run = zoo.recorded(zoo.Case("gpt2"))
    layer, state = oracle.layer(zoo.make("gpt2", attention="eager"), IDS, 0), run.view("resid_mid", 0)
    bias = zoo.shared(zoo.Case("gpt2")).get_submodule("transformer.h.0.attn.c_proj").bias
    assert layer.attention is not None
    assert layer.middle is not None
    with_bias = oracle.shares(layer.middle, layer.before, layer.attention, bias.expand_as(layer.before))
    close(Dense(attribute(run)).carried[state.index], oracle.shares(layer.middle, layer.before, layer.attention)[0])
    close(Dense(attribute(run, bias_part=True)).carried[state.index], with_bias[0])


def test_shares_of_bfloat16_are_those_of_the_recorded_numbers_in_float32() -> None:
    run = record(load_model(zoo.make("llama", dtype=torch.bfloat16)), IDS)
    flow = Dense(attribute(run))
    assert flow.carried.dtype == torch.float32
    for state in run.states[1:]:
        (part,) = state.parts
        if part.kind == "mlp":
            whole, carried = state.value.float(), run.states[state.index - 1].value.float()
            near, carried_near = (_l1_near(z, whole) for z in (part.output(run.n_tokens), carried))
            torch.testing.assert_close(flow.carried[state.index], carried_near / (near + carried_near))


def test_wrong_questions_are_refused() -> None:
    run = zoo.recorded(zoo.Case("llama"))
    attention = next(p for p in run.parts if p.kind == "attention")
    mlp = next(p for p in run.parts if p.kind == "mlp")
    with pytest.raises(ValueError, match="only an attention part has heads"):
        head_shares(run, mlp)
    with pytest.raises(ValueError, match="only an MLP part has neurons"):
        neuron_shares(run, attention, 0)
    with pytest.raises(ValueError, match=r"query must be in 0\.\.6, got 7"):
        head_shares(run, attention, 7)
    with pytest.raises(ValueError, match=r"position must be in 0\.\.6, got -1"):
        neuron_shares(run, mlp, -1)


# ---- nodes nothing points towards ----


def test_a_node_without_proximity_ends_and_has_no_shares() -> None:
    """Two parts that cancel exactly: the whole is zero, and so is every proximity (never 0/0)."""
    state = State(1, 0, "after MLP", torch.zeros(3, 4), 0, Path())
    part = Part("mlp", 0, 1, 0, "", [], torch.full((3, 4), -2.0), number=0)
    state.parts = [part]
    states = [State(0, None, "embedding", torch.full((3, 4), 2.0), None, Path()), state]
    like = zoo.recorded(zoo.Case("llama"))
    run = replace(like, states=states, parts=[part], token_ids=torch.arange(3), tokens=[], roles=[])
    flow = Dense(attribute(run))
    assert flow.ended.tolist() == [[False] * 3, [True] * 3]
    assert not flow.carried.any()
    (share,) = flow.parts
    assert isinstance(share, PartShare)
    assert not share.share.any()


# ---- renormalising ----


def two_heads(monkeypatch: pytest.MonkeyPatch) -> Graph:
    heads = torch.zeros(2, 2, 2, dtype=torch.float64)  # [head, query, key]
    heads[0, 0, 0], heads[0, 0, 1], heads[0, 1, 0], heads[0, 1, 1] = 0.05, 0.15, 0.05, 0.05
    monkeypatch.setattr(inside, "head_shares", lambda run, part, query, **_: heads[:, query])
    carried = torch.tensor([[0, 0], [0.8, 0.9]], dtype=torch.float64)
    graph = synthetic.graph(carried, [(0, [synthetic.Entering("attention", 0, heads)])])
    return replace(graph, run=SimpleNamespace(parts=[None]), head_sum=np.zeros((1, 2, 2)))


def test_renormalising_drops_heads_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = renormalise(two_heads(monkeypatch), 0.1)
    got = Dense(graph)
    (p,) = got.parts
    assert isinstance(p, AttentionShare)
    torch.testing.assert_close(p.share_sum, rows([0, 0.157894], [0, 0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(got.carried[1], rows([0.842105, 1])[0], atol=1e-6, rtol=0)
    np.testing.assert_allclose(graph.head_sum[0], [[0.157894, 0], [0, 0]], atol=1e-6)


@each_naive
@pytest.mark.parametrize("reading", ["max", "sum"])
def test_whole_edges_are_dropped_by_the_reading_and_divided_by_what_survives(case: zoo.Case, reading: Any) -> None:
    """What the widget's trait draws: of every node the edges above the threshold, in the weight they are drawn with."""
    graph = attribute(zoo.recorded(case))
    weight = graph.share_max if reading == "max" else graph.share_sum
    for threshold in (0.0, 0.02, 0.2):
        got = renormalise(graph, threshold, reading)
        for state in range(1, len(graph.states)):
            for pos in range(graph.n_tokens):
                here = np.zeros(len(weight), bool)
                for b in graph.blocks:
                    if b.kind != READ and b.entered == state:
                        here[b.edges] = graph.query[b.edges] == pos
                kept = np.where(here & (weight > threshold), weight, 0)
                expected = kept / kept.sum() if kept.any() else kept
                np.testing.assert_allclose(got.share_sum[here], expected[here], atol=1e-6)
                assert got.ended[state, pos] == (not kept.any())


def test_what_cannot_be_renormalised_is_refused() -> None:
    graph = synthetic.random_graph(0)
    with pytest.raises(ValueError, match="heads are dropped one by one only beside the recorded run"):
        renormalise(graph, 0.1)
    with pytest.raises(ValueError, match='by must be "head", "max" or "sum", got \'edge\''):
        renormalise(graph, 0.1, "edge")  # type: ignore[arg-type]


@pytest.mark.parametrize("bias_part", [False, True])
def test_renormalising_at_0_changes_nothing(bias_part: bool) -> None:
    run = zoo.recorded(zoo.Case("openai-gpt"))
    flow = Dense(attribute(run, bias_part=bias_part))
    got = Dense(renormalise(flow.graph, 0.0))
    close(got.carried, flow.carried)
    for p, q in zip(got.parts, flow.parts, strict=True):
        if isinstance(p, AttentionShare) and isinstance(q, AttentionShare):
            close(p.share_sum, q.share_sum)
            close(p.share_max, q.share_max)
        elif isinstance(p, PartShare) and isinstance(q, PartShare):
            close(p.share, q.share)


@each_naive
def test_renormalising_is_dropping_and_dividing_in_the_full_array(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    flow = Dense(attribute(run))
    for threshold in (0.0, 0.013, 0.05):
        got = Dense(renormalise(flow.graph, threshold))
        for state in run.states[1:]:
            kept: dict[Any, Tensor] = {None: flow.carried[state.index]}
            kept |= {
                run.parts.index(p): head_shares(run, p) if p.heads else flow.parts[run.parts.index(p)].share
                for p in state.parts
                if flow.parts[run.parts.index(p)] is not None
            }
            kept = {k: torch.where(x > threshold, x, 0) for k, x in kept.items()}
            total = sum(x.sum((0, 2)) if x.ndim == 3 else x for x in kept.values())
            assert bool((total > 0).all())
            close(got.carried[state.index], kept.pop(None) / total)
            for k, x in kept.items():
                p = got.parts[k]
                if isinstance(p, AttentionShare):
                    close(p.share_sum, x.sum(0) / total[:, None])
                    close(p.share_max, x.amax(0) / total[:, None])
                else:
                    close(p.share, x / total)


# ---- golden files ----


@pytest.mark.parametrize("name", ["gpt2_sin", "gpt2_heads"])
def test_golden_logits(name: str) -> None:
    run, expected = golden.run(name), golden.values(name)
    assert run.fidelity.worst < 1e-14
    golden_close(run.logits[-1], expected["logits_last"])
    assert float(run.logits.abs().sum()) == pytest.approx(expected["sum_abs_logits"], abs=1e-8)
    if "argmax" in expected:
        assert run.logits.argmax(-1).tolist() == expected["argmax"]


@pytest.mark.parametrize("name", ["gpt2_sin", "gpt2_heads"])
def test_golden_shares(name: str) -> None:
    run = golden.run(name)
    flow = Dense(attribute(run))
    for index, layer in enumerate(golden.values(name)["shares_per_layer"]):
        middle, after = run.view("resid_mid", index), run.view("resid_post", index)
        (attention,), (mlp,) = middle.parts, after.parts
        heads = torch.tensor(layer["att"], dtype=torch.float64)  # [query, key, head]
        got = flow.parts[run.parts.index(attention)], flow.parts[run.parts.index(mlp)]
        assert isinstance(got[0], AttentionShare)
        assert isinstance(got[1], PartShare)
        golden_close(head_shares(run, attention), heads.permute(2, 0, 1))
        golden_close(got[0].share_sum, heads.sum(2))
        golden_close(got[0].share_max, heads.amax(2))
        golden_close(flow.carried[middle.index], layer["resid_attn"])
        golden_close(got[1].share, layer["ffn"])
        golden_close(flow.carried[after.index], layer["resid_ffn"])


def golden_close(got: Tensor, expected: Any) -> None:
    """Golden files hold ten digits after the point."""
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def close(got: Tensor, expected: Tensor) -> None:
    """Norms and softmax of the models run in float32."""
    torch.testing.assert_close(got.double(), expected.detach().double(), atol=2e-6, rtol=0)


def _l1_near(z: Tensor, whole: Tensor) -> Tensor:
    return (whole.abs().sum(-1) - (whole - z).abs().sum(-1)).clamp_min(0)
