"""Every answer of the panel says what the functions of the package compute."""

from __future__ import annotations

import pytest
import torch

from lmtt_widget import attribute, direct_logit_attribution, head_shares, load_model, neuron_shares, record, top_tokens
from lmtt_widget.answers import answer as inspect
from lmtt_widget.answers import check as check_selection
from lmtt_widget.answers import follow_ups
from lmtt_widget.attribution import direct_effects
from lmtt_widget.decomposition.vectors import cell_vectors, constant_vectors, head_vectors
from lmtt_widget.lens import head_output, lens_logits, promoted
from lmtt_widget.run import Run
from lmtt_widget.state import detail_state
from lmtt_widget.wire import unpack
from tests import zoo
from tests.allocated import peak

IDS = [3, 14, 15, 92, 65, 35, 8]
QUERY, KEY, HEAD = 5, 2, 1


@pytest.fixture(scope="module")
def seen() -> tuple[Run, object]:
    run = record(load_model(zoo.make("llama")), IDS)
    return run, attribute(run)


@pytest.fixture(scope="module")
def mixture() -> tuple[Run, object]:
    run = record(load_model(zoo.make("qwen2_moe")), IDS)
    return run, attribute(run)


def attention_state(run: Run) -> int:
    return next(p.state for p in reversed(run.parts) if p.kind == "attention")


def mlp_state(run: Run) -> int:
    return next(p.state for p in reversed(run.parts) if p.kind == "mlp")


def test_a_state_is_read_by_the_logit_lens_and_ranks_move_from_the_state_before(seen):
    run, flow = seen
    a = inspect(run, flow, {"kind": "state", "state": 4, "pos": QUERY})
    now, before = lens_logits(run, 4, QUERY), lens_logits(run, 3, QUERY)
    assert a["lens"]["id"].tolist() == now.topk(30).indices.tolist()
    torch.testing.assert_close(a["lens"]["p"], now.softmax(-1)[a["lens"]["id"]])
    for k, (token, change) in enumerate(zip(a["lens"]["id"].tolist(), a["lens"]["change"], strict=True)):
        assert change == int((before > before[token]).sum()) - k


def test_the_lens_without_the_norm_is_another_one(seen):
    run, flow = seen
    question = {"kind": "state", "state": 4, "pos": QUERY}
    plain = inspect(run, flow, question, normalise=False)
    truth = lens_logits(run, 4, QUERY, normalise=False)
    assert plain["lens"]["id"].tolist() == truth.topk(30).indices.tolist()
    assert plain["lens"]["score"].tolist() != inspect(run, flow, question)["lens"]["score"].tolist()


def test_the_last_state_says_what_the_model_says_and_is_settled(seen):
    run, flow = seen
    last = len(run.states) - 1
    a = inspect(run, flow, {"kind": "state", "state": last, "pos": QUERY})
    assert a["lens"]["id"][0] == run.logits[QUERY].argmax()
    assert a["summary"]["on_top"]
    assert a["summary"]["kl"] == pytest.approx(0, abs=1e-9)
    tops = [int(lens_logits(run, s, QUERY).argmax()) for s in range(len(run.states))]
    assert set(tops[a["summary"]["settled"] :]) == {tops[-1]}
    assert a["summary"]["settled"] == 0 or tops[a["summary"]["settled"] - 1] != tops[-1]


def test_the_parts_of_a_state_are_all_of_it(seen):
    run, flow = seen
    for state in range(1, len(run.states)):
        a = inspect(run, flow, {"kind": "state", "state": state, "pos": QUERY})
        assert sum(a["parts"]["share"]) + a["rest"] == pytest.approx(1, abs=1e-6)
        assert a["parts"]["share"] == sorted(a["parts"]["share"], reverse=True)


