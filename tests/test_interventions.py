"""Laws of edits: what is cut is gone, what is patched with itself is the same to the bit, and hooks by hand agree."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import lmtt_widget as lmtt
from lmtt_widget import Edit, Reft, Run, attribute, head_shares, load_model, record
from lmtt_widget.decomposition.vectors import head_vectors
from lmtt_widget.parts import Part

from . import untouched, zoo

PROMPT = "When Mary and John went to the store, John gave a drink to"
QUERY, KEY = 5, 3


@cache
def clean(case: zoo.Case) -> Run:
    return record(load_model(zoo.shared(case)), zoo.prompt())


def again(run: Run, *edits: Edit, **options: Any) -> Run:
    return record(run.model, run, interventions=edits, **options)


def of_kind(run: Run, *kinds: str) -> list[Part]:
    return [p for p in run.parts if p.kind in kinds]


def at(p: Part, kind: str | None = None, **fields: Any) -> dict[str, Any]:
    kind = kind or ("mixer" if p.kind == "skip" else p.kind)
    return {"kind": kind, "state": p.state, "part": p.number, **fields}


def lines(p: Part, query: int, key: int) -> Tensor:
    """What all heads move over one line, as it is drawn: [d_model]."""
    return sum(head_vectors(w, h).at(query, key) for w in p.linear for h in range(p.n_heads))  # type: ignore[return-value]


def own_values(run: Run) -> list[Edit]:
    found = [Edit({"kind": "state", "state": len(run.states) // 2, "pos": QUERY}, run)]
    for p in (*of_kind(run, "attention")[:1], *of_kind(run, "attention")[-1:]):
        found += [Edit(at(p, "head", head=1), run), Edit(at(p, "edge", query=QUERY, key=KEY), run)]
        found.append(Edit(at(p, "pattern", head=0), run))
    for p in (*of_kind(run, "mlp")[-1:], *of_kind(run, "mixer", "skip")[:1]):
        found.append(Edit(at(p, pos=QUERY), run))
        if p.kind == "mlp" and p.linear:
            found.append(Edit(at(p, "neuron", neuron=2, pos=QUERY), run))
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_a_value_patched_with_itself_changes_no_bit(case: zoo.Case) -> None:
    run = clean(case)
    assert torch.equal(again(run).logits, run.logits)
    for edit in own_values(run):
        if run.states[edit.state].place is None:
            with pytest.raises(ValueError, match="made outside the recorded calls, so it cannot be changed"):
                again(run, edit)
            continue
        try:
            patched = again(run, edit)
        except ValueError:
            if edit.kind != "neuron":  # of an expert that did not see the token
                raise
            continue
        assert torch.equal(patched.logits, run.logits), str(edit)
        assert [(p.kind, p.state, p.reads) for p in patched.parts if p.kind != "constant"] == [
            (p.kind, p.state, p.reads) for p in run.parts if p.kind != "constant"
        ]


@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_what_is_cut_leaves_the_state_and_the_picture(case: zoo.Case) -> None:
    run = clean(case)
    attention, others = of_kind(run, "attention"), of_kind(run, "mlp", "mixer")
    jobs = [
        (p, Edit(at(p, "edge", query=QUERY, key=KEY)), lines(p, QUERY, KEY))
        for p in attention[len(attention) // 2 :][:1]
    ]
    for p in attention[-1:]:
        written = lmtt.head_output(p, p.n_heads - 1)[QUERY]
        jobs.append((p, Edit(at(p, "head", head=p.n_heads - 1, query=QUERY)), written))
    for p in others[len(others) // 2 :][:1]:
        jobs.append((p, Edit(at(p, pos=QUERY)), p.output(run.n_tokens)[QUERY]))
    for part, edit, written in jobs:
        cut = again(run, edit)
        state = run.value(part.state).clone()
        state[QUERY] -= written.to(state)
        exact = run.states[0].value.dtype == torch.float64 and run.fidelity.worst < 1e-10  # some experts run in float32
        assert float((cut.value(part.state) - state).norm() / state.norm()) <= (1e-9 if exact else 3e-6), str(edit)
        assert all(torch.equal(cut.states[s].value, run.states[s].value) for s in range(part.state))
        for mine, before in zip(cut.states, run.states, strict=True):
            assert torch.allclose(mine.value[:QUERY], before.value[:QUERY], rtol=1e-10 if exact else 1e-3)
        assert cut.fidelity.exact
        graph = attribute(cut, kernel="torch")
        there = next(p for p in cut.parts if (p.kind, p.state, p.number) == (part.kind, part.state, part.number))
        if edit.kind == "head":
            assert float(head_shares(cut, there, QUERY, graph=graph)[-1].abs().max()) == 0
        elif part.kind == "attention":
            assert float(head_shares(cut, there, QUERY, graph=graph)[:, KEY].abs().max()) == 0
        else:
            assert float(graph.share(there.number)[QUERY]) == 0


@pytest.mark.sampled
@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_a_model_is_untouched_by_edits_that_work_fail_or_are_interrupted(case: zoo.Case) -> None:
    run = clean(case)
    model = run.model.module
    state = {"kind": "state", "state": len(run.states) - 1}
    before = untouched.everything(model)
    again(run, Edit(state, 0.5))
    untouched.assert_unchanged(model, before)

    def fails(_: Tensor) -> Tensor:
        raise ZeroDivisionError

    def interrupted(_: Tensor) -> Tensor:
        raise KeyboardInterrupt

    for function, error in ((fails, ZeroDivisionError), (interrupted, KeyboardInterrupt)):
        with pytest.raises(error):
            again(run, Edit(state, function))
        untouched.assert_unchanged(model, before)
    assert torch.equal(record(run.model, zoo.prompt()).logits, run.logits)


# ---- against hooks written by hand ----


def hooked(model: Any, module: Any, change: Any, before: bool = False) -> Tensor:
    """The logits with a hook of torch on a module's input or output."""
    if before:
        handle = module.register_forward_pre_hook(lambda _m, args: (change(args[0].clone()), *args[1:]))
    else:
        handle = module.register_forward_hook(lambda _m, _a, out: change(out.clone()))
    try:
        with torch.no_grad():
            return model(input_ids=torch.tensor([zoo.prompt()])).logits[0]
    finally:
        handle.remove()


