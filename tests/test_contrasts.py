"""Laws of contrast prompts: they turn the answer round where they say so, and their positions are the run's."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

import lmtt_widget as lmtt
from lmtt_widget import contrast_prompts, swap_words
from lmtt_widget.attribution import log_odds
from lmtt_widget.contrasts import align

PROMPT = "When Mary and John went to the store, John gave a drink to"


def test_what_a_prompt_is_said_to_do_is_what_a_run_of_it_does(bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, PROMPT)
    mary, john = (bundled.token_id(name) for name in (" Mary", " John"))
    found = contrast_prompts(run, foil=john)
    assert {c.how for c in found} == {"the last ·John is ·Mary", "·Mary and ·John exchanged"}
    for c in found:
        other = lmtt.record(bundled, c.prompt)
        assert isinstance(c.prompt, str)
        assert c.odds == pytest.approx(float(log_odds(other.logits[-1], mary, john)), abs=1e-4)
        assert c.odds_before == pytest.approx(float(log_odds(run.logits[-1], mary, john)), abs=1e-4)
        assert c.turns
        assert c.alignment == tuple((k, k) for k in range(run.n_tokens))
        assert c.n_tokens == other.n_tokens
        assert lmtt.estimate(run, foil=john, other=other).other is other
    assert found[0].odds <= found[1].odds


def test_one_of_the_two_words_is_replaced_and_none_is_nothing(bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, PROMPT)
    anna, home = (bundled.token_id(name) for name in (" Anna", " home"))
    found = contrast_prompts(run, foil=anna)
    assert [c.how for c in found] == ["·Anna in place of ·Mary"]
    assert found[0].prompt == PROMPT.replace("Mary", "Anna")
    assert contrast_prompts(run, foil=anna, token=home) == []
    ids = lmtt.record(bundled, run.token_ids.tolist())
    assert [c.prompt for c in contrast_prompts(ids, foil=anna)] == [bundled.encode(found[0].prompt).ids]


def test_a_word_at_the_beginning_is_the_same_word(bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, "Mary and John went home because Mary")
    mary, john = (bundled.token_id(name) for name in (" Mary", " John"))
    exchanged = next(c for c in contrast_prompts(run, token=mary, foil=john) if "exchanged" in c.how)
    assert exchanged.prompt == "John and Mary went home because John"


def test_words_are_swapped_whole_and_all_at_once() -> None:
    assert swap_words("Ann met Anna, and Anna left.", {"Anna": "Ann", "Ann": "Anna"}) == "Anna met Ann, and Ann left."
    chat = [{"role": "user", "content": "Who is Ann?"}, {"role": "assistant", "content": "Ann."}]
    assert [m["content"] for m in swap_words(chat, {"Ann": "Bob"})] == ["Who is Bob?", "Bob."]
    assert chat[0]["content"] == "Who is Ann?"


def test_positions_are_aligned_where_words_are_longer() -> None:
    assert align([1, 2, 3], [4, 5, 6]) == [(0, 0), (1, 1), (2, 2)]
    for ids, other in (([1, 2, 3, 4], [1, 9, 9, 3, 4]), ([1, 2, 3, 1, 2], [3, 1, 2, 8, 7, 3, 1])):
        pairs = align(ids, other)
        assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))
        assert all(0 <= a < len(ids) and 0 <= b < len(other) for a, b in pairs)
    assert (3, 4) in align([1, 2, 3, 4], [1, 9, 9, 3, 4])


def test_what_cannot_be_swapped_is_refused_in_words(bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, PROMPT)
    with pytest.raises(ValueError, match="the foil is the token itself"):
        contrast_prompts(run, foil=bundled.token_id(" Mary"))
    with pytest.raises(ValueError, match="foil must be"):
        contrast_prompts(run, foil=10**6)
    with pytest.raises(ValueError, match="none of the words 'Zoe' is in the prompt"):
        swap_words(PROMPT, {"Zoe": "Ann"})
    with pytest.raises(ValueError, match="words are"):
        swap_words(PROMPT, {})
    with pytest.raises(ValueError, match="token ids have no words"):
        swap_words([1, 2, 3], {"Ann": "Bob"})


def test_nothing_is_left_on_the_model(bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, PROMPT)
    contrast_prompts(run, foil=bundled.token_id(" John"))
    assert all(p.grad is None for p in bundled.module.parameters())
    assert torch.equal(lmtt.record(bundled, PROMPT).logits, run.logits)