def test_an_edge_names_each_heads_share_attention_and_direct_effect(seen):
    run, flow = seen
    state = attention_state(run)
    part = next(p for p in run.states[state].parts if p.kind == "attention")
    a = inspect(run, flow, {"kind": "edge", "state": state, "query": QUERY, "key": KEY}, target=QUERY, foil=7)
    shares = head_shares(run, part, QUERY)[:, KEY]
    heads = a["heads"]["head"]
    torch.testing.assert_close(a["heads"]["share"], shares[heads])
    torch.testing.assert_close(a["heads"]["attention"], part.heads.pattern([QUERY])[heads, 0, KEY])
    everything = direct_logit_attribution(run, QUERY, foil=7)
    number = run.parts.index(part)
    whole_head = next(e.value for e in everything.effects if e.part == number and e.head == HEAD)
    over_keys = 0.0
    for key in range(QUERY + 1):
        b = inspect(run, flow, {"kind": "edge", "state": state, "query": QUERY, "key": key}, target=QUERY, foil=7)
        over_keys += float(b["heads"]["effect"][b["heads"]["head"].tolist().index(HEAD)])
    assert over_keys == pytest.approx(whole_head, abs=1e-9)


def test_a_heads_map_is_its_share_of_every_pair(seen):
    run, flow = seen
    state = attention_state(run)
    part = next(p for p in run.states[state].parts if p.kind == "attention")
    a = inspect(run, flow, {"kind": "head", "state": state, "head": HEAD, "query": QUERY, "key": KEY})
    torch.testing.assert_close(a["contribution"], head_shares(run, part)[HEAD])
    torch.testing.assert_close(a["pattern"], part.heads.pattern()[HEAD])
    assert a["max_all"]["contribution"] == pytest.approx(float(head_shares(run, part).max()))
    output = head_output(part, HEAD)[QUERY]
    truth = promoted(run, output, QUERY, state=state)
    assert [t.id for t in a["all"]["promoted"].tokens] == [t.id for t in truth.promoted.tokens]


def test_neurons_are_ranked_by_share_and_more_come_on_demand(seen):
    run, flow = seen
    state = mlp_state(run)
    part = next(p for p in run.states[state].parts if p.kind == "mlp")
    truth = neuron_shares(run, part, QUERY)
    question = {"kind": "mlp", "state": state, "pos": QUERY}
    a, more = inspect(run, flow, question), inspect(run, flow, question | {"top": 40})
    assert len(a["neurons"]["neuron"]) == 20
    assert len(more["neurons"]["neuron"]) == 40
    torch.testing.assert_close(a["neurons"]["share"], truth.share.sort(descending=True).values[:20])


def test_the_neurons_direct_effects_and_the_bias_add_up_to_the_mlps(seen):
    run, flow = seen
    state = mlp_state(run)
    a = inspect(run, flow, {"kind": "mlp", "state": state, "pos": QUERY, "top": 10_000})
    part = next(p for p in run.states[state].parts if p.kind == "mlp")
    bias = constant_vectors(part.linear[0], len(IDS))[QUERY]
    rest = direct_effects(run, bias[None], QUERY, state, int(run.logits[-1].argmax()))
    assert float(sum(a["neurons"]["effect"]) + rest) == pytest.approx(a["effect"], rel=1e-6)


def test_a_neurons_tokens_flip_with_the_sign_of_its_activation(seen):
    run, flow = seen
    state = mlp_state(run)
    part = next(p for p in run.states[state].parts if p.kind == "mlp")
    values = part.linear[0].input
    signs = values.sign()
    neuron = next(n for n in range(values.shape[1]) if {-1.0, 1.0} <= set(signs[:, n].tolist()))
    up, down = (int((signs[:, neuron] == s).nonzero()[0]) for s in (1, -1))
    ask = {"kind": "neuron", "state": state, "neuron": neuron}
    a, b = inspect(run, flow, ask | {"pos": up}), inspect(run, flow, ask | {"pos": down})
    ids = lambda x, side: [t.id for t in x[side].tokens]  # noqa: E731
    assert ids(a, "promoted") == ids(b, "suppressed")
    assert ids(a, "suppressed") == ids(b, "promoted")
    torch.testing.assert_close(a["strip"].double(), values[:, neuron].double(), rtol=1e-6, atol=1e-6)


def test_gate_times_up_is_the_neurons_value(seen):
    run, flow = seen
    state = mlp_state(run)
    a = inspect(run, flow, {"kind": "neuron", "state": state, "pos": QUERY, "neuron": 3})
    silu = a["gate"] / (1 + torch.tensor(-a["gate"], dtype=torch.float64).exp())
    assert float(silu * a["up"]) == pytest.approx(a["value"], rel=1e-6)


