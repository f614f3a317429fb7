"""Intervals for metrics, and tests for the difference of two models on the same samples.

The paper's rule for "as good as the best" (table 10): a Clopper-Pearson interval of 99.5 % around the best
accuracy, from the size of the test set. Metrics that are no plain share of samples get a bootstrap. Two models on
the same samples are compared sample by sample, which sees smaller differences than two intervals do: exact McNemar
for accuracies, a paired bootstrap for the others, and Holm's correction where many tasks are tested at once.

scipy takes a third of a second to import, so the functions that need it import it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import Labels, Metric, Scores, Weighted
from evalsuite.records import Interval
from evalsuite.text import counted

LEVEL = 0.995
"""Confidence of every interval: the paper's, table 10."""

RESAMPLES = 1000
"""Bootstrap draws: two or three of them lie beyond each end of a 99.5 % interval."""

MAX_REDRAWS = 100
"""Draws an undefined resample may take before the labels count as too few for a bootstrap."""

BISECTIONS = 60
"""Halvings that take an interval of length 2 below the rounding of a float64."""

MCNEMAR = "exact McNemar"
PAIRED_BOOTSTRAP = "paired bootstrap"
"""Tests of a difference."""

TANGO = "tango"
"""Method of the interval of a difference of two accuracies."""


@dataclass(frozen=True)
class Difference:
    """How far the first of two models is ahead of the second, in the units of the metric.

    test: what p is from; p: two-sided probability of a difference at least as large if there were none.
    """

    value: float
    interval: Interval
    test: str
    p: float


@dataclass(frozen=True)
class PairedScores:
    """Scores of two models on the same samples of one fold.

    first, second: (n, C); labels: as the metric takes them; units: (n,) the number of the sample behind each row,
    from 0, the same in every fold: a sample that is in several folds is drawn once for all of them.
    """

    first: Scores
    second: Scores
    labels: Labels
    units: NDArray[np.intp]


@dataclass(frozen=True)
class KeptScores:
    """Scores of a model on the samples of one fold, of which some are left out.

    scores: (n, C); labels: as the metric takes them; kept: (n,) which stay; units: as in `PairedScores`.
    """

    scores: Scores
    labels: Labels
    kept: NDArray[np.bool_]
    units: NDArray[np.intp]


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> Interval:
    """Return the exact binomial interval for `successes` of `n` samples (Clopper and Pearson 1934).

    >>> round(clopper_pearson(0, 10, level=0.95).high, 4)  # 1 - 0.025 ** (1 / 10)
    0.3085
    """
    from scipy.special import betaincinv

    _check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise EvalsuiteError(f"An interval needs 0 <= successes <= n and n >= 1; got {successes} of {n}.")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Interval(low, high, level, "clopper-pearson")


