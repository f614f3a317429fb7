"""The metrics against scikit-learn and against loops that follow the definitions."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn import metrics as sk

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import (
    METRICS,
    RECALLS,
    accuracy,
    any_label_accuracy,
    map_11_point,
    mean_per_class_recall,
    mean_top1_top5,
    people_rate,
    recall_at_1,
    roc_auc,
    top5,
)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def informed(rng: np.random.Generator, n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know a little about the labels: (n, n_classes), (n,)."""
    labels = rng.integers(0, n_classes, n)
    scores = rng.normal(size=(n, n_classes))
    scores[np.arange(n), labels] += 1.0
    return scores, labels


def devkit_ap(scores: np.ndarray, labels: np.ndarray) -> float:
    """One class, as `VOCevalcls` computes it, sample by sample; recall compared in whole numbers."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    n_positive = int((labels == 1).sum())
    tp = fp = 0
    curve = []
    for i in order:
        tp += int(labels[i] == 1)
        fp += int(labels[i] == 0)
        if tp + fp:
            curve.append((tp, tp / (tp + fp)))
    return sum(max((p for found, p in curve if 10 * found >= k * n_positive), default=0.0) for k in range(11)) / 11


def test_accuracy(rng: np.random.Generator) -> None:
    scores, labels = informed(rng, 500, 7)
    assert accuracy(scores, labels) == sk.accuracy_score(labels, scores.argmax(1))


def test_equal_scores_go_to_the_lowest_class() -> None:
    scores = np.zeros((4, 8))
    assert accuracy(scores, np.array([0, 1, 0, 7])) == 0.5
    assert top5(scores, np.array([0, 4, 5, 7])) == 0.5


def test_top5(rng: np.random.Generator) -> None:
    scores, labels = informed(rng, 300, 20)
    expected = np.mean([label in np.argsort(-row)[:5] for row, label in zip(scores, labels, strict=True)])
    assert top5(scores, labels) == pytest.approx(expected)
    assert top5(scores, labels) == pytest.approx(sk.top_k_accuracy_score(labels, scores, k=5))
    assert mean_top1_top5(scores, labels) == pytest.approx((accuracy(scores, labels) + expected) / 2)
    assert top5(scores[:, :5], labels % 5) == 1.0


@pytest.mark.parametrize("elements", [7, 41])
def test_top5_in_several_chunks(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    scores, labels = informed(rng, 300, 20)
    whole = top5(scores, labels)
    monkeypatch.setattr("evalsuite.metrics.CHUNK_ELEMENTS", elements)
    assert top5(scores, labels) == whole


def test_ranking_needs_memory_for_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = np.zeros((1_000, 1_000), np.float32), np.zeros(1_000, np.int64)
    monkeypatch.setattr("evalsuite.metrics.CHUNK_ELEMENTS", 10_000)
    top5(scores[:2], labels[:2])
    tracemalloc.start()
    try:
        top5(scores, labels)
        assert tracemalloc.get_traced_memory()[1] < scores.size + 1_000_000  # the search for NaN takes scores.size
    finally:
        tracemalloc.stop()


def test_any_of_the_labels_is_right() -> None:
    scores = np.array([[0.0, 2, 1], [0, 2, 1], [2, 1, 0], [1, 1, 0], [0, 0, 1]])
    labels = np.array([[0, 1, 1], [1, 0, 1], [1, 0, 0], [0, 1, 1], [1, 1, 1]])
    assert any_label_accuracy(scores, labels) == 3 / 5  # of equal scores the lowest index wins
    assert any_label_accuracy(scores, np.array([1, 1, 0, 1, 2])) == 4 / 5


def test_recall_is_the_mean_of_both_ways_in_double_precision() -> None:
    scores = np.zeros((3, len(RECALLS)), np.float32)
    scores[:, RECALLS.index("text_recall_at_1")] = [1, 0, 1]
    scores[:, RECALLS.index("image_recall_at_1")] = 1 / 3
    third = float(np.float32(1 / 3))
    assert recall_at_1(scores, np.zeros(3, np.int64)) == pytest.approx((2 / 3 + third) / 2, rel=1e-12)


def test_the_rate_of_people_is_that_of_the_only_column() -> None:
    assert people_rate(np.array([[1.0], [0], [0], [1], [0]]), np.zeros((5, 3), np.int64)) == 0.4


def test_mean_per_class_recall(rng: np.random.Generator) -> None:
    scores, labels = informed(rng, 400, 6)
    labels[:200] = 0
    predicted = scores.argmax(1)
    assert mean_per_class_recall(scores, labels) == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    absent = np.where(labels == 3, 2, labels)
    expected = sk.recall_score(absent, predicted, labels=[0, 1, 2, 4, 5], average="macro")
    assert mean_per_class_recall(scores, absent) == pytest.approx(expected)
    assert mean_per_class_recall(scores, labels) != pytest.approx(accuracy(scores, labels), abs=1e-3)
    last = np.where(labels == 5, 4, labels)
    expected = sk.recall_score(last, predicted, labels=range(5), average="macro")
    assert mean_per_class_recall(scores, last) == pytest.approx(expected)


def test_map_follows_the_devkit(rng: np.random.Generator) -> None:
    labels = rng.choice([1, 0, -1], size=(120, 6), p=[0.2, 0.7, 0.1]).astype(np.int8)
    scores = rng.normal(size=(120, 6)) + labels * (labels > 0)
    expected = np.mean([devkit_ap(scores[:, c], labels[:, c]) for c in range(6)])
    assert map_11_point(scores, labels) == pytest.approx(expected)
    counted_as_negative = np.where(labels < 0, 0, labels)
    assert map_11_point(scores, counted_as_negative) != pytest.approx(expected, abs=1e-3)


def test_map_keeps_the_order_of_equal_scores() -> None:
    scores = np.zeros((4, 1))
    assert map_11_point(scores, np.array([[1], [0], [0], [0]])) == 1.0
    assert map_11_point(scores, np.array([[0], [0], [0], [1]])) == 0.25
    labels = np.arange(300) % 3 == 0
    scores = (np.arange(300) % 4).astype(float)
    assert map_11_point(scores[:, None], labels[:, None].astype(int)) == pytest.approx(devkit_ap(scores, labels))


def test_map_leaves_out_a_class_of_whose_positives_none_was_drawn(rng: np.random.Generator) -> None:
    scores, labels = rng.normal(size=(20, 2)), rng.integers(0, 2, (20, 2))
    weights = 1.0 - labels[:, 0]
    metric = METRICS.get("map_11_point")
    assert metric.prepare is not None
    kept = weights == 1
    assert metric.prepare(scores, labels)(weights) == pytest.approx(map_11_point(scores[kept, 1:], labels[kept, 1:]))
    assert np.isnan(metric.prepare(scores[:, :1], labels[:, :1])(weights))


def test_map_reaches_a_recall_of_exactly_three_tenths() -> None:
    # Three of ten positives first, then seven behind a wall of negatives: precision 1 at t = 0, .1, .2, .3.
    labels = np.array([1] * 3 + [0] * 90 + [1] * 7)[:, None]
    scores = -np.arange(100.0)[:, None]
    assert map_11_point(scores, labels) == pytest.approx((4 + 7 * 0.1) / 11)


def test_map_leaves_out_classes_without_positives(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, (50, 3))
    scores = rng.normal(size=(50, 3))
    expected = map_11_point(scores[:, [0, 2]], labels[:, [0, 2]])
    labels[:, 1] = np.where(rng.random(50) < 0.5, 0, -1)
    assert map_11_point(scores, labels) == pytest.approx(expected)
    with pytest.raises(EvalsuiteError, match="undefined"):
        map_11_point(scores, np.zeros_like(labels))


def test_roc_auc(rng: np.random.Generator) -> None:
    scores, labels = informed(rng, 300, 2)
    rounded = scores.round(0)
    for given in (scores, rounded):
        expected = sk.roc_auc_score(labels, given[:, 1] - given[:, 0])
        assert roc_auc(given, labels) == pytest.approx(expected)
    with pytest.raises(EvalsuiteError, match="undefined"):
        roc_auc(scores, np.ones(300, dtype=int))
    with pytest.raises(EvalsuiteError, match="two classes"):
        roc_auc(np.zeros((4, 3)), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_weights_mean_repetition(rng: np.random.Generator, name: str) -> None:
    """A metric with whole weights is the metric of the repeated samples: what the bootstrap relies on."""
    metric = METRICS.get(name)
    n_classes = 2 if name == "roc_auc" else 7
    scores, labels = informed(rng, 80, n_classes)
    scores = scores.round(1)
    if metric.multilabel:
        labels = rng.choice([1, 0, -1], size=(80, 7), p=[0.3, 0.5, 0.2])
    assert metric.prepare is not None
    weights = rng.integers(0, 4, 80)
    repeated = np.repeat(np.arange(80), weights)
    found = metric.prepare(scores, labels)(weights.astype(float))
    assert found == pytest.approx(metric.compute(scores[repeated], labels[repeated]))
    assert found != pytest.approx(metric.compute(scores, labels), abs=1e-6)
    assert 0 < found < 1


def test_the_registry_says_what_each_metric_is() -> None:
    metrics = {name: METRICS.get(name) for name in METRICS}
    assert {name for name, metric in metrics.items() if metric.is_accuracy} == {
        "accuracy",
        "top5",
        "any_label_accuracy",
        "people_rate",
    }
    assert [name for name, metric in metrics.items() if metric.bias] == ["people_rate"]
    assert [name for name, metric in metrics.items() if metric.any_label] == ["any_label_accuracy"]
    assert [name for name, metric in metrics.items() if metric.captions] == ["recall_at_1"]
    assert [name for name, metric in metrics.items() if metric.multilabel] == ["map_11_point", "people_rate"]
    assert {name: metric.n_classes for name, metric in metrics.items() if metric.n_classes} == {"roc_auc": 2}
    assert all(name == metric.name for name, metric in metrics.items())


@pytest.mark.parametrize(
    ("scores", "labels", "text"),
    [
        (np.zeros(3), np.zeros(3, dtype=int), "matrix of floats"),
        (np.zeros((3, 2), dtype=int), np.zeros(3, dtype=int), "matrix of floats"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "not empty"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), np.zeros(2, dtype=int), "sample 1 "),
        (np.zeros((3, 2)), np.zeros(2, dtype=int), "3 whole numbers"),
        (np.zeros((3, 2)), np.zeros(3), "3 whole numbers"),
        (np.zeros((3, 2)), np.array([0, 1, 2]), r"\[0, 2\)"),
        (np.zeros((3, 2)), np.array([0, -1, 1]), r"\[0, 2\)"),
    ],
)
def test_bad_inputs_are_refused(scores: np.ndarray, labels: np.ndarray, text: str) -> None:
    with pytest.raises(EvalsuiteError, match=text):
        accuracy(scores, labels)


def test_bad_multilabel_inputs_are_refused() -> None:
    with pytest.raises(EvalsuiteError, match=r"\(3, 2\)"):
        map_11_point(np.zeros((3, 2)), np.zeros(3, dtype=int))
    with pytest.raises(EvalsuiteError, match="0 to 2"):
        map_11_point(np.zeros((3, 2)), np.array([[0, 1], [2, 1], [0, 0]]))
    with pytest.raises(EvalsuiteError, match="-2 to 1"):
        map_11_point(np.zeros((3, 2)), np.array([[0, 1], [-2, 1], [0, 0]]))
    with pytest.raises(EvalsuiteError, match="whole numbers"):
        map_11_point(np.zeros((3, 2)), np.ones((3, 2)))
    with pytest.raises(EvalsuiteError, match="matrix of floats"):
        recall_at_1(np.zeros((3, len(RECALLS)), int), np.zeros(3, int))
