"""The numbers behind the pages of the report, held against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from evalsuite.report.calibration import confidences, reliability
from evalsuite.report.confusion import confusion_counts, most_confused, recalls, worst


def test_confusions_and_recalls_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 7, 500), rng.integers(0, 9, 500)
    counts = confusion_counts(truth, said, 9)
    assert np.array_equal(counts, confusion_matrix(truth, said, labels=range(9)))
    found = recalls(counts)
    assert np.isnan(found[7:]).all()
    assert found[:7] == pytest.approx(recall_score(truth, said, labels=range(7), average=None))


def test_the_most_confused_pairs_come_first_and_right_answers_never() -> None:
    counts = np.array([[90, 3, 7], [0, 5, 5], [0, 0, 4]])
    pairs = [(pair.truth, pair.said, pair.count, pair.share) for pair in most_confused(counts, 10)]
    assert pairs == [(0, 2, 7, 0.07), (1, 2, 5, 0.5), (0, 1, 3, 0.03)]
    assert len(most_confused(counts, 2)) == 2
    assert worst(np.array([0.5, np.nan, 0.1, 0.5]), 3) == [2, 0, 3]


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    rng = np.random.default_rng(1)
    confidence = np.concatenate([rng.random(300), [0.0, 1.0, 1 / 15]])
    right = rng.random(303) < confidence**2
    found = reliability(confidence, right)
    error, total = 0.0, 0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15) | ((low == 0) & (confidence == 0))
        assert found.counts[low] == inside.sum()
        error += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
        total += int(inside.sum())
    assert total == 303
    assert found.error == pytest.approx(error / 303)


def test_who_is_always_right_and_sure_has_no_error() -> None:
    found = reliability(np.ones(10), np.ones(10, dtype=bool))
    assert found.error == 0 and found.counts.tolist() == [0] * 14 + [10]
    assert reliability(np.ones(10), np.zeros(10, dtype=bool)).error == 1


def test_confidences_are_probabilities_of_the_best_class() -> None:
    scores = np.array([[0.0, np.log(3)], [2.0, 2.0]], dtype=np.float32)
    assert confidences("zero_shot", False, scores) == pytest.approx([0.75, 0.5])
    assert confidences("linear_probe", True, scores) == pytest.approx(1 / (1 + np.exp(-scores.max(axis=1))))
    assert confidences("zero_shot", True, scores / 2) == pytest.approx(scores.max(axis=1) / 2)
    assert confidences("somebody's", False, scores) is None