def bootstrap(
    metric: Metric,
    scores: Scores,
    labels: Labels,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval: samples are drawn with replacement, the metric taken each time.

    scores: (n, C); labels: as the metric takes them. A resample on which the metric is undefined (one class
    only, for ROC AUC) is drawn again; one that merely misses a class uses the classes it has, as the metric
    itself does. The draws depend on the seed and on n alone.
    """
    _check_level(level)
    if resamples < 1:
        raise EvalsuiteError(f"A bootstrap needs at least one resample; got {resamples}.")
    values = resampled(metric, [(scores, labels, np.arange(len(labels)))], resamples=resamples, seed=seed)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), level, "bootstrap")


def resampled(
    metric: Metric,
    folds: Sequence[tuple[Scores, Labels, NDArray[np.intp]]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return (resamples,) values of a metric, averaged over folds, each on samples drawn with replacement.

    folds: scores, labels and units, see `PairedScores`. Models with the same labels, units and seed get the same draws.
    """
    parts = [(_weighted(metric, scores, labels), units) for scores, labels, units in folds]

    def mean(counts: NDArray[np.float64]) -> float:
        return float(np.mean([draw(counts[units]) for draw, units in parts]))

    n = 1 + max(int(units.max()) for _, _, units in folds)
    rng = np.random.default_rng(seed)
    return np.array([_one_draw(mean, n, rng) for _ in range(resamples)])


def interval_for(metric: Metric, scores: Scores, labels: Labels, seed: int = 0) -> Interval:
    """Return the interval of a metric: Clopper-Pearson for accuracies, else a bootstrap."""
    if metric.is_accuracy:
        n = len(labels)
        return clopper_pearson(round(metric.compute(scores, labels) * n), n)
    return bootstrap(metric, scores, labels, seed=seed)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_], level: float = LEVEL) -> Difference:
    """Compare two accuracies on the same samples by the exact McNemar test, with Tango's interval of the difference.

    first, second: (n,) whether each model is right. For the test, only samples on which one model is right and the
    other wrong say anything: were the models equal, each would fall to either side by a fair coin (McNemar 1947). The
    interval is that of `tango`; at the edge of the level one of the two may leave out zero and the other not.
    """
    if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
        raise EvalsuiteError(f"McNemar's test needs two equally long rows; got {first.shape} and {second.shape}.")
    n, only_first, only_second = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    p = mcnemar_p(only_first, only_second)
    return Difference((only_first - only_second) / n, tango(only_first, only_second, n, level), MCNEMAR, p)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p of the exact McNemar test, from how often one model alone is right."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def tango(only_first: int, only_second: int, n: int, level: float = LEVEL) -> Interval:
    """Return the score interval of the difference of two accuracies on the same n samples (Tango 1998, Statistics in
    Medicine 17, 891-908), from how often one model alone is right.

    It holds the true difference about as often as its level says, also where the models differ on few samples; the
    interval of the share of those samples alone does not: it takes their number as known.

    >>> found = tango(10, 0, 1000, level=0.95)
    >>> round(found.low, 4), round(found.high, 4)
    (0.0054, 0.0183)
    """
    _check_level(level)
    z, observed = deviations(level), (only_first - only_second) / n

    def score(difference: float) -> float:
        """Return how many standard deviations lie between the observed difference and a true one."""
        b = (2 * n - only_first + only_second) * difference - only_first - only_second
        c = -only_second * difference * (1 - difference)
        second_alone = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)  # its share, as likely as can be
        variance = n * (2 * second_alone + difference * (1 - difference))
        return n * abs(observed - difference) / math.sqrt(variance) if variance > 0 else math.inf

    def bound(end: float) -> float:
        """Return where the score reaches z on the way from the observed difference to an end, by bisection."""
        inside, outside = observed, end
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if score(middle) <= z else (inside, middle)
        return inside

    return Interval(bound(-1.0), bound(1.0), level, TANGO)


