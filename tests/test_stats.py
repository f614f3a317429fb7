"""The intervals against scipy, and the bootstrap against what theory says of it."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from scipy import stats as scipy_stats

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import METRICS
from evalsuite.stats import LEVEL, Interval, bootstrap, clopper_pearson, interval_for


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 10), (1, 1), (9_231, 10_000)])
@pytest.mark.parametrize("level", [0.9, 0.995])
def test_clopper_pearson(successes: int, n: int, level: float) -> None:
    found = clopper_pearson(successes, n, level)
    exact = scipy_stats.binomtest(successes, n).proportion_ci(confidence_level=level, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert found.level == level
    assert found.method == "clopper-pearson"


def test_the_level_is_the_papers() -> None:
    assert clopper_pearson(3, 10) == clopper_pearson(3, 10, 0.995)
    assert LEVEL == 0.995


@pytest.mark.parametrize(("successes", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(EvalsuiteError, match="successes"):
        clopper_pearson(successes, n)


def case(n: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    scores = rng.normal(size=(n, n_classes))
    scores[np.arange(n), labels] += 1.5
    return scores, labels


def test_the_bootstrap_of_a_share_is_near_binomial() -> None:
    scores, labels = case(2_000, 3)
    metric = METRICS.get("accuracy")
    value = metric.compute(scores, labels)
    found = bootstrap(metric, scores, labels, level=0.95, resamples=4_000)
    half = 1.96 * np.sqrt(value * (1 - value) / 2_000)
    assert found.low == pytest.approx(value - half, abs=0.1 * half)
    assert found.high == pytest.approx(value + half, abs=0.1 * half)
    assert found.method == "bootstrap"
    wider = bootstrap(metric, scores, labels, level=0.995, resamples=4_000)
    assert wider.high - wider.low > 1.2 * (found.high - found.low)


def test_the_bootstrap_depends_on_the_seed_alone() -> None:
    scores, labels = case(100, 3)
    metric = METRICS.get("mean_per_class_recall")
    first = bootstrap(metric, scores, labels, resamples=50, seed=1)
    assert bootstrap(metric, scores, labels, resamples=50, seed=1) == first
    assert bootstrap(metric, scores, labels, resamples=50, seed=2) != first


def test_a_metric_without_weighted_form_is_resampled_by_copying() -> None:
    scores, labels = case(60, 2)
    metric = METRICS.get("roc_auc")
    plain = dataclasses.replace(metric, prepare=None)
    fast = bootstrap(metric, scores, labels, resamples=100)
    slow = bootstrap(plain, scores, labels, resamples=100)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high))


def test_undefined_resamples_are_drawn_again() -> None:
    # One positive of four: (3/4)^4, about a third of all resamples, miss it.
    scores = np.array([[0.0, 1.0], [0.0, 0.4], [0.0, 0.6], [0.0, 0.2]])
    labels = np.array([0, 1, 0, 0])
    for metric in (METRICS.get("roc_auc"), dataclasses.replace(METRICS.get("roc_auc"), prepare=None)):
        found = bootstrap(metric, scores, labels, resamples=200)
        assert 0 <= found.low < found.high <= 1


def test_labels_of_one_class_have_no_bootstrap() -> None:
    with pytest.raises(EvalsuiteError, match="too few or of one class"):
        bootstrap(METRICS.get("roc_auc"), np.eye(2), np.array([1, 1]))


def test_interval_for() -> None:
    scores, labels = case(200, 6)
    hits = int((scores.argmax(1) == labels).sum())
    assert interval_for(METRICS.get("accuracy"), scores, labels) == clopper_pearson(hits, 200)
    for name in ("mean_per_class_recall", "mean_top1_top5"):
        found = interval_for(METRICS.get(name), scores, labels, seed=3)
        assert found == bootstrap(METRICS.get(name), scores, labels, seed=3)
        assert isinstance(found, Interval)
        assert found.low < METRICS.get(name).compute(scores, labels) < found.high


def test_multilabel_metrics_have_an_interval() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([1, 0, -1], size=(300, 4), p=[0.3, 0.6, 0.1])
    scores = rng.normal(size=(300, 4)) + (labels == 1)
    found = interval_for(METRICS.get("map_11_point"), scores, labels)
    assert found.low < METRICS.get("map_11_point").compute(scores, labels) < found.high


def test_bad_options_are_refused() -> None:
    scores, labels = case(20, 3)
    with pytest.raises(EvalsuiteError, match="level"):
        bootstrap(METRICS.get("accuracy"), scores, labels, level=1.0)
    with pytest.raises(EvalsuiteError, match="at least one resample"):
        bootstrap(METRICS.get("accuracy"), scores, labels, resamples=0)


def test_the_bootstrap_is_quick() -> None:
    scores, labels = case(10_000, 100)
    start = time.process_time()
    bootstrap(METRICS.get("mean_per_class_recall"), scores, labels)
    assert time.process_time() - start < 3