def blocks(model: Any) -> tuple[Any, Any, Any]:
    """Layer 2's attention projection, MLP and the input of its neurons."""
    if hasattr(model, "transformer"):
        block = model.transformer.h[2]
        return block.attn.c_proj, block.mlp, block.mlp.c_proj
    block = model.model.layers[2]
    return block.self_attn.o_proj, block.mlp, block.mlp.down_proj


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_hooks_written_by_hand_say_the_same(name: str) -> None:
    run = clean(zoo.Case(name))
    model: Any = run.model.module
    projection, mlp, down = blocks(model)
    attention, square = (next(p for p in of_kind(run, kind) if p.layer == 2) for kind in ("attention", "mlp"))
    width = projection.weight.shape[0 if name == "gpt2" else 1] // attention.n_heads

    def zeroed(index: Any) -> Any:
        def change(x: Tensor) -> Tensor:
            x[index] = 0
            return x

        return change

    def mean(x: Tensor) -> Tensor:
        x[:, :, width : 2 * width] = x[:, :, width : 2 * width].mean(1, keepdim=True)
        return x

    def doubled(x: Tensor) -> Tensor:
        x[:, QUERY, 7] *= 2
        return x

    def set_to_three(x: Tensor) -> Tensor:
        x[:, :, 7] = 3
        return x

    def at_least(x: Tensor) -> Tensor:
        x[:, :, 7] = x[:, :, 7].clamp(min=0.1)
        return x

    one_head = (slice(None), slice(None), slice(width, 2 * width))
    pairs = [
        (Edit(at(attention, "head", head=1)), hooked(model, projection, zeroed(one_head), before=True)),
        (Edit(at(attention, "head", head=1), "mean"), hooked(model, projection, mean, before=True)),
        (Edit(at(square)), hooked(model, mlp, zeroed(...))),
        (Edit(at(square, pos=QUERY)), hooked(model, mlp, zeroed((0, QUERY)))),
        (Edit(at(square, "neuron", neuron=7, pos=QUERY), 2), hooked(model, down, doubled, before=True)),
        (Edit(at(square, "neuron", neuron=7), {"value": 3}), hooked(model, down, set_to_three, before=True)),
        (Edit(at(square, "neuron", neuron=7), lambda a: max(a, 0.1)), hooked(model, down, at_least, before=True)),
    ]
    for edit, logits in pairs:
        torch.testing.assert_close(again(run, edit).logits, logits, rtol=1e-10, atol=1e-10, msg=str(edit))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_knock_out_is_a_mask(name: str) -> None:
    run = clean(zoo.Case(name))
    n = run.n_tokens
    mask = torch.full((n, n), torch.finfo(torch.float64).min, dtype=torch.float64).triu(1)
    mask[QUERY, KEY] = torch.finfo(torch.float64).min
    with torch.no_grad():
        masked = run.model.module(input_ids=torch.tensor([zoo.prompt()]), attention_mask=mask[None, None]).logits[0]
    edits = lmtt.knock_outs(run, KEY, QUERY)
    assert len(edits) == zoo.N_LAYERS
    torch.testing.assert_close(again(run, *edits).logits, masked, rtol=1e-10, atol=1e-10)


