"""The states of a model are the model's: what is chosen in one prompt means the same layer in every other."""

from __future__ import annotations

import pytest
import torch

from lmtt_widget import load_model, record

from . import zoo


def prompts() -> list[list[int]]:
    """Of several lengths and tokens, so that other experts are asked."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(3, zoo.N_VOCAB, (n,), generator=generator).tolist() for n in (3, 7, 12, 12)]


@pytest.mark.sampled
@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_the_states_are_the_same_in_every_prompt(case: zoo.Case) -> None:
    model = load_model(zoo.shared(case))
    runs = [record(model, ids) for ids in prompts()]
    first = [(s.layer, s.name, s.carried) for s in runs[0].states]
    for run in runs[1:]:
        assert [(s.layer, s.name, s.carried) for s in run.states] == first


@pytest.mark.slow
def test_an_expert_that_hands_on_its_tokens_makes_no_state() -> None:
    model = load_model(zoo.make("longcat_flash"))
    runs = [record(model, [token] * 3) for token in range(3, 40)]
    hand_on = [any(w.kind == "skip" for p in run.parts if p.kind == "mlp" for w in p.writes) for run in runs]
    assert {True, False} == set(hand_on)
    assert {len(run.states) for run in runs} == {1 + 4 * zoo.N_LAYERS}
    assert len({tuple((p.kind, p.reads, p.state) for p in run.parts) for run in runs}) == 1
