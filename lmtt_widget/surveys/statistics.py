"""What may be said of many prompts: ratios with intervals, and comparisons that do not fool.

Knows nothing of models, heads or files: numbers [prompt, cell], any number of cells. The unit is the prompt, never the
token: tokens of a prompt depend on one another, and intervals over them would be far too narrow. Two prompts of which
the first has 1 of 2 queries that look back and the second 9 of 10 have the ratio of sums 10 / 12, not the mean .7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
_AT_ONCE = 1 << 22  # numbers in one block of resampled weights
_KEPT = (
    1 << 25
)  # bytes of them that are kept for the next ratio: drawing them costs ten times what it costs to use them


@dataclass(frozen=True)
class Interval:
    """Ratios of sums over prompts, each with its interval."""

    value: np.ndarray  # [cell]
    low: np.ndarray  # [cell]
    high: np.ndarray  # [cell]
    error: np.ndarray  # [cell], the standard error
    reach: float  # so many errors around the values hold all true ones at the same time, at the level


@dataclass(frozen=True)
class Differences:
    """The means of two sets of prompts compared cell by cell."""

    difference: np.ndarray  # [cell], mean of the first set minus mean of the second
    low: np.ndarray  # [cell]
    high: np.ndarray  # [cell]
    t: np.ndarray  # [cell], Welch's
    p: np.ndarray  # [cell], corrected: the chance that any cell of two random sets would differ as much


def ratio(num: np.ndarray, den: np.ndarray, *, times: int = 1000, seed: int = 0, level: float = LEVEL) -> Interval:
    """sum(num) / sum(den) over prompts: num [prompt, cell], den [prompt] -> [cell], by resampling whole prompts.

    The interval is the percentiles' (Efron 1979); `reach` the studentised largest deviation over all cells (Romano &
    Wolf 2005), so that among many cells none stands out by luck more often than 1 - level.
    """
    n = len(num)
    num, den = num.astype(np.float64), den.astype(np.float64)
    if n == 0 or den.sum() == 0:
        nothing = np.full(num.shape[1:], np.nan)
        return Interval(nothing, nothing, nothing, nothing, np.nan)
    value, made = num.sum(0) / den.sum(), []
    for block in _kept_resamples(n, times, seed) if n * times <= _KEPT else _resamples(n, times, seed):
        weights = block.astype(np.float64)
        below = (weights @ den)[:, None]
        made.append(np.where(below > 0, weights @ num / np.where(below > 0, below, 1), value))
    drawn = np.concatenate(made)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    error = drawn.std(0)
    off = np.abs(drawn - value) / np.where(error > 0, error, np.inf)
    return Interval(value, low, high, error, float(np.quantile(np.nanmax(off, 1, initial=0), level)))


def _resamples(n: int, times: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n prompts is drawn when n are drawn with replacement: blocks [time, prompt]."""
    rng, step = np.random.default_rng(seed), max(1, _AT_ONCE // n)
    for start in range(0, times, step):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=min(step, times - start))
        yield weights.astype(np.uint8)  # none of many is drawn 256 times: the chance is below 1e-500


@lru_cache(maxsize=1)
def _kept_resamples(n: int, times: int, seed: int) -> list[np.ndarray]:
    return [*_resamples(n, times, seed)]


def apart(num: np.ndarray, chance: np.ndarray, den: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Which cells differ from chance, all cells together at the level: num, chance [prompt, cell], den [prompt]."""
    found = ratio(num - chance, den, seed=seed)
    with np.errstate(invalid="ignore"):
        return (np.abs(found.value) > found.reach * found.error) & (np.abs(found.value) > 1e-9)


def share(hits: np.ndarray, n: int, level: float = LEVEL) -> Interval:
    """hits of n, with Wilson's interval: [cell]. (Wilson 1927)"""
    if n == 0:
        nothing = np.full(hits.shape, np.nan)
        return Interval(nothing, nothing, nothing, nothing, np.nan)
    z, p = NormalDist().inv_cdf((1 + level) / 2), hits / n
    middle, scale = (p + z * z / (2 * n)), 1 + z * z / n
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, (middle - half) / scale, (middle + half) / scale, np.sqrt(p * (1 - p) / n), z)


def differences(a: np.ndarray, b: np.ndarray, *, times: int = 2000, seed: int = 0) -> Differences:
    """The means of a [prompt, cell] and b [prompt, cell] compared, with p by the largest |t| of shuffled sets.

    Welch's t in each cell; p says how often the largest |t| over all cells of two random sets is as large, so it holds
    for all cells at once however they depend on one another. (Westfall & Young 1993)
    Raises ValueError for sets of fewer than two prompts.
    """
    n_a, n_b = len(a), len(b)
    if min(n_a, n_b) < 2:
        raise ValueError(f"two sets are compared from two prompts each, got {n_a} and {n_b}")
    x, rng = np.concatenate([a, b]).astype(np.float64), np.random.default_rng(seed)
    x = x - x.mean(0)  # of large numbers the squares would lose the differences
    n, squares = n_a + n_b, x * x
    sums, sums_of_squares = x.sum(0), squares.sum(0)

    def compared(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Differences and their errors: mask [time, prompt] picks the first set."""
        first, first_squares = mask @ x, mask @ squares
        mean_a, mean_b = first / n_a, (sums - first) / n_b
        var_a = (first_squares / n_a - mean_a**2) * n_a / (n_a - 1)
        var_b = ((sums_of_squares - first_squares) / n_b - mean_b**2) * n_b / (n_b - 1)
        return mean_a - mean_b, np.sqrt(np.maximum(var_a / n_a + var_b / n_b, 0))

    seen = np.zeros((1, n))
    seen[0, :n_a] = 1
    (difference,), (error,) = compared(seen)
    flat = error <= 1e-12 * np.sqrt(np.maximum(sums_of_squares, 1e-300))  # the same in all prompts
    t = np.where(flat, 0, difference / np.where(flat, 1, error))
    largest, step = [], max(1, _AT_ONCE // n)
    for start in range(0, times, step):
        order = rng.permuted(np.broadcast_to(np.arange(n), (min(step, times - start), n)), axis=1)
        d, e = compared((order < n_a).astype(np.float64))
        largest.append(np.nanmax(np.abs(np.where(flat | (e <= 0), 0, d / np.where(e > 0, e, 1))), 1, initial=0))
    ordered = np.sort(np.concatenate(largest))
    p = (1 + len(ordered) - np.searchsorted(ordered, np.abs(t), "left")) / (1 + len(ordered))
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return Differences(difference, difference - z * error, difference + z * error, t, p)
