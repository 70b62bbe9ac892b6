"""Laws of estimates: they are the slopes of exact effects, on every architecture, and leave the model as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import lmtt_widget as lmtt
from lmtt_widget import Edit, estimate, record
from lmtt_widget.attribution import log_odds

from . import untouched, zoo
from .test_interventions import PROMPT, at, clean, of_kind

# Small beside the bends of activations and the choices of experts; large beside rounding where the slopes are slight.
STEPS = 1e-3, 1e-2
QUERY, KEY = 5, 3  # which every window lets through
CASES = [c for c in zoo.cases() if c not in zoo.cases()[3::2]]


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_estimate_is_the_slope_of_an_exact_edit(case: zoo.Case) -> None:
    run = clean(case)
    token, foil = run.logits[-1].topk(2).indices.tolist()
    before = untouched.everything(run.model.module)
    found = estimate(run, token=token, foil=foil)
    untouched.assert_unchanged(run.model.module, before)
    largest = 0.0
    pairs: list[tuple[float, dict[str, Any]]] = []
    for p in (*of_kind(run, "attention")[::2], *of_kind(run, "mlp", "mixer", "skip")[::2]):
        if p.kind == "attention":
            selection, slope = at(p, "edge", query=QUERY, key=KEY), found.line(p)[:, QUERY, KEY].sum()
        else:
            selection, slope = at(p, pos=QUERY), found.part(p)[QUERY]
        pairs.append((float(slope), selection))
        largest = max(largest, abs(float(slope)))

    def exact(selection: dict[str, Any], step: float) -> float:
        ends = [record(run.model, run, interventions=[Edit(selection, to)]).logits[-1] for to in (1 - step, 1 + step)]
        low, high = (float(log_odds(logits, token, foil)) for logits in ends)
        return (low - high) / (2 * step)

    for slope, selection in pairs:
        found = (exact(selection, step) for step in STEPS)
        assert any(slope == pytest.approx(change, abs=0.01 * largest) for change in found), selection


def test_a_contrast_estimate_is_the_slope_of_patching() -> None:
    run = clean(zoo.Case("llama"))
    other = record(run.model, zoo.prompt()[::-1])
    found = estimate(run, token=3, foil=4, other=other)
    part = of_kind(run, "mlp")[1]
    theirs = other.parts[part.number].output(run.n_tokens) - part.output(run.n_tokens)
    edit = Edit({"kind": "state", "state": part.state}, 1e-4 * theirs)
    edited = record(run.model, run, interventions=[edit])
    change = log_odds(edited.logits[-1], 3, 4) - log_odds(run.logits[-1], 3, 4)
    assert float(change) / 1e-4 == pytest.approx(float(found.part(part).sum()), rel=1e-2)


def test_integrated_over_many_steps_the_embedding_accounts_for_the_whole_difference() -> None:
    """Completeness of integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365)."""
    run = clean(zoo.Case("llama"))
    other = record(run.model, zoo.prompt()[::-1])
    found = estimate(run, token=3, foil=4, other=other, steps=60)
    first = ((other.value(0) - run.value(0)) * found.gradients[0]).sum()
    difference = log_odds(other.logits[-1], 3, 4) - log_odds(run.logits[-1], 3, 4)
    assert float(first) == pytest.approx(float(difference), rel=2e-2)


def test_frozen_and_half_precision_models_are_estimated_and_lengths_compared(bundled: lmtt.Model) -> None:
    model = zoo.make("llama", dtype=torch.bfloat16).requires_grad_(requires_grad=False)
    run = record(lmtt.load_model(model), zoo.prompt())
    assert estimate(run, token=3, foil=4).all_heads().isfinite().all()
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    run = record(bundled, PROMPT)
    for options, message in (
        ({"other": record(bundled, "Mary went")}, "they have 14 and 2 tokens"),
        ({"steps": 5}, "they need `other`"),
        ({"token": -1}, "token must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            estimate(run, **options)  # type: ignore[arg-type]


class _OnlyForward(torch.autograd.Function):
    """A kernel that knows no way back, as quantised ones do."""

    @staticmethod
    def forward(_ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(_ctx: Any, *_: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no backward")


class OnlyForwardLinear(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(_OnlyForward.apply(x))


class DetachingLinear(torch.nn.Linear):
    """As quantised kernels that know nothing of gradients: what they give needs none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return super().forward(x)


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (OnlyForwardLinear, r"NotImplementedError: no backward, at model\.layers\.2\.mlp\.down_proj"),
        (DetachingLinear, r"model\.layers\.2\.mlp\.down_proj \(DetachingLinear\) gives no gradient to its input"),
    ],
)
def test_a_model_that_no_gradient_goes_back_through_is_refused_with_the_module(
    kernel: type[torch.nn.Module], said: str
) -> None:
    model = zoo.make("llama", dtype=torch.float32)
    model.model.layers[2].mlp.down_proj.__class__ = kernel
    run = record(lmtt.load_model(model), zoo.prompt())
    before = untouched.everything(model)
    with pytest.raises(
        ValueError, match=rf"no gradient goes back through this model \({said}.*exact effects need none"
    ):
        estimate(run, token=3, foil=4)
    untouched.assert_unchanged(model, before)
    assert len(lmtt.effects(run, "heads", token=3, foil=4, progress=False)) == 16
