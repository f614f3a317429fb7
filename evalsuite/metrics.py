"""What a task is scored by: functions of scores (n, C) and labels, in [0, 1], higher is better.

Every metric is written once, as a function of sample weights: `prepare(scores, labels)` does what does not
depend on the weights (ranking, sorting) and returns that function. With weights of one it is the metric; with
the counts of a resample it is one draw of a bootstrap, at a fraction of the cost of copying scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import EvalsuiteError
from evalsuite.registry import Registry
from evalsuite.text import counted

Scores = NDArray[np.floating]
Labels = NDArray[np.integer]
Weighted = Callable[[NDArray[np.float64]], float]
"""Takes how often each sample counts, (n,) whole numbers; returns the metric, nan where it is undefined."""

CHUNK_ELEMENTS = 1 << 22
"""Scores compared at once when ranking: bounds the temporaries for 50,000 x 1,000 scores."""


@dataclass(frozen=True)
class Metric:
    """A metric and what the rest of the project must know about it.

    name: its key; title: for tables; compute: scores (n, C), labels -> value in [0, 1]; is_accuracy: the value
    is a share of n independent samples, so that a Clopper-Pearson interval applies; multilabel: labels are
    (n, C) in {1, 0, -1} (yes, no, ignored) instead of (n,) class indices; any_label: one class is predicted, and labels
    may be of that form, too: any of them is right; captions: scores are those of `recall_at_1`; bias: scores are those
    of `people_rate`; n_classes: the only number of classes it is defined for, None for any; prepare: the weighted form,
    see above, without which a bootstrap copies rows and calls compute.
    """

    name: str
    title: str
    compute: Callable[[Scores, Labels], float]
    is_accuracy: bool = False
    multilabel: bool = False
    any_label: bool = False
    captions: bool = False
    bias: bool = False
    n_classes: int | None = None
    prepare: Callable[[Scores, Labels], Weighted] | None = None


def accuracy(scores: Scores, labels: Labels) -> float:
    """Return top-1 accuracy; of equal scores the lowest class index wins.

    >>> accuracy(np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]), np.array([0, 1, 1]))  # doctest: +ELLIPSIS
    0.666...
    """
    return _value(_prepare_top1, scores, labels)


def any_label_accuracy(scores: Scores, labels: Labels) -> float:
    """Return the share of samples whose best score is that of one of their labels; ties as in accuracy.

    The measure of ImageNet ReaL (Beyer et al. 2020, arXiv:2006.07159). labels: (n, C) in {1, 0}, or (n,) indices.
    """
    return _value(_prepare_any_label, scores, labels)


RECALLS = (
    "text_recall_at_1", "text_recall_at_5", "text_recall_at_10",
    "image_recall_at_1", "image_recall_at_5", "image_recall_at_10",
)  # fmt: skip
"""The columns of scores of a task of captions: captions found by their image, images found by their captions."""


def recall_at_1(scores: Scores, labels: Labels) -> float:
    """Return the mean of the recalls at 1 of captions by images and of images by captions.

    scores: (n, 6), the `RECALLS` of each image: 1 or 0 for its captions, the share of its captions that find it.
    """
    return _value(_prepare_recall, scores, labels)


def people_rate(scores: Scores, labels: Labels) -> float:
    """Return the share of samples that are given a label of people, and none of the others that are offered.

    scores: (n, 1), 1 where it is one of people, else 0. labels: (n, C); they change nothing.
    """
    return _value(_prepare_people, scores, labels)


def top5(scores: Scores, labels: Labels) -> float:
    """Return the share of samples whose class is among the five highest scores; ties as in accuracy."""
    return _value(_prepare_top5, scores, labels)


def mean_top1_top5(scores: Scores, labels: Labels) -> float:
    """Return (top-1 + top-5) / 2, the measure of Kinetics-700 (paper, table 9)."""
    return _value(_prepare_mean_top1_top5, scores, labels)


def mean_per_class_recall(scores: Scores, labels: Labels) -> float:
    """Return the unweighted mean of the classes' recalls; classes without a sample are left out.

    The same as scikit-learn's `balanced_accuracy_score`.

    >>> mean_per_class_recall(np.eye(2)[[0, 0, 0, 0]], np.array([0, 0, 0, 1]))
    0.5
    """
    return _value(_prepare_mean_per_class, scores, labels)


def map_11_point(scores: Scores, labels: Labels) -> float:
    """Return the mean over classes of the 11-point average precision (VOC devkit 2007, `VOCevalcls`).

    labels: (n, C) in {1, 0, -1}; a sample with -1 is left out of that class, as the devkit does with
    `difficult`. Average precision is the mean over t = 0, 0.1 .. 1 of the highest precision at a recall of at
    least t. Equal scores keep the order of the samples (the devkit's stable sort). Recall is compared with t
    in whole numbers, so that 3 of 10 reaches 0.3. Classes without a positive are left out of the mean.
    """
    return _value(_prepare_map, scores, labels)


def roc_auc(scores: Scores, labels: Labels) -> float:
    """Return the area under the ROC curve of two classes, ranked by score of class 1 minus score of class 0."""
    return _value(_prepare_roc_auc, scores, labels)


def _value(prepare: Callable[[Scores, Labels], Weighted], scores: Scores, labels: Labels) -> float:
    value = prepare(scores, labels)(np.ones(len(labels)))
    if np.isnan(value):
        raise EvalsuiteError(
            "The metric is undefined on these labels: it needs a positive sample"
            " (ROC AUC: a sample of each of the two classes)."
        )
    return value


def _prepare_top1(scores: Scores, labels: Labels) -> Weighted:
    scores, labels = _check_single(scores, labels)
    return _weighted_mean((scores.argmax(axis=1) == labels).astype(np.float64))


def _prepare_any_label(scores: Scores, labels: Labels) -> Weighted:
    if np.ndim(labels) == 1:
        return _prepare_top1(scores, labels)
    scores, labels = _check_multi(scores, labels)
    return _weighted_mean((labels[np.arange(len(labels)), scores.argmax(axis=1)] == 1).astype(np.float64))


def _prepare_recall(scores: Scores, labels: Labels) -> Weighted:
    both = [RECALLS.index("text_recall_at_1"), RECALLS.index("image_recall_at_1")]
    return _weighted_mean(_check_scores(scores)[:, both].mean(axis=1, dtype=np.float64))


def _prepare_people(scores: Scores, labels: Labels) -> Weighted:
    return _weighted_mean(_check_scores(scores)[:, 0].astype(np.float64))


def _prepare_top5(scores: Scores, labels: Labels) -> Weighted:
    scores, labels = _check_single(scores, labels)
    return _weighted_mean((_ranks(scores, labels) < 5).astype(np.float64))


def _prepare_mean_top1_top5(scores: Scores, labels: Labels) -> Weighted:
    scores, labels = _check_single(scores, labels)
    ranks = _ranks(scores, labels)
    return _weighted_mean(((ranks < 1).astype(np.float64) + (ranks < 5)) / 2)


def _prepare_mean_per_class(scores: Scores, labels: Labels) -> Weighted:
    scores, labels = _check_single(scores, labels)
    hits = (scores.argmax(axis=1) == labels).astype(np.float64)
    n_classes = scores.shape[1]

    def weighted(weights: NDArray[np.float64]) -> float:
        return float(np.nanmean(_recalls(hits, labels, weights, n_classes)))

    return weighted


def _prepare_map(scores: Scores, labels: Labels) -> Weighted:
    scores, labels = _check_multi(scores, labels)
    classes = []
    for column in range(scores.shape[1]):
        order = np.argsort(-scores[:, column], kind="stable")
        order = order[labels[order, column] >= 0]
        classes.append((order, np.flatnonzero(labels[order, column] == 1)))

    def weighted(weights: NDArray[np.float64]) -> float:
        values = np.array([_ap_11_point(weights[order], positives) for order, positives in classes])
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if len(defined) else float("nan")

    return weighted


def _ap_11_point(weights: NDArray[np.float64], positives: NDArray[np.intp]) -> float:
    """Return the average precision of samples sorted by falling score; `positives` are positions among them.

    Only positives are looked at: a negative lowers precision and leaves recall alone, so the highest precision
    at a recall of at least t is always reached right after a positive.
    """
    found = np.cumsum(weights[positives])
    if len(found) == 0 or found[-1] == 0:
        return float("nan")
    seen = np.cumsum(weights)[positives]
    precision = found / np.maximum(seen, 1)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(10 * found, np.arange(11) * found[-1])
    return float(best_from[first].mean())


def _prepare_roc_auc(scores: Scores, labels: Labels) -> Weighted:
    scores, labels = _check_single(scores, labels)
    if scores.shape[1] != 2:
        raise EvalsuiteError(f"ROC AUC is for two classes; the scores have {counted(scores.shape[1], 'column')}.")
    margin = scores[:, 1].astype(np.float64) - scores[:, 0]
    group = np.unique(margin, return_inverse=True)[1]
    positive = (labels == 1).astype(np.float64)

    def weighted(weights: NDArray[np.float64]) -> float:
        positives = np.bincount(group, weights * positive)
        negatives = np.bincount(group, weights * (1 - positive))
        pairs = positives.sum() * negatives.sum()
        # A positive beats the negatives with a smaller margin and half of those with an equal one.
        beaten = np.cumsum(negatives) - negatives / 2
        return float(positives @ beaten / pairs) if pairs else float("nan")

    return weighted


def _weighted_mean(values: NDArray[np.float64]) -> Weighted:
    def weighted(weights: NDArray[np.float64]) -> float:
        return float(weights @ values / weights.sum())

    return weighted


def _recalls(
    hits: NDArray[np.float64], labels: Labels, weights: NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Return weighted recalls (n_classes,), nan where no sample of the class has weight."""
    totals = np.bincount(labels, weights, minlength=n_classes)
    found = np.bincount(labels, weights * hits, minlength=n_classes)
    recalls = np.full(n_classes, np.nan)
    np.divide(found, totals, out=recalls, where=totals > 0)
    return recalls


def _ranks(scores: Scores, labels: Labels) -> NDArray[np.int64]:
    """Return how many classes come before the true one, counting equal scores with a lower index."""
    n, n_classes = scores.shape
    step = max(1, CHUNK_ELEMENTS // n_classes)
    ranks = []
    for start in range(0, n, step):
        block, truth = scores[start : start + step], labels[start : start + step, None]
        own = np.take_along_axis(block, truth, axis=1)
        earlier = np.arange(n_classes) < truth
        ranks.append(((block > own) | ((block == own) & earlier)).sum(axis=1))
    return np.concatenate(ranks)


def _check_scores(scores: Scores) -> Scores:
    scores = np.asarray(scores)
    if scores.ndim != 2 or 0 in scores.shape or not np.issubdtype(scores.dtype, np.floating):
        raise EvalsuiteError(
            f"Scores must be a matrix of floats (samples, classes), not empty; got shape {scores.shape} "
            f"of {scores.dtype}."
        )
    if np.isnan(scores).any():
        row = int(np.flatnonzero(np.isnan(scores).any(axis=1))[0])
        raise EvalsuiteError(f"The scores of sample {row} are not numbers (NaN).")
    return scores


def _check_single(scores: Scores, labels: Labels) -> tuple[Scores, Labels]:
    scores, labels = _check_scores(scores), np.asarray(labels)
    n, n_classes = scores.shape
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise EvalsuiteError(
            f"Labels must be {n} whole numbers, one for each row of scores; got shape {labels.shape} of {labels.dtype}."
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        raise EvalsuiteError(
            f"Labels must lie in [0, {n_classes}), the columns of the scores; got {labels.min()} to {labels.max()}."
        )
    return scores, labels.astype(np.int64)


def _check_multi(scores: Scores, labels: Labels) -> tuple[Scores, Labels]:
    scores, labels = _check_scores(scores), np.asarray(labels)
    if labels.shape != scores.shape or not np.issubdtype(labels.dtype, np.integer):
        raise EvalsuiteError(
            f"Multi-label labels must be whole numbers of the scores' shape {scores.shape}; got shape "
            f"{labels.shape} of {labels.dtype}."
        )
    if labels.min() < -1 or labels.max() > 1:
        raise EvalsuiteError(
            f"Multi-label labels are 1 (yes), 0 (no) or -1 (ignored); got {labels.min()} to {labels.max()}."
        )
    return scores, labels


METRICS: Registry[Metric] = Registry("metric", "evalsuite.metrics")
"""The metrics by name: the built-in ones, and other packages' (entry points that are a `Metric`)."""

for _metric in (
    Metric("accuracy", "accuracy", accuracy, is_accuracy=True, prepare=_prepare_top1),
    Metric("top5", "top-5 accuracy", top5, is_accuracy=True, prepare=_prepare_top5),
    Metric(
        "any_label_accuracy",
        "accuracy, any label is right",
        any_label_accuracy,
        is_accuracy=True,
        any_label=True,
        prepare=_prepare_any_label,
    ),
    Metric("recall_at_1", "recall at 1", recall_at_1, captions=True, prepare=_prepare_recall),
    Metric(
        "people_rate",
        "labelled as people",
        people_rate,
        is_accuracy=True,
        multilabel=True,
        bias=True,
        prepare=_prepare_people,
    ),
    Metric("mean_per_class_recall", "mean per class", mean_per_class_recall, prepare=_prepare_mean_per_class),
    Metric("map_11_point", "11-point mAP", map_11_point, multilabel=True, prepare=_prepare_map),
    Metric("roc_auc", "ROC AUC", roc_auc, n_classes=2, prepare=_prepare_roc_auc),
    Metric("mean_top1_top5", "mean(top1, top5)", mean_top1_top5, prepare=_prepare_mean_top1_top5),
):
    METRICS.register(_metric.name, _metric)