def test_experts_come_with_their_routing_weight_and_neurons_are_addressed_by_expert(mixture):
    run, flow = mixture
    state = mlp_state(run)
    a = inspect(run, flow, {"kind": "mlp", "state": state, "pos": QUERY})
    routed = [(e, w) for e, w in zip(a["experts"]["expert"], a["experts"]["weight"], strict=True) if e != "shared"]
    assert len(routed) == 2
    assert "shared" in a["experts"]["expert"]
    assert all(0 < w < 1 for _, w in routed)
    neuron, expert = int(a["neurons"]["neuron"][0]), a["neurons"]["expert"][0]
    b = inspect(run, flow, {"kind": "neuron", "state": state, "pos": QUERY, "neuron": neuron, "expert": expert})
    assert b["share"] == pytest.approx(float(a["neurons"]["share"][0]))
    assert b["value"] == pytest.approx(float(a["neurons"]["value"][0]))


def test_a_token_has_the_probability_the_model_gave_it(seen):
    run, flow = seen
    a = inspect(run, flow, {"kind": "token", "pos": 3})
    assert a["p"] == pytest.approx(float(run.logits[2].softmax(-1)[IDS[3]]))
    assert [t.id for t in a["next"].tokens] == [t.id for t in top_tokens(run, 3).tokens]
    assert inspect(run, flow, {"kind": "token", "pos": 0})["p"] is None


def test_what_comes_after_a_prediction_has_no_effect_on_it(seen):
    run, flow = seen
    mlp, attention = mlp_state(run), attention_state(run)
    for selection in (
        {"kind": "carried", "state": mlp, "pos": QUERY},
        {"kind": "mlp", "state": mlp, "pos": QUERY},
        {"kind": "neuron", "state": mlp, "pos": QUERY, "neuron": 3},
        {"kind": "head", "state": attention, "head": HEAD, "query": QUERY, "key": KEY},
    ):
        before, at = (inspect(run, flow, selection, target=target)["effect"] for target in (QUERY - 1, QUERY))
        assert before is None
        assert at is not None
    edge = {"kind": "edge", "state": attention, "query": QUERY, "key": KEY}
    assert set(inspect(run, flow, edge, target=QUERY - 1)["heads"]["effect"]) == {None}
    assert None not in inspect(run, flow, edge, target=QUERY)["heads"]["effect"]