def paired_bootstrap(
    metric: Metric,
    folds: Sequence[PairedScores],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Compare any metric, averaged over folds, on the same samples by a bootstrap of the difference.

    Every draw takes the same samples for both models. The interval is the percentiles of the draws. p is that
    of a normal with their standard deviation, because a share of 1,000 draws cannot tell 0.001 from 0, and a
    correction for 27 tasks needs to. Models that never differ, or too few samples to vary, give p = 1.
    """
    _check_level(level)
    if resamples < 2 or not folds:
        raise EvalsuiteError(f"A paired bootstrap needs a fold and two resamples; got {len(folds)} and {resamples}.")
    parts = [
        (_weighted(metric, fold.first, fold.labels), _weighted(metric, fold.second, fold.labels), fold.units)
        for fold in folds
    ]

    def difference(counts: NDArray[np.float64]) -> float:
        return float(np.mean([first(counts[units]) - second(counts[units]) for first, second, units in parts]))

    return _by_draws(difference, [fold.units for fold in folds], level, resamples, seed)


def bootstrap_left_out(
    metric: Metric,
    folds: Sequence[KeptScores],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Return how far a metric of all samples is ahead of that of those that are kept, averaged over folds.

    Every draw takes the same samples for both; interval and p as of `paired_bootstrap`.
    """
    _check_level(level)
    parts = [
        (
            _weighted(metric, fold.scores, fold.labels),
            _weighted(metric, fold.scores[fold.kept], fold.labels[fold.kept]),
            fold.units,
            fold.units[fold.kept],
        )
        for fold in folds
    ]

    def difference(counts: NDArray[np.float64]) -> float:
        if not all(counts[left].any() for *_, left in parts):
            return math.nan  # a draw of nothing but what is left out
        return float(np.mean([whole(counts[units]) - kept(counts[left]) for whole, kept, units, left in parts]))

    return _by_draws(difference, [fold.units for fold in folds], level, resamples, seed)


def exceeding(successes: int, n: int, share: float) -> float:
    """Return the probability of at least so many successes of n, each with the probability `share`.

    >>> exceeding(2, 2, 0.5), exceeding(0, 5, 0.1)
    (0.25, 1.0)
    """
    from scipy.special import bdtrc

    return float(bdtrc(successes - 1, n, share))


def _by_draws(
    difference: Weighted, units: Sequence[NDArray[np.intp]], level: float, resamples: int, seed: int
) -> Difference:
    """Return a difference with its interval and p by a bootstrap. units: as in `PairedScores`, of each fold."""
    n = 1 + max(int(found.max()) for found in units)
    rng = np.random.default_rng(seed)
    draws = np.array([_one_draw(difference, n, rng) for _ in range(resamples)])
    value, spread = difference(np.ones(n)), float(draws.std(ddof=1))
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    p = 1.0 if spread == 0 else normal_p(value / spread)
    return Difference(value, Interval(float(low), float(high), level, "bootstrap"), PAIRED_BOOTSTRAP, p)


def deviations(level: float) -> float:
    """Return how many standard deviations of a normal lie between its mean and each end of an interval of `level`."""
    return NormalDist().inv_cdf((1 + level) / 2)


def normal_p(deviation: float) -> float:
    """Return the two-sided probability that a normal is at least so many standard deviations off its mean.

    >>> round(normal_p(-1.96), 3)
    0.05
    """
    return math.erfc(abs(deviation) / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of a family of tests, corrected by Holm's step-down rule (1979), in their order.

    Calling those below alpha real is wrong about any of them with a probability of at most alpha.

    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    p = np.asarray(p_values)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise EvalsuiteError("Holm's correction takes a list of probabilities between 0 and 1.")
    order = np.argsort(p)
    factors = len(p) - np.arange(len(p))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(value) for value in corrected]


def _one_draw(draw: Weighted, n: int, rng: np.random.Generator) -> float:
    for _ in range(MAX_REDRAWS):
        counts = np.bincount(rng.integers(0, n, size=n), minlength=n).astype(np.float64)
        value = draw(counts)
        if not np.isnan(value):
            return value
    raise EvalsuiteError(
        f"A bootstrap of {counted(n, 'sample')} found no resample on which the metric is defined: "
        "the labels are too few or of one class."
    )


def _weighted(metric: Metric, scores: Scores, labels: Labels) -> Weighted:
    return _copying(metric, scores, labels) if metric.prepare is None else metric.prepare(scores, labels)


def _copying(metric: Metric, scores: Scores, labels: Labels) -> Weighted:
    """Return the weighted form of a metric that has none: repeat the rows and compute."""

    def weighted(weights: NDArray[np.float64]) -> float:
        rows = np.repeat(np.arange(len(weights)), weights.astype(np.int64))
        try:
            return metric.compute(scores[rows], labels[rows])
        except EvalsuiteError:
            return float("nan")

    return weighted


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise EvalsuiteError(f"The level of an interval lies between 0 and 1; got {level}.")
