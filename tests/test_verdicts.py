"""Laws of effects: batched, single and whole passes agree, whatever is asked; and what cannot be asked is refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import lmtt_widget as lmtt
from lmtt_widget import Edit, Effects, Run, record, verdicts
from lmtt_widget.rest import Rest

from . import untouched, zoo
from .test_interventions import PROMPT, QUERY, at, clean, of_kind

effects = partial(lmtt.effects, progress=lambda *_: None)


def some_edits(run: Run) -> list[Edit]:
    """In the middle and at the end: heads, lines, MLPs, mixers, states."""
    found = []
    for p in of_kind(run, "attention")[1:3]:
        found += [Edit(at(p, "head", head=h)) for h in (0, 2)] + [Edit(at(p, "edge", query=QUERY, key=2), "mean")]
    found += [Edit(at(p, pos=QUERY)) for p in of_kind(run, "mlp", "mixer")[-2:]]
    return [*found, Edit({"kind": "state", "state": len(run.states) // 2, "pos": QUERY}, 1.5)]


@pytest.mark.sampled
@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_in_batches_from_the_layer_concerned_is_what_a_whole_pass_says(case: zoo.Case) -> None:
    run = clean(case)
    edits = [e for e in some_edits(run) if run.states[e.state].place is not None]
    quick, whole = effects(run, edits), effects(run, edits, whole_pass=True)
    alone = [effects(run, [edit])[0] for edit in edits]
    tolerance = 1e-6 if run.logits.dtype == torch.float64 else 1e-3
    for a, b, c in zip(quick, whole, alone, strict=True):
        assert a.edits == b.edits == c.edits
        for other in (b, c):
            assert a.odds == pytest.approx(other.odds, rel=tolerance, abs=tolerance), str(a.edits)
            assert a.kl == pytest.approx(other.kl, rel=tolerance, abs=tolerance)


def test_a_verdict_is_what_two_runs_say(bundled: lmtt.Model) -> None:
    run = record(bundled, PROMPT)
    mary, john = (bundled.token_id(name) for name in (" Mary", " John"))
    edits = (Edit({"kind": "edge", "state": 5, "query": 13, "key": 1}), Edit({"kind": "mlp", "state": 8, "pos": 13}))
    found = effects(run, [edits], token=mary, foil=john)[0]
    cut = record(bundled, run, interventions=edits)
    p, q = (r.logits[-1].log_softmax(-1) for r in (run, cut))
    assert found.p_before == pytest.approx(float(p[mary].exp()), rel=1e-4)
    assert found.p == pytest.approx(float(q[mary].exp()), rel=1e-4)
    assert found.odds == pytest.approx(float(q[mary] - q[john]), abs=1e-3)
    assert found.kl == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-3)
    change = q.exp() - p.exp()
    assert [t.id for t in found.moved.tokens] == change.abs().topk(8).indices.tolist()
    assert "is cut" not in repr(found)
    assert "·Mary goes from" in repr(found)


def test_the_layers_alone_are_used_where_they_may_be() -> None:
    """Else every effect would cost a whole pass and nobody would see it."""

    def whole(value: torch.Tensor) -> torch.Tensor:
        edit = Edit({"kind": "state", "state": 0}, lambda _: value)
        return record(run.model, run, interventions=[edit]).states[-1].value

    for name in ("gpt2", "llama", "gemma2", "qwen2_moe", "phi"):
        run = clean(zoo.Case(name))
        rest = Rest(run, whole)
        for s in run.states[1:]:
            again = rest.last_states(s.index, torch.stack([s.value, s.value]))
            assert torch.allclose(again[1], run.states[-1].value, rtol=1e-10), (name, s)


@pytest.mark.parametrize("said", ["CUDA out of memory", "DefaultCPUAllocator: can't allocate memory"])
def test_what_does_not_fit_is_tried_in_halves(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    run = clean(zoo.Case("llama"))
    expected = effects(run, verdicts.heads_of(run))
    sizes, plain = [], Rest.last_states

    def small(self: Rest, state: int, values: torch.Tensor) -> torch.Tensor:
        sizes.append(len(values))
        if len(values) > 2:
            raise RuntimeError(said)
        return plain(self, state, values)

    monkeypatch.setattr(Rest, "last_states", small)
    monkeypatch.setattr(verdicts, "_BATCH", 4)
    found = effects(run, verdicts.heads_of(run))
    assert {4, 2} <= set(sizes)
    assert [v.odds for v in found] == pytest.approx([v.odds for v in expected], abs=1e-9)


def test_effects_are_of_the_weights_that_are_there() -> None:
    """How the layers were called is kept with the run, but not beyond a change of the model."""
    model = zoo.make("llama")
    run = record(lmtt.load_model(model), zoo.prompt())
    head = Edit(at(of_kind(run, "attention")[2], "head", head=0))
    before = effects(run, [head])[0].odds
    with torch.no_grad():
        model.lm_head.weight.mul_(0.5)
        model.model.layers[3].mlp.down_proj.weight.mul_(0.5)
    now = record(lmtt.load_model(model), zoo.prompt())
    assert effects(now, [head])[0].odds == pytest.approx(effects(now, [head], whole_pass=True)[0].odds, abs=1e-9)
    assert effects(now, [head])[0].odds != pytest.approx(before)


def test_an_interrupt_keeps_what_is_there_and_leaves_the_model() -> None:
    run = clean(zoo.Case("llama"))
    before = untouched.everything(run.model.module)

    def stop(done: int, _total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    found = lmtt.effects(run, "heads", progress=stop)
    assert isinstance(found, Effects)
    assert 4 <= len(found) < 16
    assert found.left == 16 - len(found)
    assert "not tried" in repr(found)
    untouched.assert_unchanged(run.model.module, before)


def test_the_heads_that_are_kept_are_those_of_the_largest_estimates() -> None:
    run = clean(zoo.Case("llama"))
    other = record(run.model, zoo.prompt()[::-1])
    order: list[int] = []

    def stop(done: int, _total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    for ablation in ("zero", other):
        against = None if ablation == "zero" else other
        order = lmtt.estimate(run, foil=3, other=against).all_heads().abs().argsort(descending=True).tolist()
        some = lmtt.effects(run, "heads", foil=3, ablation=ablation, progress=stop)  # type: ignore[arg-type]
        whole = effects(run, "heads", foil=3, ablation=ablation)
        assert [v.edits[0].selection for v in some] == [whole[k].edits[0].selection for k in sorted(order[:8])]
        assert [v.odds for v in some] == pytest.approx([whole[k].odds for k in sorted(order[:8])], abs=1e-9)


def test_a_head_that_steps_in_is_found_in_two_runs() -> None:
    run = clean(zoo.Case("llama"))
    edited = record(run.model, run, interventions=[Edit(at(of_kind(run, "attention")[1], "head", head=0))])
    found = lmtt.changed_heads(run, edited, token=3, foil=4, k=16)
    known = [
        {(e.part, e.head): e.value for e in lmtt.direct_logit_attribution(r, token=3, foil=4).effects}
        for r in (run, edited)
    ]
    assert len(found) == 16
    for h in found:
        expected = tuple(k[h.part, h.head] for k in known)
        assert (h.before, h.effect) == pytest.approx(expected, abs=1e-6)
    assert [abs(h.change) for h in found] == sorted((abs(h.change) for h in found), reverse=True)
    with pytest.raises(ValueError, match=r"another prompt \(2 tokens\)"):
        lmtt.changed_heads(run, record(run.model, zoo.prompt()[:2]), token=3)


def test_ablations_are_named_and_differ() -> None:
    run = clean(zoo.Case("llama"))
    other = record(run.model, zoo.prompt()[::-1])
    found = [effects(run, "heads", ablation=a) for a in ("zero", "mean", other)]
    assert [f.ablation for f in found] == ["zero", "mean", "another prompt"]
    assert len({round(f[3].odds, 6) for f in found}) == 3
    assert found[0].to_dict()[3]["change"] == found[0][3].change


def test_what_cannot_be_asked_is_refused_in_words() -> None:
    run = clean(zoo.Case("llama"))
    head = Edit(at(of_kind(run, "attention")[0], "head", head=0))
    for given, options, message in (
        ("neurons", {}, 'or "heads"'),
        ("heads", {"ablation": "median"}, '"zero", "mean" or another run'),
        ([head], {"token": 97}, r"in 0\.\.96"),
        ([head], {"pos": 7}, r"pos must be in 0\.\.6"),
        ([head], {"token": 3, "foil": 3}, "the foil is the token itself"),
        ([()], {}, "at least one"),
        ([Edit({"kind": "mlp", "state": 1})], {}, "has no mlp part"),
    ):
        with pytest.raises(ValueError, match=message):
            effects(run, given, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing was edited in"):
        effects(record(run.model, run, interventions=[head]), "heads")
