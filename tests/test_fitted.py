"""Fitted lenses, against a lens that knows better and against counting."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lmtt_widget as lmtt

from .grammar_prompts import prompts


@pytest.fixture(scope="module")
def lenses(bundled: lmtt.Model) -> list[lmtt.FittedLens]:
    given = list(prompts(250, 9))
    return [lmtt.fit_lens(bundled, given, ahead=ahead, progress=False) for ahead in (0, 1)]


@pytest.mark.slow
def test_on_prompts_it_has_not_seen_it_is_nearer_to_the_prediction_than_the_logit_lens(
    lenses: list[lmtt.FittedLens],
) -> None:
    now = lenses[0]
    assert (now.kl[:-1] < now.kl_logit_lens[:-1]).all()
    assert now.kl[-1] < 0.05  # the last state is what it says


def test_what_states_say_of_the_token_after_next_beats_counted_pairs(lenses: list[lmtt.FittedLens]) -> None:
    assert lenses[1].accuracy.max() > lenses[1].bigram + 0.05


def test_of_the_last_state_it_finds_the_identity_up_to_its_length(
    bundled: lmtt.Model, lenses: list[lmtt.FittedLens]
) -> None:
    run = lmtt.record(bundled, "When Mary and John went to the store, John gave a drink to")
    found = lenses[0].logits(run, -1).log_softmax(-1)
    assert int(found.argmax()) == int(run.logits[-1].argmax())


def test_it_comes_back_from_a_file_as_it_was(
    bundled: lmtt.Model, lenses: list[lmtt.FittedLens], tmp_path: Path
) -> None:
    run = lmtt.record(bundled, "Mary went to the store.")
    for lens in lenses:
        again = lmtt.FittedLens.load(lens.save(tmp_path / f"{lens.ahead}.safetensors"))
        assert torch.equal(again.logits(run, 3, 2), lens.logits(run, 3, 2))
        assert (again.ahead, again.bigram) == (lens.ahead, lens.bigram)


def test_too_few_prompts_are_refused(bundled: lmtt.Model) -> None:
    with pytest.raises(ValueError, match="on 5 prompts or more, got 2"):
        lmtt.fit_lens(bundled, ["Mary", "John"])
    with pytest.raises(ValueError, match=r"ahead must be in 0\.\.1"):
        lmtt.fit_lens(bundled, ["Mary"] * 5, ahead=2)
