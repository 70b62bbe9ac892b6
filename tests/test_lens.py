"""Vectors read as tokens: the lens of the last state is the logits, direct effects add up to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lmtt_widget import direct_logit_attribution, head_output, load_model, logit_lens, promoted, record
from lmtt_widget import lens_logits as attached_lens_logits
from lmtt_widget import top_tokens as top
from lmtt_widget.attribution import direct_effects
from lmtt_widget.decomposition.readout import Readout
from lmtt_widget.decomposition.vectors import constant_vector, constant_vectors, query_vectors
from lmtt_widget.lens import lens_of_position
from lmtt_widget.readings import likely_tokens

from . import golden, zoo
from .test_decomposition import plain_model

each_case = pytest.mark.parametrize("case", zoo.cases(), ids=str)


def lens_logits(*args: Any, **options: Any) -> Tensor:
    return attached_lens_logits(*args, **options).detach()


def before_cap(case: zoo.Case, logits: Tensor) -> Tensor:
    """What the model soft-caps, by its own config: cap * tanh(x / cap)."""
    config = zoo.shared(case).config
    cap = getattr(config, "final_logit_softcapping", None) or (15.0 if case.type == "nanochat" else None)
    return logits if cap is None else cap * torch.atanh(logits.double() / cap)


@each_case
def test_the_lens_of_the_last_state_is_the_logits(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    last, size = len(run.states) - 1, run.logits.abs().max()
    assert float((lens_logits(run, last, slice(None)) - run.logits).abs().max() / size) < 1e-6
    assert float((lens_logits(run, last, -1) - run.logits[-1]).abs().max() / size) < 1e-6
    assert float((lens_of_position(run, 3).detach()[-1] - run.logits[3]).abs().max() / size) < 1e-6


@each_case
def test_direct_effects_add_up_to_the_logit(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    for pos in (-1, 2):
        truth = before_cap(case, run.logits[pos])
        size = float(truth.abs().max())
        for by in ("head", "part"):
            found = direct_logit_attribution(run, pos, by=by)  # type: ignore[arg-type]
            token = int(run.logits[pos].argmax())
            assert found.token.id == token
            assert abs(found.sum - float(truth[token])) < 1e-5 * size
            assert abs(found.logit - float(truth[token])) < 1e-5 * size
        against = direct_logit_attribution(run, pos, token=5, foil=11)
        assert abs(against.sum - float(truth[5] - truth[11])) < 1e-5 * size
        assert abs(against.logit - float(truth[5] - truth[11])) < 1e-5 * size


@each_case
def test_direct_effects_of_the_heads_are_those_of_their_part(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    size = float(run.logits.abs().max())
    parts, heads = (direct_logit_attribution(run, -1, 5, by=by).effects for by in ("part", "head"))  # type: ignore[arg-type]
    for e in parts:
        together = sum(h.value for h in heads if h.part == e.part)
        assert together == pytest.approx(e.value, abs=2e-6 * size)


@pytest.mark.parametrize("case", ["gpt2", "gemma2", "cohere", "opt 350m", "olmo", "mixtral"])
def test_updates_of_all_parts_promote_the_logits(case: str) -> None:
    """The frozen read-out is linear: a part's scores over the whole vocabulary add up, with the read-out's constant."""
    chosen = zoo.Case(*case.split())
    run = zoo.recorded(chosen)
    n_vocab = run.logits.shape[-1]
    total = torch.zeros(n_vocab, dtype=torch.float64)
    for part in run.parts:
        found = promoted(run, part.output(run.n_tokens)[-1], -1, state=part.state, k=n_vocab)
        scores, ids = found.promoted.scores, [t.id for t in found.promoted.tokens]
        assert sorted(ids) == list(range(n_vocab))
        assert ids == [t.id for t in found.suppressed.tokens][::-1]
        total[ids] += scores.double()
    assert run.readout is not None
    constant = run.readout.constant(run.n_tokens - 1)
    total = total if constant is None else total + constant
    truth = before_cap(chosen, run.logits[-1])
    assert float((total - truth).abs().max() / truth.abs().max()) < 1e-5


def test_a_layer_norm_model_reads_an_update_with_its_mean_taken_out_and_its_scale_frozen() -> None:
    run, model = zoo.recorded(zoo.Case("gpt2")), zoo.shared(zoo.Case("gpt2"))
    norm, unembed = model.transformer.ln_f, model.lm_head.weight
    last = run.states[-1].value
    vector = run.parts[1].output(run.n_tokens)[4]
    for pos in (4, -1):
        sigma = (last[pos].var(unbiased=False) + norm.eps).sqrt()
        expected = unembed @ (norm.weight * (vector - vector.mean()) / sigma)
        found = promoted(run, vector, pos, k=run.logits.shape[-1])
        torch.testing.assert_close(found.promoted.scores, expected.detach().sort(descending=True).values)
        effects = direct_effects(run, vector[None], pos, 3, 5, 9)
        torch.testing.assert_close(effects[0], (expected[5] - expected[9]).detach())


def test_an_update_is_read_at_its_position_and_through_later_frozen_steps() -> None:
    """opt-350m: every state goes through a norm, so an early part is scaled on its way to the last state."""
    run = zoo.recorded(zoo.Case("opt", "350m"))
    part = next(p for p in run.parts if p.kind == "attention")
    vector = part.output(run.n_tokens)[3]
    early, late = (promoted(run, vector, 3, state=s).promoted.scores for s in (part.state, -1))
    assert not torch.allclose(early, late)


@pytest.mark.parametrize("case", ["gpt2", "llama", "opt 350m"])
def test_results_carry_no_gradient(case: str) -> None:
    run = zoo.recorded(zoo.Case(*case.split()))
    part = next(p for p in run.parts if p.kind == "attention")
    results = {
        "lens_logits": attached_lens_logits(run, 2),
        "lens_logits without norm": attached_lens_logits(run, 2, normalise=False),
        "lens_of_position": lens_of_position(run, 2),
        "top_tokens": top(run, state=1).scores,
        "logit_lens": logit_lens(run).probabilities,
        "promoted": promoted(run, run.value(1)[0]).promoted.scores,
        "direct_effects": direct_effects(run, run.value(1)[:1], 0, 1, 5),
        "head_output": head_output(part, 0),
        "output": part.output(run.n_tokens),
        "logits": run.logits,
        "states": run.states[-1].value,
    }
    assert not [name for name, x in results.items() if x.requires_grad]


def test_the_lens_applies_the_final_norm_to_the_state_itself() -> None:
    run, model = zoo.recorded(zoo.Case("gpt2")), zoo.shared(zoo.Case("gpt2"))
    with torch.no_grad():
        for state in (0, 3):
            h = run.states[state].value
            torch.testing.assert_close(lens_logits(run, state, slice(None)), model.lm_head(model.transformer.ln_f(h)))
            torch.testing.assert_close(lens_logits(run, state, slice(None), normalise=False), model.lm_head(h))
            torch.testing.assert_close(lens_of_position(run, 2)[state], lens_logits(run, state, 2))


def test_a_grid_of_the_lens_is_its_rows() -> None:
    run = zoo.recorded(zoo.Case("llama"))
    grid = logit_lens(run, k=3)
    final = run.logits.softmax(-1)
    for s in run.states:
        p = lens_logits(run, s.index, slice(None)).softmax(-1)
        best = p.topk(3)
        torch.testing.assert_close(grid.probabilities[s.index], best.values)
        assert torch.equal(grid.ids[s.index], best.indices)
        torch.testing.assert_close(grid.entropy[s.index], -(p * p.log()).sum(-1))
        torch.testing.assert_close(grid.kl[s.index], (final * (final.log() - p.log())).sum(-1), atol=1e-7, rtol=1e-5)
    assert bool((grid.kl[-1].abs() < 1e-6).all())
    tops = grid.ids[..., 0]
    for pos, first in enumerate(grid.settled.tolist()):
        assert bool((tops[first:, pos] == tops[-1, pos]).all())
        assert first == 0 or tops[first - 1, pos] != tops[-1, pos]
    records = grid.to_dict()
    assert len(records) == len(run.states) * run.n_tokens * 3
    assert records[-1]["id"] == int(grid.ids[-1, -1, -1])


def test_a_grid_of_some_states_and_positions_is_that_piece_of_the_whole() -> None:
    run = zoo.recorded(zoo.Case("gemma2"))
    whole, states, positions = logit_lens(run, k=3), [-1, 0, 2], [4, 1]
    piece = logit_lens(run, k=3, states=states, pos=positions)
    assert (piece.states, piece.positions) == ((len(run.states) - 1, 0, 2), (4, 1))
    assert torch.equal(piece.ids, whole.ids[states][:, positions])
    for name in ("probabilities", "entropy", "kl"):
        torch.testing.assert_close(getattr(piece, name), getattr(whole, name)[states][:, positions])
    assert logit_lens(run, pos=3).settled.tolist() == whole.settled[3:4].tolist()
    assert next(r for r in whole.to_dict() if r["state"] == 2 and r["pos"] == 1)["id"] == piece.to_dict()[-3]["id"]
    assert "at position 1:" in repr(piece)
    for wrong in ({"states": [len(run.states)]}, {"pos": []}, {"pos": -run.n_tokens - 1}):
        with pytest.raises(ValueError, match=r"must be (numbers )?in 0\.\."):
            logit_lens(run, **wrong)  # type: ignore[arg-type]


def test_only_what_is_asked_for_is_unembedded(monkeypatch: pytest.MonkeyPatch) -> None:
    run = zoo.recorded(zoo.Case("llama"))
    rows: list[int] = []
    unembed = Readout.unembed

    def counted(self: Readout, x: Tensor) -> Tensor:
        rows.append(len(x))
        return unembed(self, x)

    monkeypatch.setattr(Readout, "unembed", counted)
    monkeypatch.setattr("lmtt_widget.lens._AT_ONCE", 7 * run.logits.shape[-1])
    logit_lens(run, pos=-1, states=[1, 2])
    assert rows == [2]
    rows.clear()
    drawn = torch.zeros(len(run.states), run.n_tokens, dtype=torch.bool).numpy()
    drawn[1, 2:5] = drawn[3, ::3] = True
    ids, p = likely_tokens(run, drawn)
    assert (max(rows), sum(rows)) == (min(7, drawn.sum()), drawn.sum())
    for s, pos in zip(*drawn.nonzero(), strict=True):
        chances = lens_logits(run, s, int(pos)).softmax(-1)
        assert ids[s, pos] == int(chances.argmax())
        assert p[s, pos] == pytest.approx(float(chances.max()), rel=1e-5)
    assert (ids[~drawn] == -1).all()


@each_case
def test_what_is_made_of_one_position_is_that_row_of_all(case: zoo.Case) -> None:
    run = zoo.recorded(case)
    for part in run.parts:
        whole, size = part.output(run.n_tokens), part.output(run.n_tokens).abs().max().clamp_min(1e-30)
        for pos in (0, run.n_tokens - 1):
            assert float((part.output_at(pos, run.n_tokens) - whole[pos]).abs().max() / size) < 1e-6
            if part.kind == "attention":
                heads, write = query_vectors(part.linear[0], pos), part.linear[0]
                rest = constant_vectors(write, run.n_tokens)[pos]
                torch.testing.assert_close(constant_vector(write, pos), rest)
                for h in range(part.n_heads):
                    assert float((heads[h] - head_output(part, h)[pos]).abs().max() / size) < 2e-6


def test_top_tokens_are_the_models_own_prediction() -> None:
    run = zoo.recorded(zoo.Case("gemma2"))
    found = top(run, 3, k=4)
    best = run.logits[3].softmax(-1).topk(4)
    assert [t.id for t in found.tokens] == best.indices.tolist()
    assert found.probabilities is not None
    torch.testing.assert_close(found.probabilities, best.values)
    torch.testing.assert_close(found.scores, run.logits[3][best.indices])
    earlier = top(run, 3, state=2, k=500)
    assert len(earlier.tokens) == run.logits.shape[-1]
    torch.testing.assert_close(earlier.scores, lens_logits(run, 2, 3).sort(descending=True).values)
    assert found.to_dict()[0]["id"] == best.indices[0]


def test_a_soft_cap_is_undone_for_sums_and_kept_for_the_lens() -> None:
    run = record(load_model(zoo.make("gemma2", final_logit_softcapping=2.0)), zoo.prompt(), check="all")
    assert float(run.logits.abs().max()) <= 2
    assert run.readout is not None
    assert run.readout.cap == 2.0
    torch.testing.assert_close(lens_logits(run, -1, slice(None)), run.logits, atol=1e-6, rtol=1e-6)
    found = direct_logit_attribution(run)
    capped = float(run.logits[-1].max())
    assert found.sum == pytest.approx(found.logit, rel=1e-5)
    assert found.logit > capped
    assert 2 * torch.tanh(torch.tensor(found.sum / 2)) == pytest.approx(capped, rel=1e-5)


def test_a_head_writes_what_its_keys_write() -> None:
    run = zoo.recorded(zoo.Case("llama"))
    part = next(p for p in run.parts if p.kind == "attention")
    total = sum(head_output(part, h) for h in range(part.n_heads))
    assert isinstance(total, Tensor)
    bias = zoo.shared(zoo.Case("llama")).get_submodule(part.module).bias
    torch.testing.assert_close(total + bias, part.output(run.n_tokens), atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match=r"head of layer 0 must be in 0\.\.3, got 4"):
        head_output(part, 4)
    with pytest.raises(ValueError, match=r"head of layer 0 must be in 0\.\.3, got -1"):
        head_output(part, -1)


def test_a_token_outside_the_vocabulary_is_refused() -> None:
    run = zoo.recorded(zoo.Case("llama"))
    with pytest.raises(ValueError, match=r"a token id must be in 0\.\.96, got 97"):
        direct_logit_attribution(run, -1, 97)
    with pytest.raises(ValueError, match=r"a token id must be in 0\.\.96, got -1"):
        direct_logit_attribution(run, -1, 5, -1)


class Squared(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids) ** 2


def test_without_a_linear_read_out_the_flow_stays_and_the_lens_is_refused() -> None:
    run = record(load_model(Squared(plain_model()).eval()), zoo.prompt())
    assert run.readout is None
    assert any("vectors cannot be read as tokens" in note for note in run.fidelity.notes)
    with pytest.raises(ValueError, match="logits are not a linear read-out of its last state"):
        lens_logits(run, 0)
    with pytest.raises(ValueError, match="logits are not a linear read-out of its last state"):
        direct_logit_attribution(run)
    assert [t.id for t in top(run, k=2).tokens] == run.logits[-1].topk(2).indices.tolist()


# ---- golden files ----


def test_golden_direct_logit_attribution() -> None:
    expected = golden.values("gpt2_sin")["direct_logit_attribution"]
    run = golden.run("gpt2_sin")
    components = dict(expected["components"])
    heads = direct_logit_attribution(run, expected["position"], expected["token"])
    for e in heads.effects:
        if e.kind == "head":
            assert e.value == pytest.approx(components.pop(f"head{e.layer}.{e.head}"), abs=1e-9)
    names = {"attention": "attn", "mlp": "ffn"}
    for e in direct_logit_attribution(run, expected["position"], expected["token"], by="part").effects:
        key = "final_norm_bias" if e.part is None else "embed" if e.layer is None else f"{names[e.kind]}{e.layer}"
        assert e.value == pytest.approx(components.pop(key), abs=1e-9)
    assert not components


def test_golden_lens() -> None:
    expected = golden.values("gpt2_sin")["logit_lens_argmax"]
    run = golden.run("gpt2_sin")
    states = [run.states[0], *[run.view("resid_post", layer) for layer in range(2)]]
    for state, ids in zip(states, expected["ids"], strict=True):
        assert lens_logits(run, state.index, slice(None)).argmax(-1).tolist() == ids
        assert logit_lens(run).ids[state.index, :, 0].tolist() == ids
