"""However a model was loaded: the parts add up, the logits are its own, and it is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmtt_widget import attribute, head_shares

from .accelerators import WAYS
from .loading import IDS, PAGE, SITUATIONS, NotHere, measured


@pytest.mark.sampled
@pytest.mark.parametrize("name", SITUATIONS)
def test_a_loaded_model_is_read_exactly_and_left_untouched(name: str) -> None:
    try:
        run, changed, own = measured(name)
    except NotHere as e:
        pytest.skip(str(e))
    assert changed == []
    fidelity = run.fidelity
    assert fidelity.exact == SITUATIONS[name].is_exact, fidelity.problems
    if any("instead of" in note for note in fidelity.notes):
        assert fidelity.identities["own forward"] < 1e-5
    else:
        assert torch.equal(run.logits.cpu(), own.cpu())

    rounding = [p for p in run.parts if p.kind == "rounding"]
    if not fidelity.exact:
        assert all(c.called and c.is_rounding for c in fidelity.approximate)
        assert all("is linear only up to" in problem for problem in fidelity.problems)
        assert "approximate" in str(fidelity)
        assert rounding
    for s in run.states[1:]:
        whole = run.value(s.index)
        parts = sum((p.output(len(IDS)).to(whole) for p in s.parts), run.carried(s.index))
        tolerance = max(c.tolerance for c in fidelity.checks if c.identity == "states")
        assert float((parts - whole).norm() / whole.norm()) <= tolerance


@pytest.mark.parametrize("name", ["float32 under autocast to bfloat16", "PEFT LoRA under autocast to bfloat16"])
def test_shares_are_the_same_inside_and_outside_of_autocast(name: str) -> None:
    try:
        run = measured(name).run
    except NotHere as e:
        pytest.skip(str(e))
    part = next(p for p in run.parts if p.kind == "attention")
    outside = attribute(run), head_shares(run, part)
    with torch.autocast("cpu", torch.bfloat16):
        inside = attribute(run), head_shares(run, part)
    assert torch.equal(inside[1], outside[1])
    for name, value in vars(inside[0]).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, getattr(outside[0], name)), name


def test_the_page_has_a_row_for_every_situation_and_way() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert rows == ["situation", *SITUATIONS, "where", *WAYS], "run python -m tests.loading"
