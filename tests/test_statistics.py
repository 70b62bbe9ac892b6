"""Intervals and comparisons against naive formulas, and against what chance finds."""

from __future__ import annotations

import numpy as np
import pytest

from lmtt_widget.surveys import statistics


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios() -> None:
    found = statistics.ratio(np.array([[1.0], [9.0]]), np.array([2.0, 10.0]))
    assert found.value[0] == pytest.approx(10 / 12)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Prompts of different lengths whose queries depend on one another: intervals over queries would hold it rarely."""
    rng, held, tries = np.random.default_rng(1), 0, 200
    for seed in range(tries):
        level = rng.beta(2, 3, 80)  # of each prompt; its mean is .4
        den = rng.integers(5, 15, 80).astype(float)
        num = (level * den)[:, None]
        found = statistics.ratio(num, den, times=300, seed=seed)
        held += bool(found.low[0] <= 0.4 <= found.high[0])
    assert 0.90 <= held / tries <= 0.99


@pytest.mark.parametrize("kept", [0, statistics._KEPT])
def test_an_interval_is_that_of_prompts_drawn_one_by_one_whether_resamples_are_kept_or_not(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_KEPT", kept)
    monkeypatch.setattr(statistics, "_AT_ONCE", 90)  # several blocks, the last one smaller
    num, den = np.random.default_rng(4).normal(size=(40, 3)), np.arange(40) % 3 * 1.0
    times_drawn = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=25)
    picked = [np.repeat(np.arange(40), times) for times in times_drawn]
    ratios = [num[those].sum(0) / den[those].sum() for those in picked]
    for _ in range(2):
        found = statistics.ratio(num, den, times=25, seed=5)
        np.testing.assert_allclose([found.low, found.high], np.quantile(ratios, [0.025, 0.975], axis=0))


def test_where_nothing_differs_from_chance_few_surveys_mark_a_cell() -> None:
    rng, marked = np.random.default_rng(2), 0
    for seed in range(200):
        noise = rng.normal(size=(60, 32))
        marked += bool(statistics.apart(noise, np.zeros_like(noise), np.ones(60), seed=seed).any())
    assert marked / 200 <= 0.1


def test_a_cell_that_differs_is_marked_and_no_other() -> None:
    noise = np.random.default_rng(3).normal(size=(100, 32))
    noise[:, 7] += 2
    assert np.flatnonzero(statistics.apart(noise, np.zeros_like(noise), np.ones(100))).tolist() == [7]


def test_wilsons_interval_is_where_the_score_test_ends() -> None:
    """Its ends are the p at which (hits/n - p)^2 = z^2 p (1 - p) / n."""
    for hits, n in ((0, 10), (3, 10), (10, 10), (400, 1000)):
        found = statistics.share(np.array([hits]), n)
        for p in (found.low[0], found.high[0]):
            assert (hits / n - p) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) / n, abs=1e-7)


def test_t_is_welchs() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(30, 5)), 1 + 3 * rng.normal(size=(50, 5))
    found = statistics.differences(a, b, times=200)
    by_hand = (a.mean(0) - b.mean(0)) / np.sqrt(a.var(0, ddof=1) / 30 + b.var(0, ddof=1) / 50)
    assert found.t == pytest.approx(by_hand)
    assert found.difference == pytest.approx(a.mean(0) - b.mean(0))


def test_random_halves_of_one_set_differ_in_about_one_of_twenty_tries_and_uncorrected_in_many_more() -> None:
    rng, corrected, uncorrected, tries = np.random.default_rng(0), 0, 0, 200
    for seed in range(tries):
        together = rng.normal(size=(120, 1))  # cells depend on one another, as heads do
        x = np.exp(rng.normal(size=(120, 32)) + together)
        found = statistics.differences(x[:60], x[60:], times=400, seed=seed)
        corrected += bool((found.p < 0.05).any())
        uncorrected += bool((np.abs(found.t) > 1.98).any())
    assert corrected / tries <= 0.05
    assert uncorrected / tries > 0.2


def test_a_real_difference_is_found_in_its_cell() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(80, 32)), rng.normal(size=(80, 32))
    a[:, 3] += 1.5
    found = statistics.differences(a, b)
    assert found.p[3] < 0.01
    assert found.low[3] < 1.5 < found.high[3]
    assert (np.delete(found.p, 3) > 0.05).all()


def test_cells_that_are_the_same_in_all_prompts_differ_in_nothing() -> None:
    found = statistics.differences(np.full((5, 2), 0.1), np.full((4, 2), 0.1))
    assert (found.t == 0).all()
    assert (found.p == 1).all()


def test_a_set_of_one_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="from two prompts each, got 1 and 3"):
        statistics.differences(np.zeros((1, 2)), np.zeros((3, 2)))
