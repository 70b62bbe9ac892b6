"""The wire: what is packed can be read back, says what Python computed, and survives hostile input."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from lmtt_widget import Check, Fidelity, Graph, Model, attribute, lens_logits, load_model, record, trace
from lmtt_widget.answers.question import Answered, Column, Map
from lmtt_widget.facts import model_facts
from lmtt_widget.lens import TokenList
from lmtt_widget.readings import likely_tokens
from lmtt_widget.state import detail_state, graph_state, peek_state, read_graph
from lmtt_widget.wire import VERSION, pack, unpack

from . import text, wire_fixture, zoo
from .dense import AttentionShare, Dense, PartShare

CASES = [zoo.Case(*c.split()) for c in ("gpt2", "gpt_neox parallel", "falcon_h1", "mamba", "openai-gpt")]
DTYPES = ["float32", "float16", "uint8", "uint16", "int32", "uint32"]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


# ---- the container ----


def test_what_is_packed_is_read_back() -> None:
    meta = {"text": "猫 \u202e</script>\u2028", "none": None, "list": [1, 2.5, {"a": True}]}
    sections = {name: np.arange(n + 1).astype(name).reshape(1, -1) for n, name in enumerate(DTYPES)}
    sections["empty"] = np.zeros((0, 3), np.float32)
    sections["every other"] = np.arange(10, dtype=np.int32)[::2]
    sections["big endian"] = np.arange(3, dtype=">f4")
    kind, meta_back, back = unpack(pack("graph", meta, sections))
    assert (kind, meta_back) == ("graph", meta)
    assert back.keys() == sections.keys()
    for name, a in sections.items():
        assert back[name].dtype.name == a.dtype.name
        assert back[name].shape == a.shape
        assert np.array_equal(back[name], a)


def test_the_layout_is_what_the_browser_expects() -> None:
    message = pack("peek", {"k": 1}, {"a": np.arange(3, dtype=np.uint8), "b": np.arange(2, dtype=np.float32)})
    assert message[:4] == b"LMTW"
    n = int.from_bytes(message[4:8], "little")
    assert n % 8 == 0
    header = json.loads(message[8 : 8 + n])
    assert header["version"] == VERSION == 1
    assert header["kind"] == "peek"
    assert header["sections"]["b"] == {"dtype": "float32", "shape": [2], "offset": 8}
    assert len(message) == 8 + n + 16
    assert message[8 + n : 8 + n + 3] == bytes([0, 1, 2])


@pytest.fixture(scope="module")
def message() -> bytes:
    return graph_state(attribute(zoo.recorded(CASES[0])))


def test_a_message_that_was_cut_off_is_refused(message: bytes) -> None:
    for n in (8, 20, len(message) // 2, len(message) - 8):
        with pytest.raises(ValueError, match="the message is cut off"):
            unpack(message[:n])


def test_a_foreign_message_is_refused(message: bytes) -> None:
    for foreign in (b"", b"LMT", b"LMTW\x01", b"PK\x03\x04" + message[4:], b"<html>" * 10):
        with pytest.raises(ValueError, match="not a message of lmtt_widget"):
            unpack(foreign)
    n = int.from_bytes(message[4:8], "little")
    newer = message[:8] + message[8 : 8 + n].replace(b'"version":1', b'"version":9') + message[8 + n :]
    with pytest.raises(ValueError, match="the message has version 9, this is version 1"):
        unpack(newer)
    with pytest.raises(ValueError):
        unpack(message[:8] + b"\xff" * n + message[8 + n :])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_has_not_is_never_written(value: float) -> None:
    with pytest.raises(ValueError):
        pack("graph", {"x": value}, {})


# ---- the graph ----


def unpacked(graph: Graph, **options: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    kind, meta, sections = unpack(graph_state(graph, **options))
    assert kind == "graph"
    return meta, sections


def sent(graph: Graph, **options: Any) -> Dense:
    return Dense(wire_fixture.graph_of_wire(graph_state(graph, **options)))


@each_case
@pytest.mark.parametrize("bias_part", [False, True])
def test_the_graph_holds_the_shares_rounded_to_float16(case: zoo.Case, bias_part: bool) -> None:
    run = zoo.recorded(case)
    flow = Dense(attribute(run, bias_part=bias_part))
    meta, _ = unpacked(flow.graph)
    back = sent(flow.graph)
    half(back.carried, flow.carried)
    assert torch.equal(back.ended, flow.ended)
    shown = [k for k, p in enumerate(flow.parts) if p is not None]
    assert len(shown) == len(back.parts) == len(meta["parts"])
    for k, got in zip(shown, back.parts, strict=True):
        share, part = flow.parts[k], run.parts[k]
        if isinstance(share, AttentionShare):
            assert isinstance(got, AttentionShare)
            kept = share.share_sum.half() > 0
            half(got.share_sum, share.share_sum)
            half(got.share_max, share.share_max * kept)
            assert torch.equal(got.top_head[kept].long(), share.top_head[kept].long())
        else:
            assert isinstance(share, PartShare)
            assert isinstance(got, PartShare)
            half(got.share, share.share)
        number = shown.index(k)
        assert meta["parts"][number]["kind"] == ("other" if part.kind == "constant" else part.kind)
        assert meta["parts"][number]["heads"] == (part.n_heads or None)
        for name in ("state", "reads", "layer"):
            assert meta["parts"][number][name] == getattr(part, name)


def half(got: torch.Tensor, exact: torch.Tensor) -> None:
    torch.testing.assert_close(got, torch.from_numpy(exact.numpy().astype(np.float16).astype(float)), atol=0, rtol=0)


def test_parts_have_the_same_number_on_the_wire_as_in_the_run() -> None:
    """A selection names a part by its number."""
    for case in zoo.cases():
        run = zoo.recorded(case)
        for graph in (attribute(run), attribute(run, bias_part=True)):
            meta, _ = unpacked(graph)
            assert [part.number for part in graph.parts] == list(range(len(meta["parts"])))
            for part, told, recorded in zip(graph.parts, meta["parts"], run.parts, strict=False):
                assert recorded.number == part.number == run.parts.index(recorded)
                assert (part.kind, part.state, part.reads) == (recorded.kind, recorded.state, recorded.reads)
                assert (part.label, part.state, part.reads) == (told["label"], told["state"], told["reads"])


@each_case
def test_the_graph_holds_tokens_states_and_predictions(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    meta, sections = unpacked(attribute(run), run_id="a1", label="the label")
    assert (meta["run"], meta["prompt"]) == ("a1", "the label")
    assert [(s["layer"], s["name"], s["carried"]) for s in meta["states"]] == [
        (s.layer, s.name, -1 if s.carried is None else s.carried) for s in run.states
    ]
    assert meta["tokens"]["id"] == run.token_ids.tolist()
    assert {len(column) for column in meta["tokens"].values()} == {run.n_tokens}
    best = run.logits.softmax(-1).topk(5)
    half(torch.from_numpy(sections["next.p"].astype(np.float64)), best.values)
    words = [[meta["vocab"][i] for i in row] for row in sections["next.token"].tolist()]
    assert words == [[f"#{i}" for i in row] for row in best.indices.tolist()]
    assert meta["fidelity"]["exact"] is True
    assert meta["fidelity"]["text"] == f"{run.fidelity} · labels probed"
    assert meta["smallest"] == 0
    assert not sections["truncated"].any()


def test_the_model_is_described() -> None:
    facts = model_facts(zoo.recorded(zoo.Case("llama")))
    module: Any = zoo.shared(zoo.Case("llama"))
    assert facts["line"] == "llama 4L 4H"
    assert facts["type"] == "LlamaForCausalLM"
    assert (facts["layers"], facts["heads"], facts["kv_heads"]) == (4, 4, 2)
    assert (facts["d_model"], facts["d_mlp"], facts["vocab"]) == (48, 80, 97)
    assert facts["parameters"] == sum(p.numel() for p in module.parameters())
    assert (facts["dtype"], facts["device"], facts["attention"]) == ("float64", "cpu", "sdpa")
    json.dumps(facts, allow_nan=False)


def test_a_long_prompt_keeps_its_heaviest_edges_within_the_size_allowed() -> None:
    model = load_model(zoo.make("llama", dtype=torch.float32, max_position_embeddings=400))
    for n_tokens, most in ((30, 1 << 30), (300, 0.5e6)):
        run = record(model, zoo.prompt(n_tokens))
        flow = Dense(attribute(run))
        message = graph_state(flow.graph)
        cut = unpack(message)[2]["truncated"]
        assert len(message) < most
        kept = sum(len(x) for name, x in unpack(message)[2].items() if name.endswith(".key"))
        pairs = sum(int((p.share_sum.half() > 0).sum()) for p in flow.parts if isinstance(p, AttentionShare))
        assert (kept < pairs) == bool(cut.any()) == (n_tokens == 300)


@each_case
@pytest.mark.parametrize("max_edges", [1, 10, 50])
def test_cut_edges_are_reported_and_nothing_is_renormalised(case: zoo.Case, max_edges: int) -> None:
    flow = Dense(attribute(zoo.recorded(case)))
    meta, sections = unpacked(flow.graph, max_edges=max_edges)
    back = sent(flow.graph, max_edges=max_edges)
    truncated = torch.from_numpy(sections["truncated"].astype(np.float64))
    total = back.carried + truncated + back.ended
    kept: list[float] = []
    gone: list[float] = []
    for part, p, exact in zip(back.graph.parts, back.parts, flow.parts, strict=False):
        if isinstance(p, AttentionShare):
            assert isinstance(exact, AttentionShare)
            total[part.state] += p.share_sum.sum(1)
            half(p.share_sum[p.share_sum > 0], exact.share_sum[p.share_sum > 0])
            kept += exact.share_sum[p.share_sum > 0].tolist()
            gone += exact.share_sum[(p.share_sum == 0) & (exact.share_sum > 0)].tolist()
        elif isinstance(p, PartShare):
            total[part.state] += p.share
    torch.testing.assert_close(total[1:], torch.ones_like(total[1:]), atol=4e-3, rtol=0)
    if kept:
        assert len(kept) == max_edges
        assert min(kept) >= max(gone)
        assert meta["smallest"] == pytest.approx(min(kept))


def test_rounding_remainders_and_infinite_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    run = zoo.recorded(CASES[0])
    check = Check("states", 1, "h.1", float("nan"), 2e-6, "float32")
    broken = Fidelity((check,), "float64", ("layer 1 (X): something",), ("a note",))
    monkeypatch.setattr(run, "fidelity", broken)
    meta, _ = unpacked(attribute(run))
    assert meta["fidelity"]["worst"] is None
    assert meta["fidelity"]["exact"] is False
    assert meta["fidelity"]["identities"] == {"states": None}
    inexact = "states: parts miss the whole by nan in layer 1, h.1 (allowed 2.0e-06)"
    assert meta["fidelity"]["problems"] == ["layer 1 (X): something", inexact, "a note"]


def test_a_long_prompt_of_many_edges_is_cut_at_the_limit() -> None:
    run = record(text.model(), [3 + i % 90 for i in range(60)])
    flow = Dense(attribute(run))
    n = sum(int((p.share_sum > 0).sum()) for p in flow.parts if isinstance(p, AttentionShare))
    meta, sections = unpacked(flow.graph, max_edges=n // 2)
    assert n // 3 < sum(len(a) for name, a in sections.items() if name.endswith(".key")) <= n // 2
    assert all(np.all(np.diff(a.astype(int)) >= 0) for name, a in sections.items() if name.endswith(".row"))
    assert meta["smallest"] > 0


def test_every_node_keeps_its_heaviest_edges_however_light() -> None:
    run = record(text.model(), [3 + i % 90 for i in range(60)])
    flow = Dense(attribute(run))
    n = sum(int((p.share_sum > 0).sum()) for p in flow.parts if isinstance(p, AttentionShare))
    meta, _ = unpacked(flow.graph, max_edges=n // 2)
    back, lightest = sent(flow.graph, max_edges=n // 2), 1.0
    for told, exact in zip(back.parts, flow.parts, strict=False):
        if isinstance(told, AttentionShare) and isinstance(exact, AttentionShare):
            heaviest = exact.share_sum.topk(4).indices
            half(told.share_sum.gather(1, heaviest), exact.share_sum.gather(1, heaviest))
            lightest = min(lightest, float(exact.share_sum[8:].topk(4).values.min()))
    assert 0 < lightest < meta["smallest"]  # it would not travel otherwise


@each_case
def test_a_graph_that_was_sent_is_read_back_as_a_graph(case: zoo.Case) -> None:
    """Everything that is a function of a graph can be computed of what was saved."""
    graph = attribute(zoo.recorded(case))
    back = read_graph(graph_state(graph))
    assert (back.tokens, back.roles, back.states) == (graph.tokens, graph.roles, graph.states)
    assert [(b.kind, b.part, b.source, b.entered) for b in back.blocks] == [
        (b.kind, b.part, b.source, b.entered) for b in graph.blocks
    ]
    assert back.facts.model == graph.facts.model
    for encoding in ("flow", "share"):
        ours, theirs = trace(graph, 3, encoding=encoding), trace(back, 3, encoding=encoding)
        np.testing.assert_allclose(theirs.input_share, ours.input_share, atol=2e-3)
        assert theirs.coverage(0.01) == pytest.approx(ours.coverage(0.01), abs=5e-3)
    again = graph_state(back)
    assert unpack(again)[2].keys() == unpack(graph_state(graph))[2].keys()
    assert graph_state(read_graph(again)) == again


def test_a_message_that_is_no_graph_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a message of kind 'graph', got 'peek'"):
        read_graph(peek_state(np.zeros((1, 1), int) - 1, np.zeros((1, 1)), {}))


# ---- tokens ----

HOSTILE = "<img src=x onerror=alert(1)></script>\u202e\n\t猫\u00a0🎉\x00\ufffd&lt;\u2028'\""


def test_hostile_text_travels_as_text() -> None:
    run = record(text.model(), HOSTILE)
    message = graph_state(attribute(run), label=HOSTILE)
    _, meta, _ = unpack(message)
    assert meta["prompt"] == HOSTILE
    assert bytes.fromhex("".join(meta["tokens"]["bytes"])) == HOSTILE.encode()
    for shown in (*meta["tokens"]["text"], *meta["vocab"]):
        assert shown
        assert not {"\ufffd", "\n", "\t", "\u202e", "\x00", "\u2028"} & set(shown)
    parts = [(c, p) for c, p in zip(meta["tokens"]["char"], meta["tokens"]["part"], strict=True) if c is not None]
    assert ("🎉", [1, 4]) in parts or ("🎉", [1, 3]) in parts or ("🎉", [1, 2]) in parts


def test_roles_and_special_tokens_travel() -> None:
    run = record(text.model(), [{"role": "user", "content": "dog"}])
    meta, _ = unpacked(attribute(run))
    assert meta["tokens"]["role"] == run.roles
    assert meta["tokens"]["special"][0] is True
    assert meta["tokens"]["text"][0] == "<|im_start|>"


def test_entries_beyond_the_tokenizer_are_named() -> None:
    """Where the model's vocabulary is larger than the tokenizer's."""
    model: Model = load_model(text.causal_model(), text.byte_level())
    with torch.no_grad():
        model.module.lm_head.weight[-3] = 30 * model.module.lm_head.weight[-3]
    run = record(model, "the dog")
    meta, sections = unpacked(attribute(run))
    assert all(meta["vocab"])
    assert sections["next.token"].max() < len(meta["vocab"])


# ---- peek and detail ----


def test_a_peek_holds_the_lens_of_the_drawn_nodes_only() -> None:
    run = zoo.recorded(CASES[0])
    drawn = torch.zeros(len(run.states), run.n_tokens, dtype=torch.bool)
    drawn[2, 3] = drawn[2, 6] = drawn[8, 0] = True
    ids, p = likely_tokens(run, drawn.numpy())
    names = {i: f"#{i}" for i in np.unique(ids[ids >= 0]).tolist()}
    kind, meta, sections = unpack(peek_state(ids, p, names, run_id="r"))
    assert (kind, meta["run"]) == ("peek", "r")
    assert ((sections["token"] >= 0) == drawn.numpy()).all()
    for s, pos in drawn.nonzero().tolist():
        there = lens_logits(run, s, pos).detach().softmax(-1)
        assert meta["vocab"][sections["token"][s, pos]] == f"#{int(there.argmax())}"
        assert sections["p"][s, pos] == pytest.approx(float(there.max()), rel=1e-3)
    _, meta, sections = unpack(peek_state(*likely_tokens(run, np.zeros(drawn.shape, bool)), {}))
    assert meta["vocab"] == []
    assert (sections["token"] == -1).all()


@dataclass(frozen=True, eq=False, kw_only=True)
class Everything(Answered):
    share: float
    numbers: Column
    tokens: TokenList
    nested: dict[str, Any]
    pattern: Map
    thumbs: Map
    left_out: TokenList | None = None


def test_details_travel_as_finite_json_with_their_maps_beside() -> None:
    token = text.model().vocabulary([7])[0]
    first = Everything(
        kind="head",
        layer=None,
        effect_on=None,
        normalised=True,
        share=float("nan"),
        numbers=torch.tensor([1.0, float("inf")]),
        tokens=TokenList([token], torch.tensor([2.5])),
        nested={"list": [(1, None), float("-inf")]},
        pattern=torch.eye(3),
        thumbs=torch.ones(2, 3, 3, dtype=torch.uint8),
    )
    told = [("selection", 0, {"kind": "head"}, first), ("pin", 0, {"kind": "token"}, {"error": "gone"})]
    kind, meta, sections = unpack(detail_state(told, run_id="r"))
    assert (kind, meta["run"]) == ("detail", "r")
    one, two = meta["answers"]
    assert one["share"] is None
    assert one["layer"] is None
    assert one["numbers"] == [1.0, None]
    assert one["tokens"] == {"id": [7], "text": [token.text], "score": [2.5]}
    assert one["nested"] == {"list": [[1, None], None]}
    assert not {"left_out", "pattern", "thumbs"} & one.keys()
    assert two == {"slot": "pin", "index": 0, "question": {"kind": "token"}, "error": "gone"}
    assert sections["a0.pattern"].dtype == np.float16
    assert sections["a0.thumbs"].shape == (2, 3, 3)


# ---- the fixture of the TypeScript tests ----


def test_the_fixture_is_what_python_writes_today() -> None:
    """If this fails on purpose: python -m tests.wire_fixture, and run the TypeScript tests."""
    committed = (wire_fixture.FOLDER / "graph.bin").read_bytes()
    (kind, meta, sections), (_, fresh_meta, fresh) = unpack(committed), unpack(wire_fixture.graph())
    assert kind == "graph"
    assert meta.pop("smallest") == pytest.approx(fresh_meta.pop("smallest"), rel=1e-3)
    assert meta.pop("fidelity").keys() == fresh_meta.pop("fidelity").keys()
    assert meta == fresh_meta
    assert sections.keys() == fresh.keys()
    for name, a in sections.items():
        assert a.dtype == fresh[name].dtype
        if a.dtype == np.float16:
            np.testing.assert_allclose(a, fresh[name], atol=1e-3)
        else:
            assert np.array_equal(a, fresh[name]), name
    written = json.loads((wire_fixture.FOLDER / "expected.json").read_text("utf-8"))
    assert_close(written, json.loads(json.dumps(wire_fixture.expected(committed))))


def test_the_fixture_is_small_and_has_every_kind_of_edge() -> None:
    files = [wire_fixture.FOLDER / name for name in ("graph.bin", "expected.json")]
    assert sum(f.stat().st_size for f in files) < 200_000
    _, meta, sections = unpack(files[0].read_bytes())
    assert {p["kind"] for p in meta["parts"]} == {"attention", "mlp", "mixer"}
    assert sections["truncated"].any()
    cases = json.loads(files[1].read_text("utf-8"))["cases"]
    assert any(c["encoding"] == "flow" and c["automatic"] > 0 for c in cases)
    assert all(c["ended"]["mixer"] > 0 for c in cases)
    assert all(sum(c["input_share"]) + sum(c["ended"].values()) == pytest.approx(1, abs=2e-3) for c in cases)


def assert_close(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a:
            assert_close(a[k], b[k])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_close(x, y)
    else:
        assert a == (pytest.approx(b, abs=1e-6) if isinstance(a, float) else b)
