"""Laws of faithfulness: all is kept of everything, nothing of nothing, and the numbers are those of plain edits."""

from __future__ import annotations

import pytest
import torch

import lmtt_widget as lmtt
from lmtt_widget import Edit, attribute, estimate, faithfulness, record, trace
from lmtt_widget.attribution import log_odds
from lmtt_widget.faithful import Trial, drawn, strongest
from lmtt_widget.run import last_state

from . import untouched, zoo
from .test_interventions import PROMPT, at, clean, of_kind

NAMES = ("gpt2", "llama", "gemma2", "phi", "qwen2_moe", "mamba", "jamba", "qwen3_next", "hy_v4", "falcon_h1")


def everything(run: lmtt.Run) -> dict[int, torch.Tensor]:
    n = run.n_tokens
    return {p.number: torch.ones(n, n) if p.kind == "attention" else torch.ones(n) for p in run.parts}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_everything_keeps_all_and_nothing_keeps_nothing(name: str) -> None:
    case = next(c for c in zoo.cases() if c.type == name)
    run = clean(case)
    other = record(run.model, zoo.prompt()[::-1])
    for off in ("mean", "zero", other):
        found = faithfulness(everything(run), run=run, token=3, foil=4, off=off)  # type: ignore[arg-type]
        assert found.odds == pytest.approx(found.all, abs=1e-4 * max(1, abs(found.all)))
        assert found.odds_frozen == pytest.approx(found.all, abs=1e-4 * max(1, abs(found.all)))
        assert faithfulness({}, run=run, token=3, foil=4, off=off).kept == pytest.approx(0, abs=1e-3)  # type: ignore[arg-type]


def test_nothing_with_another_runs_writes_on_its_embedding_is_the_other_run() -> None:
    run = clean(zoo.Case("llama"))
    ids = zoo.prompt()
    other = record(run.model, [*ids[:3], 50, *ids[4:]])
    found = faithfulness({}, run=run, token=3, foil=4, off=other)
    parts = [Edit(at(p), other) for p in of_kind(run, "mlp")]
    parts += [Edit(at(p, "head", head=h), other) for p in of_kind(run, "attention") for h in range(p.n_heads)]
    expected = record(run.model, run, interventions=parts).logits[-1]
    assert found.none == pytest.approx(float(log_odds(expected, 3, 4)), abs=1e-9)


def test_one_line_less_is_a_cut_line() -> None:
    run = clean(zoo.Case("llama"))
    part = of_kind(run, "attention")[1]
    masks = everything(run)
    masks[part.number][5, 2] = 0
    for off in ("zero", "mean"):
        edit = Edit(at(part, "edge", query=5, key=2), 0.0 if off == "zero" else "mean")
        expected = float(log_odds(record(run.model, run, interventions=[edit]).logits[-1], 3, 4))
        found = faithfulness(masks, run=run, token=3, foil=4, off=off)  # type: ignore[arg-type]
        assert found.odds == pytest.approx(expected, abs=1e-9)
        assert found.n_lines == sum(p.kind == "attention" for p in run.parts) * 28 - 1


def test_what_is_drawn_is_what_is_kept(bundled: lmtt.Model) -> None:
    run = record(bundled, PROMPT)
    routes = trace(attribute(run), encoding="flow")
    threshold = routes.drawn_threshold()
    masks = drawn(routes, threshold)
    edges = [e for e in routes.edges(threshold) if e.part is not None]
    assert sum(int(m.sum()) for m in masks.values()) == len(edges)
    assert all(bool(masks[e.part][e.query, e.key] if e.kind == "attention" else masks[e.part][e.query]) for e in edges)  # type: ignore[index]
    found = faithfulness(routes)
    assert found.n_lines + found.n_squares == len(edges)
    assert "keep" in repr(found)
    assert "frozen" in repr(found)


def test_ten_lines_of_a_contrast_estimate_keep_the_answer(bundled: lmtt.Model) -> None:
    run, other = (record(bundled, p) for p in (PROMPT, PROMPT.replace("John gave", "Mary gave")))
    foil = bundled.token_id(" John")
    found = estimate(run, foil=foil, other=other, steps=5)
    scores = {
        p.number: -found.line(p).sum(0) if p.heads else -found.part(p)
        for p in run.parts
        if p.kind in ("attention", "mlp")
    }
    ten = faithfulness(strongest(scores, 10), run=run, foil=foil, off=other)
    assert ten.n_lines + ten.n_squares == 10
    assert ten.kept > 0.9 > ten.kept_random


def test_where_nothing_is_at_stake_it_says_so_and_a_graph_alone_is_refused(bundled: lmtt.Model) -> None:
    run = record(bundled, PROMPT)
    assert "nothing to lose" in repr(faithfulness({}, run=run, off=run))
    graph = attribute(run)
    with pytest.raises(ValueError, match="needs the run"):
        faithfulness({})
    object.__setattr__(graph, "run", None)
    with pytest.raises(ValueError, match="opened without its run"):
        faithfulness(trace(graph))


def test_of_an_edited_run_it_is_refused(bundled: lmtt.Model) -> None:
    edited = record(bundled, PROMPT, interventions=[Edit({"kind": "mlp", "state": 2})])
    with pytest.raises(ValueError, match="faithfulness is of a run that nothing was edited in"):
        faithfulness(trace(attribute(edited)))


@pytest.mark.parametrize("name", NAMES)
def test_a_pass_that_ends_at_the_last_state_is_the_whole_pass(name: str) -> None:
    run = clean(next(c for c in zoo.cases() if c.type == name))
    masks = {
        k: torch.rand(m.shape, generator=torch.Generator().manual_seed(k)) < 0.5 for k, m in everything(run).items()
    }
    trial = Trial(run, masks)
    edits = trial.edits(trial.masks)
    last = last_state(run, edits)
    assert last is not None
    assert torch.equal(last, record(run.model, run, interventions=edits).states[-1].value)


def test_progress_counts_the_passes_and_an_error_or_interrupt_leaves_the_model_as_it_was(bundled: lmtt.Model) -> None:
    before, told = untouched.everything(bundled.module), list[tuple[int, int]]()
    routes = trace(attribute(record(bundled, PROMPT)), encoding="flow")
    found = faithfulness(routes, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        faithfulness(routes, progress=stop)
    untouched.assert_unchanged(bundled.module, before)
    assert faithfulness(routes) == found


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({99: torch.ones(14, 14)}, r"masks go by the number of a part, 0\.\.\d+, got 99"),
        ({"a": torch.ones(14, 14)}, "masks go by the number of a part"),
        ({0: torch.ones(3, 3)}, r"the mask of part 0 is a tensor \[query, key\] = \[14, 14\]"),
        ({0: "all"}, "the mask of part 0 is a tensor"),
        ({1: torch.ones(14, 14)}, r"the mask of part 1 is a tensor \[pos\] = \[14\]"),
        ({0: torch.full((14, 14), float("nan"))}, "the mask of part 0 has entries that are not finite"),
    ],
)
def test_a_mask_of_nothing_or_of_another_shape_is_refused(bundled: lmtt.Model, masks: object, said: str) -> None:
    run = record(bundled, PROMPT)
    with pytest.raises(ValueError, match=said):
        faithfulness(masks, run=run)  # type: ignore[arg-type]
