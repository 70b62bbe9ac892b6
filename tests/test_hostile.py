"""The judge of hostile models knows a wrong reading when it sees one; and right models are read in full."""

from __future__ import annotations

import itertools

import pytest
import torch

from .hostile import families  # noqa: F401  (they put their models on the list)
from .hostile.models import CASES, VOCAB, Case
from .hostile.oracle import IDS, Watched, look
from .hostile.trial import try_out

RIGHT = [c for c in CASES if c.labels]
EIGHTH = [
    c
    for _, family in itertools.groupby(sorted(CASES, key=lambda c: c.family), lambda c: c.family)
    for c in list(family)[::8]
    if not c.labels
]


def named(way: str) -> Case:
    return next(c for c in CASES if c.way == way)


@pytest.mark.parametrize("case", RIGHT, ids=str)
def test_right_models_are_read_in_full(case: Case) -> None:
    verdict = try_out(case)
    assert verdict.result == "right", verdict.said


@pytest.mark.sampled
@pytest.mark.parametrize("case", EIGHTH, ids=str)
def test_no_label_of_a_hostile_model_is_wrong_and_no_refusal_without_a_true_reason(case: Case) -> None:
    """An eighth of every family; `python -m tests.hostile` tries all."""
    verdict = try_out(case)
    assert verdict.result in ("right", "refused"), verdict.said


def test_a_sample_of_every_family_is_tried() -> None:
    assert {c.family for c in (*EIGHTH, *RIGHT)} == {c.family for c in CASES}
    assert len(EIGHTH) + len(RIGHT) > 120


def test_no_two_models_have_the_same_name() -> None:
    assert len({str(c) for c in CASES}) == len(CASES) > 900


def test_looking_at_a_model_does_not_change_it() -> None:
    model = named("GPT-2's layout").build()
    ids = torch.tensor([named("GPT-2's layout").ids])
    with torch.no_grad():
        plain = model(ids)[0]
    assert torch.equal(Watched(model, ids[0].tolist())().logits, plain)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("way", "reads"),
    [("GPT-2's layout", {0}), ("shift by cat", {-1}), ("all tokens: reversed", {6 - 2 * r for r in range(7)})],
)
def test_moving_one_row_shows_which_rows_an_mlp_reads(way: str, reads: set[int]) -> None:
    """Of the MLP of the first layer: how far after a token the rows stand that are read; the first has none before."""
    case = named(way)
    watched = Watched(case.build(), case.ids)
    oracle = look(watched, watched(), VOCAB)
    moved = oracle.writes[2, 0]
    assert not any(m.any() for s, m in moved.items() if s != 1)
    assert {r - j for j, r in moved[1].nonzero().tolist()} == reads
    assert not moved[IDS].any()


def test_attention_is_told_by_its_formula() -> None:
    case = named("GPT-2's layout")
    model = case.build()
    (write,) = Watched(model, case.ids)().states[1].writes
    assert write.heads is not None
    torch.testing.assert_close(write.heads.sum((0, 2)) + model.layers[0].o.bias, write.added)