def test_a_knock_out_from_everywhere_leaves_a_row_that_has_nothing_else() -> None:
    run = clean(zoo.Case("llama"))
    cut = again(run, *lmtt.knock_outs(run, 0, layers=[1]))
    before, after = (r.part("attention", layer=1).heads.pattern() for r in (run, cut))
    assert torch.equal(after[:, 0], before[:, 0])
    assert float(after[:, 1:, 0].abs().max()) == 0
    torch.testing.assert_close(after.sum(-1), torch.ones_like(after.sum(-1)))


def test_a_line_behind_a_mask_is_refused_and_not_knocked_out() -> None:
    run = clean(zoo.Case("gpt_neo"))  # layers 1 and 3 look at the last four
    near, far = (run.part("attention", layer=k) for k in (1, 2))
    for selection in (at(near, "edge", query=6, key=1), at(near, "head", head=2, query=6, key=1)):
        for edit in (Edit(selection), Edit(selection, "mean"), Edit(selection, renormalise=True)):
            with pytest.raises(ValueError, match="query 6 does not look at key 1 there"):
                again(run, edit)
            with pytest.raises(ValueError, match="nothing would change"):
                lmtt.effects(run, [edit])
    assert [e.state for e in lmtt.knock_outs(run, 1, 6, range(1, 3))] == [far.state]
    for given, message in (
        ({"key": 1, "query": 6, "layers": [1]}, "no attention of these layers looks from query 6 at key 1"),
        ({"key": 6, "query": 1}, "a line from the future: query 1"),
        ({"key": 9}, r"key must be in 0\.\.6"),
        ({"key": 1, "layers": [4]}, r"layers must be in 0\.\.3"),
    ):
        with pytest.raises(ValueError, match=message):
            lmtt.knock_outs(run, **given)  # type: ignore[arg-type]


