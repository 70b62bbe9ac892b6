"""The bundled model of stories keeps what its card says; told stories hold together; training repeats itself."""

import random
import re

import pytest
import torch
from safetensors.torch import load_file

import lmtt_widget as lmtt
from lmtt_widget.bundled import STORIES
from tools.bundled.measure import load
from tools.stories import measure, text, train

from .test_bundled import TEXTS

CARD = (STORIES / "CARD.md").read_text("utf-8")


@pytest.fixture(scope="module")
def shipped():
    return load(STORIES)


def figures(task: str) -> tuple[float, float]:
    """The two shares of the card's row."""
    (row,) = re.findall(rf"^\| {task} \| ([\d.]+)% \| ([\d.]+)% \|$", CARD, re.MULTILINE)
    return float(row[0]) / 100, float(row[1]) / 100


@pytest.mark.parametrize("task", text.TASKS)
def test_held_out_questions_are_answered_as_often_as_the_card_says(shipped, task):
    """Of fewer questions than the card's, so within what chance allows."""
    n = 80
    for share, said in zip(measure.accuracy(*shipped, task, n, seed=1), figures(task), strict=True):
        assert abs(share - said) <= 3 * (said * (1 - said) / n) ** 0.5 + 0.03


def test_the_loss_is_the_cards(shipped):
    (said,) = re.findall(r"([\d.]+) nats a token", CARD)
    assert measure.loss(*shipped, n_stories=60, seed=1) == pytest.approx(float(said), abs=0.05)


def test_the_card_shows_what_the_model_says(shipped):
    told = measure.continued(*shipped, measure.BEGINNING, 120)
    assert f"> {told}" in CARD


def test_it_is_another_architecture_size_and_tokenizer_than_the_first_and_is_read_exactly():
    first, second = lmtt.bundled_model(), lmtt.bundled_model("stories")
    assert (first.config.model_type, second.config.model_type) == ("llama", "gpt2")
    for size in ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size"):
        assert getattr(first.config, size) != getattr(second.config, size)
    assert first.encode(measure.BEGINNING).ids != second.encode(measure.BEGINNING).ids
    run = lmtt.record(second, measure.BEGINNING, check="all")
    assert run.fidelity.exact
    assert "learned" not in str(run.fidelity.problems)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match='a bundled model is "grammar" or "stories", got \'poems\''):
        lmtt.bundled_model("poems")


@pytest.mark.parametrize("given", TEXTS)
def test_the_tokenizer_gives_every_text_back(shipped, given):
    _, tokenizer = shipped
    assert tokenizer.decode(tokenizer(given)["input_ids"]) == given


def test_names_and_things_are_one_token(shipped):
    _, tokenizer = shipped
    words = text.GIRLS + text.BOYS + text.THINGS + text.COLOURS + text.PLACES + tuple(text.ANIMALS)
    assert {word for word in words if len(tokenizer(" " + word)["input_ids"]) > 1} == set()


def test_no_held_out_cast_is_told_in_training():
    seen = {}
    for split in ("train", "held-out"):
        rng = random.Random(0)
        casts = [text.cast(rng, split) for _ in range(2000)]
        seen[split] = {(c["hero"], c["friend"], c["thing"]) for c in casts}
    assert not seen["train"] & seen["held-out"]
    assert len(seen["held-out"]) > 100


@pytest.mark.parametrize("plot", text.PLOTS)
def test_every_plot_is_told_without_a_slot_or_a_mark_left_and_with_its_own_people(plot):
    rng = random.Random(plot)
    for seed in range(60):
        cast = text.cast(rng, "train")
        told = text.plain(text.marked(plot, cast, seed))
        assert not re.search(r"[{}<>]|  |\" [A-Z][a-z]+[.,!]\"", told), told
        assert told[0].isupper() or told[0] == '"'
        assert {*text.GIRLS, *text.BOYS} & set(re.findall(r"\w+", told)) <= {cast["hero"], cast["friend"]}


@pytest.mark.parametrize("task", text.TASKS)
def test_a_question_is_a_story_whose_other_telling_has_another_answer(task):
    rng = random.Random(task)
    for _ in range(30):
        q = text.question(task, rng)
        assert q.answer != q.other_answer
        assert q.prompt != q.other_prompt
        assert q.prompt.count(" ") == q.other_prompt.count(" ")
        assert q.prompt.endswith(tuple("abcdefghijklmnopqrstuvwxyz,.\"'")), q.prompt


def test_training_twice_gives_the_same_weights(tmp_path):
    for name in ("first", "second"):
        train.train(tmp_path / name, steps=2, seed=1)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_learning_rate_goes_up_and_then_down_to_almost_nothing():
    shares = [train.learning_rate_share(step, 1000) for step in range(1000)]
    top = shares.index(max(shares))
    assert shares[:top] == sorted(shares[:top])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert 0.9 < max(shares) <= 1
    assert shares[-1] < 0.03
