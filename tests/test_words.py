"""However a right model writes its sums, it is read in full; tests/hostile judges the same models in every detail."""

from __future__ import annotations

import importlib

import pytest
import torch

from lmtt_widget import UndecomposableError, load_model, record

from .hostile.judge import labels
from .hostile.models import CASES, Case

importlib.import_module(".hostile.families.words", __package__)
MINE = [c for c in CASES if c.family.startswith("other words")]


@pytest.mark.sampled
@pytest.mark.parametrize("case", [c for c in MINE if c.labels], ids=str)
def test_other_words_for_the_same_sums_are_read_the_same(case: Case) -> None:
    model = case.build()
    run = record(load_model(model), list(case.ids))
    assert labels(run) == case.labels
    with torch.no_grad():
        out = model(torch.tensor([case.ids]))
    out = out["logits"] if isinstance(out, dict) else out[0] if isinstance(out, tuple) else out
    given = out.reshape(-1, out.shape[-1])
    torch.testing.assert_close(run.logits[-len(given) :], given)
    assert run.logits.shape[0] == len(case.ids)


@pytest.mark.parametrize("case", [c for c in MINE if c.says], ids=str)
def test_what_cannot_be_read_is_named(case: Case) -> None:
    with pytest.raises(UndecomposableError, match=case.says):
        record(load_model(case.build()), list(case.ids))


def test_the_logits_of_all_positions_are_made_by_the_models_own_calls() -> None:
    case = next(c for c in MINE if "nanoGPT" in str(c))
    run = record(load_model(case.build()), list(case.ids))
    assert "the model gives the logits of 1 of 7 positions; all were made by the same calls" in run.fidelity.notes
    assert run.fidelity.identities["own forward"] < 1e-15