def test_a_mixer_says_why_it_has_no_map():
    run = record(load_model(zoo.make("mamba")), IDS)
    a = inspect(run, attribute(run), {"kind": "mixer", "state": 1, "pos": QUERY})
    assert "no pattern over keys" in a["why"]
    assert 0 < a["share"] <= 1


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (
            {"kind": "nonsense"},
            "one of the kinds carried, continued, contrast, cut, edge, edits, enough, head, heads, mixer, mlp, neuron, "
            "reasons, state, token, word",
        ),
        ("state", "one of the kinds carried"),
        ({"kind": "state", "state": 4}, "pos is missing"),
        ({"kind": "state", "state": 99, "pos": 0}, r"state must be in 0\.\.8, got 99"),
        ({"kind": "state", "state": 1, "pos": True}, r"pos must be in 0\.\.6, got True"),
        ({"kind": "head", "state": 1, "head": 4, "query": 3}, r"head must be in 0\.\.3, got 4"),
        ({"kind": "neuron", "state": 2, "pos": 3, "neuron": 80}, r"neuron must be in 0\.\.79, got 80"),
        ({"kind": "edge", "state": 2, "query": 3, "key": 1}, "no attention part enters state 2"),
        ({"kind": "edge", "state": 1, "query": 3, "key": 5}, r"keys up to itself, 0\.\.3, got key 5"),
        ({"kind": "mlp", "state": 2, "pos": 3, "top": 0}, "top is how many neurons are listed, 1 or more, got 0"),
        ({"kind": "mlp", "state": 2, "pos": 3, "top": "all"}, "top must be in"),
        (
            {"kind": "neuron", "state": 2, "pos": 3, "neuron": 1, "expert": 2},
            "this MLP has no experts: leave expert out",
        ),
        ({"kind": "carried", "state": 0, "pos": 1}, "the embedding continues no earlier state"),
    ],
)
def test_a_selection_that_names_nothing_is_refused_in_words(seen, selection, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_selection(seen[0], selection)


def test_an_expert_that_did_not_see_the_token_is_refused_and_those_that_did_are_named(mixture):
    run, _ = mixture
    state = mlp_state(run)
    with pytest.raises(ValueError, match=r"expert 99 did not see token 5; it went to the experts .*\d"):
        check_selection(run, {"kind": "neuron", "state": state, "pos": QUERY, "neuron": 0, "expert": 99})


COMPARED = [
    ({"kind": "state", "state": 4, "pos": QUERY}, {"state": 2, "pos": KEY}),
    ({"kind": "mlp", "state": 4, "pos": QUERY, "top": 3}, {"pos": KEY}),
    ({"kind": "neuron", "state": 4, "pos": QUERY, "neuron": 3}, {"neuron": 5}),
    ({"kind": "head", "state": 3, "head": 1, "query": QUERY, "key": KEY}, {"head": 2}),
    ({"kind": "token", "pos": QUERY}, {"pos": KEY}),
]


@pytest.mark.parametrize(("one", "change"), COMPARED, ids=lambda x: x.get("kind", ""))
def test_beside_another_answer_each_also_tells_what_only_the_other_lists(seen, one, change):
    run, flow = seen
    a, b = inspect(run, flow, one), inspect(run, flow, one | change)
    beside = inspect(run, flow, one, beside=b)
    extra = 0
    for name, ids, both in _lists(a, b, beside):
        mine, theirs, also = ids
        assert mine.isdisjoint(also), name
        assert theirs <= mine | also, name
        assert also <= theirs, name
        assert both, name
        extra += len(also)
    assert extra > 0
    assert {k: v for k, v in a.items() if isinstance(v, float)} == {
        k: v for k, v in beside.items() if isinstance(v, float)
    }


def _lists(a, b, beside):
    """Of every list: its name, what one side, the other and "also" hold, and whether the added figures are right."""

    def tokens(x):
        return {t.id for side in ("promoted", "suppressed") for t in x[side].tokens}

    for name in ("update", "all", "this_key"):
        if a.get(name):
            also = beside[name]["also"]
            scores = {t.id: float(s) for t, s in zip(also.tokens, also.scores, strict=True)}
            theirs = set().union(*(tokens(b[n]) for n in ("update", "all", "this_key") if b.get(n)))
            yield name, (tokens(a[name]), theirs, set(scores)), _between(a[name], scores)
    if "promoted" in a:
        scores = {t.id: float(s) for t, s in zip(beside["also"].tokens, beside["also"].scores, strict=True)}
        yield "update", (tokens(a), tokens(b), set(scores)), _between(a, scores)
    if "lens" in a:
        also = beside["lens"]["also"]
        ids = [set(x["id"].tolist()) for x in (a["lens"], b["lens"], also)]
        yield "lens", ids, len(also["id"]) == 0 or float(also["p"].max()) <= float(a["lens"]["p"].min())
    if "next" in a:
        ids = [{t.id for t in x.tokens} for x in (a["next"], b["next"], beside["also"])]
        yield "next", ids, float(beside["also"].probabilities.max()) <= float(a["next"].probabilities.min())
    if "neurons" in a:
        lists = (a["neurons"], b["neurons"], beside["neurons"]["also"])
        ids = [set(x["neuron"].tolist()) for x in lists]
        weaker = float(lists[2]["share"].max()) <= float(a["neurons"]["share"].min())
        yield "neurons", ids, weaker and len(lists[2]["effect"]) == len(ids[2])


def _between(lists, scores):
    """Tokens that are listed on neither side lie between the weakest promoted and the weakest suppressed."""
    high, low = float(lists["promoted"].scores[-1]), float(lists["suppressed"].scores[-1])
    return all(low <= s <= high for s in scores.values())


def test_what_follows_a_selection_exists(seen):
    run, flow = seen
    asked = [
        {"kind": "edge", "state": 1, "query": QUERY, "key": KEY},
        {"kind": "mlp", "state": 2, "pos": QUERY},
        {"kind": "state", "state": 3, "pos": QUERY},
    ]
    for question in asked:
        following = follow_ups(run, question, inspect(run, flow, question))
        assert following
        for f in following:
            assert inspect(run, flow, f)["kind"] == f["kind"]
            assert f.get("part") == question.get("part")  # the panel hands the part on as it was asked


def test_answers_survive_the_wire(seen):
    run, flow = seen
    question = {"kind": "head", "state": 1, "head": HEAD, "query": QUERY}
    answer = inspect(run, flow, question)
    kind, meta, sections = unpack(detail_state([("selection", 0, question, answer)], run_id="r"))
    assert kind == "detail"
    assert meta["answers"][0]["question"] == question
    assert sections["a0.pattern"].shape == (len(IDS), len(IDS))
    assert meta["answers"][0]["effect"] == pytest.approx(answer["effect"])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("n_tokens", [7, 150])
def test_small_patterns_hold_the_largest_attention_of_each_cell(attention, n_tokens):
    run = record(load_model(zoo.make("llama", attention=attention, max_position_embeddings=256)), zoo.prompt(n_tokens))
    flow = attribute(run)
    state = attention_state(run)
    part = next(p for p in run.states[state].parts if p.kind == "attention")
    a = inspect(run, flow, {"kind": "edge", "state": state, "query": QUERY, "key": KEY})
    whole = part.heads.pattern().float()
    pooled = whole if n_tokens <= 64 else torch.nn.functional.adaptive_max_pool2d(whole, 64)
    assert torch.equal(a["thumb_max"], pooled.amax((1, 2)))
    scaled = (pooled / pooled.amax((1, 2), keepdim=True)).sqrt() * 255
    assert torch.equal(a["thumbs"], scaled.round().to(torch.uint8))
    assert a["pattern_max"] == float(whole.max())
    b = inspect(run, flow, {"kind": "head", "state": state, "head": HEAD, "query": QUERY, "key": KEY})
    assert b["max_all"]["pattern"] == float(whole.max())


@pytest.mark.parametrize("kind", ["edge", "head"])
def test_a_click_never_holds_the_patterns_of_all_heads(kind):
    n_heads, n_tokens = 16, 1100
    options = {"num_hidden_layers": 1, "num_attention_heads": n_heads, "num_key_value_heads": 4, "head_dim": 8}
    model = load_model(zoo.make("llama", dtype=torch.float32, max_position_embeddings=2048, **options))
    run = record(model, zoo.prompt(n_tokens))
    flow = attribute(run)
    question = {"kind": kind, "state": 1, "query": QUERY, "key": KEY} | ({"head": HEAD} if kind == "head" else {})
    assert peak(lambda: inspect(run, flow, question)) < 0.4 * n_heads * n_tokens**2 * 4


@pytest.mark.parametrize("case", ["llama", "gpt2", "bloom", "gemma2", "longcat_flash"])
def test_the_cells_of_a_line_are_what_each_head_wrote_there(case):
    run = record(load_model(zoo.make(case)), IDS)
    for part in run.parts:
        if part.kind == "attention":
            for query, key in ((0, 0), (QUERY, KEY), (6, 6)):
                whole = torch.stack([head_vectors(part.linear[0], h).at(query, key) for h in range(part.n_heads)])
                torch.testing.assert_close(cell_vectors(part.linear[0], query, key), whole)


def test_the_small_patterns_of_all_heads_are_those_of_each_part_by_rows_of_the_table():
    run = record(load_model(zoo.make("llama", max_position_embeddings=256)), zoo.prompt(70))
    a = inspect(run, attribute(run), {"kind": "heads"})
    assert a["thumbs"].shape == (len(a["table"]["head"]), 32, 32)
    for thumb, number, head in zip(a["thumbs"], a["table"]["part"], a["table"]["head"], strict=True):
        whole = torch.nn.functional.adaptive_max_pool2d(run.parts[number].heads.pattern().float(), 32)[head]
        assert torch.equal(thumb, ((whole / whole.max()).sqrt() * 255).round().to(torch.uint8))
