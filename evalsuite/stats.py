"""Intervals for metrics.

The paper's rule for "as good as the best" (table 10): a Clopper-Pearson interval of 99.5 % around the best
accuracy, from the size of the test set. Metrics that are no plain share of samples get a bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import Labels, Metric, Scores, Weighted

LEVEL = 0.995
"""Confidence of every interval: the paper's, table 10."""

RESAMPLES = 1000
"""Bootstrap draws: two or three of them lie beyond each end of a 99.5 % interval."""

MAX_REDRAWS = 100
"""Draws an undefined resample may take before the labels count as too few for a bootstrap."""


@dataclass(frozen=True)
class Interval:
    """A two-sided interval; bounds in the units of the metric, level in (0, 1)."""

    low: float
    high: float
    level: float
    method: Literal["clopper-pearson", "bootstrap"]


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> Interval:
    """Return the exact binomial interval for `successes` of `n` samples (Clopper and Pearson 1934)."""
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
    draw = _copying(metric, scores, labels) if metric.prepare is None else metric.prepare(scores, labels)
    rng = np.random.default_rng(seed)
    values = [_one_draw(draw, len(labels), rng) for _ in range(resamples)]
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), level, "bootstrap")


def interval_for(metric: Metric, scores: Scores, labels: Labels, seed: int = 0) -> Interval:
    """Return the interval of a metric: Clopper-Pearson for accuracies, else a bootstrap."""
    if metric.is_accuracy:
        n = len(labels)
        return clopper_pearson(round(metric.compute(scores, labels) * n), n)
    return bootstrap(metric, scores, labels, seed=seed)


def _one_draw(draw: Weighted, n: int, rng: np.random.Generator) -> float:
    for _ in range(MAX_REDRAWS):
        counts = np.bincount(rng.integers(0, n, size=n), minlength=n).astype(np.float64)
        value = draw(counts)
        if not np.isnan(value):
            return value
    raise EvalsuiteError(
        f"A bootstrap of {n} samples found no resample on which the metric is defined: "
        "the labels are too few or of one class."
    )


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