def test_steering_and_a_trained_reft_are_hooks_on_a_layer() -> None:
    run = clean(zoo.Case("llama"))
    model: Any = run.model.module
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(48, generator=generator, dtype=torch.float64)
    rotate = torch.linalg.qr(torch.randn(48, 3, generator=generator, dtype=torch.float64)).Q
    weight, bias = torch.randn(3, 48, generator=generator, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    reft = Reft.of({"rotate_layer": rotate, "weight": weight, "bias": bias})

    def steered(h: Tensor) -> Tensor:
        h[0, QUERY] += vector
        return h

    def tuned(h: Tensor) -> Tensor:
        return h + (h @ weight.T + bias - h @ rotate) @ rotate.T

    for change, edit in (
        (steered, Edit({"kind": "state", "state": 4, "pos": QUERY}, vector)),
        (tuned, Edit({"kind": "state", "state": 4}, reft)),
    ):
        edited = again(run, edit)
        torch.testing.assert_close(edited.logits, hooked(model, model.model.layers[1], change), rtol=1e-10, atol=1e-10)
        assert edited.fidelity.exact


def test_edits_of_several_layers_act_together_and_another_run_is_patched_in() -> None:
    """Every state patched from another run gives that run's answer."""
    run = clean(zoo.Case("llama"))
    other = record(run.model, zoo.prompt()[::-1])
    patched = again(run, *(Edit({"kind": "state", "state": s.index}, other) for s in run.states))
    torch.testing.assert_close(patched.logits, other.logits, rtol=1e-10, atol=1e-10)
    parts = [Edit(at(p), other) for p in of_kind(run, "mlp")]
    parts += [Edit(at(p, "head", head=h), other) for p in of_kind(run, "attention") for h in range(p.n_heads)]
    patched = again(run, Edit({"kind": "state", "state": 0}, other), *parts)
    torch.testing.assert_close(patched.logits, other.logits, rtol=1e-10, atol=1e-10)
    assert patched.interventions[0].to is other


# ---- what one part alone reads ----


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_reading_is_a_hook_on_the_norm_before_the_part(name: str) -> None:
    """Only the norm of one sublayer sees the other state, so only that part can."""
    run = clean(zoo.Case(name))
    model: Any = run.model.module
    block = model.transformer.h[2] if name == "gpt2" else model.model.layers[2]
    norms = (block.ln_1, block.ln_2) if name == "gpt2" else (block.input_layernorm, block.post_attention_layernorm)
    vector = torch.randn(48, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    changes: list[tuple[Any, Any]] = [
        (0, lambda x: x * 0),
        (2, lambda x: x * 2),
        (vector, lambda x: x + vector),
        (lambda h: h.flip(-1), lambda x: x.flip(-1)),
        (record(run.model, zoo.prompt()[::-1]), None),
    ]
    for kind, norm in zip(("attention", "mlp"), norms, strict=True):
        part = next(p for p in of_kind(run, kind) if p.layer == 2)
        for to, change in changes:
            edit = Edit(at(part, "reading", pos=3), to)

            def seen(x: Tensor, to: Any = to, change: Any = change, part: Part = part) -> Tensor:
                x[:, 3] = to.value(part.reads)[3] if change is None else change(x[:, 3])
                return x

            edited = again(run, edit)
            truth = hooked(model, norm, seen, before=True)
            torch.testing.assert_close(edited.logits, truth, rtol=1e-10, atol=1e-10)
            assert edited.fidelity.exact
            assert not torch.equal(edited.logits, run.logits)
            verdict = lmtt.effects(run, [edit], progress=lambda *_: None)[0]
            assert verdict.odds == pytest.approx(lmtt.effects(run, [edit], whole_pass=True)[0].odds)


def test_only_one_head_may_see_another_state() -> None:
    run = clean(zoo.Case("gpt2"))
    part = of_kind(run, "attention")[2]
    one, every = (again(run, Edit(at(part, "reading", pos=3, **more), 0)) for more in ({"head": 1}, {}))
    mine = one.value(part.state) - run.value(part.state)
    theirs = [
        again(run, Edit(at(part, "reading", pos=3, head=h), 0)).value(part.state) - run.value(part.state)
        for h in range(part.n_heads)
    ]
    torch.testing.assert_close(sum(theirs), every.value(part.state) - run.value(part.state), rtol=1e-9, atol=1e-9)
    assert float(mine[:3].abs().max()) == 0  # nothing before it moves


@pytest.mark.parametrize("name", ["mamba", "mamba2", "rwkv", "falcon_h1"])
def test_a_token_is_knocked_out_of_a_state_space_mixer(name: str) -> None:
    run = clean(zoo.Case(name))
    mixer = of_kind(run, "mixer")[2 if name == "rwkv" else 1]  # RWKV's channel mixing sees one token back
    cut = again(run, Edit(at(mixer, "reading", pos=3), 0))
    exact = run.states[0].value.dtype == torch.float64
    moved = (cut.value(mixer.state) - run.value(mixer.state)).norm(dim=-1)
    assert float(moved[:3].max()) <= (1e-12 if exact else 1e-5)
    assert float(moved[4:].min()) > 1e-7, "later tokens read it through the mixer"
    assert cut.fidelity.exact
    if name == "mamba":
        block: Any = run.model.module.backbone.layers[mixer.layer]

        def nothing(x: Tensor) -> Tensor:
            x[:, 3] = 0
            return x

        truth = hooked(run.model.module, block.norm, nothing, before=True)
        torch.testing.assert_close(cut.logits, truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", zoo.cases()[::4], ids=str)
def test_reading_what_is_there_changes_nothing(case: zoo.Case) -> None:
    run = clean(case)
    for p in (*of_kind(run, "attention")[:1], *of_kind(run, "mlp")[-1:], *of_kind(run, "mixer")[:1]):
        if p.reads < 0 or run.states[p.reads].place is None:
            continue
        same = again(run, Edit(at(p, "reading", pos=QUERY), 1))
        exact = run.states[0].value.dtype == torch.float64
        tolerance = 1e-9 if exact else 1e-4
        torch.testing.assert_close(same.logits, run.logits, rtol=tolerance, atol=tolerance)


# ---- what cannot be meant ----


def test_an_edit_that_would_meet_nothing_is_refused_in_words(bundled: lmtt.Model) -> None:
    run = record(bundled, PROMPT)
    short = record(bundled, "Mary went")
    for selection, to, message in (
        ({"kind": "edge", "state": 5, "query": 3, "key": 9}, 0, "a line from the future: query 3 .* later key 9"),
        ({"kind": "edge", "state": 5, "query": 14, "key": 9}, 0, "the prompt has 14 tokens"),
        ({"kind": "mlp", "state": 5}, 0, "has no mlp part"),
        ({"kind": "head", "state": 5, "head": 8}, 0, r"head must be in 0\.\.7, got 8"),
        ({"kind": "neuron", "state": 4, "neuron": 9999}, 0, "neuron must be in"),
        ({"kind": "state", "state": 99}, 0, r"state must be in 0\.\.8"),
        ({"kind": "reading", "state": 4, "head": 1}, 0, "only an attention part has heads"),
        ({"kind": "reading", "state": 5, "pos": 3}, torch.ones(3), r"a steering vector is"),
        ({"kind": "reading", "state": 5, "pos": 3}, short, "which have 14 and 2 tokens"),
        ({"kind": "state", "state": 4}, torch.ones(3), r"a steering vector is \[d_model\] = "),
        ({"kind": "state", "state": 4}, lambda h: h[:1], "must return a state"),
        ({"kind": "state", "state": 4}, lambda h: h * float("nan"), "not finite"),
        ({"kind": "neuron", "state": 4, "neuron": 1}, {"value": "much"}, "to is a number"),
        ({"kind": "neuron", "state": 4, "neuron": 1}, {"value": True}, "to is a number"),
        ({"kind": "neuron", "state": 4, "neuron": 1}, {"value": float("inf")}, "to must be a finite number, got inf"),
        ({"kind": "mlp", "state": 4}, {"value": 3.0}, "sets the activation of an edit of kind \"neuron\", not 'mlp'"),
        ({"kind": "neuron", "state": 4, "neuron": 1}, lambda a: "much", "must return a finite number, got 'much'"),
        (
            {"kind": "neuron", "state": 4, "neuron": 1},
            lambda a: a * float("nan"),
            "must return a finite number, got nan",
        ),
        ({"kind": "state", "state": 4}, short, "which have 14 and 2 tokens"),
        ({"kind": "edge", "state": 5, "query": 13, "key": 9}, short, "which have 14 and 2 tokens"),
        ({"kind": "pattern", "state": 5, "head": 1}, torch.ones(2, 2), r"pattern of a head is \[14, 14\]"),
    ):
        with pytest.raises(ValueError, match=message):
            again(run, Edit(selection, to))
    with pytest.raises(ValueError, match="the only key"):
        again(run, Edit({"kind": "edge", "state": 5, "query": 0, "key": 0}, renormalise=True))
    with pytest.raises(ValueError, match="an intervention is an Edit"):
        record(bundled, PROMPT, interventions=["cut"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="of another model"):
        record(load_model(zoo.shared(zoo.Case("llama"))), run, interventions=[Edit({"kind": "mlp", "state": 2})])


def test_a_neuron_of_an_expert_that_did_not_see_the_token_is_refused() -> None:
    run = clean(zoo.Case("mixtral"))
    part = of_kind(run, "mlp")[1]
    saw = {w.expert(row) for w in part.linear for row in w.path.leaf_rows(QUERY)}
    unseen = next(e for e in range(4) if e not in saw)
    with pytest.raises(ValueError, match="no expert that saw this token has such a neuron"):
        again(run, Edit(at(part, "neuron", neuron=2, pos=QUERY, expert=unseen)))
    seen = next(iter(saw))
    assert not torch.equal(again(run, Edit(at(part, "neuron", neuron=2, pos=QUERY, expert=seen))).logits, run.logits)


def test_an_edit_that_says_nothing_is_refused_when_it_is_made() -> None:
    line = {"kind": "edge", "state": 5, "query": 3, "key": 1}
    for selection, options, message in (
        ({"kind": "token", "pos": 3}, {}, "an edit is of one of the kinds"),
        ({"kind": "head", "state": 5}, {}, "head is missing"),
        ({**line, "colour": 3}, {}, "has the fields"),
        ({**line, "query": -1}, {}, "must be a number from 0 on"),
        (line, {"to": float("nan")}, "must be a finite number"),
        (line, {"to": "median"}, 'a number, "mean", {"value": number}, a Run'),
        (line, {"to": torch.ones(3)}, "a tensor goes to"),
        (line, {"to": lambda h: h}, "a function goes to"),
        (line, {"to": 0.5, "renormalise": True}, "renormalise knocks out attention"),
        ({"kind": "pattern", "state": 5, "head": 1}, {}, "a pattern is clamped"),
        ({"kind": "state", "state": 5}, {"to": torch.tensor([float("inf")])}, "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            Edit(selection, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bias is missing"):
        Reft.of({"rotate_layer": torch.ones(4, 1), "weight": torch.ones(1, 4)})
