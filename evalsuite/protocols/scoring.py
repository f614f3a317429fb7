"""From scores to the numbers of a result: the task's metric with its interval, and further metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalsuite.metrics import METRICS, RECALLS, Metric
from evalsuite.protocols.base import FoldScores
from evalsuite.records import Interval, MetricRecord
from evalsuite.stats import interval_for
from evalsuite.tasks.spec import TaskSpec

BESIDE = ("accuracy", "top5", "mean_per_class_recall")
"""Metrics of single-label tasks that are reported next to the main one; top5 where there are over five classes."""


def main_metric(task: TaskSpec, folds: Sequence[FoldScores], seed: int) -> MetricRecord:
    """Return the task's metric, averaged over folds, with the mean of the folds' intervals."""
    metric = METRICS.get(task.metric)
    values = [float(metric.compute(fold.scores, fold.labels)) for fold in folds]
    intervals = [interval_for(metric, fold.scores, fold.labels, seed) for fold in folds]
    return MetricRecord(
        name=task.metric,
        value=float(np.mean(values)),
        interval=_mean_interval(intervals),
        n=sum(len(fold.ids) for fold in folds),
        folds=values if len(values) > 1 else None,
    )


def further_metrics(task: TaskSpec, folds: Sequence[FoldScores]) -> dict[str, float]:
    """Return top-1, top-5 and mean per class recall of a single-label task, averaged over folds.

    Of a task of captions, the `RECALLS`.
    """
    if task.captions:
        columns = np.mean([fold.scores.mean(axis=0, dtype=np.float64) for fold in folds], axis=0)
        return dict(zip(RECALLS, columns.tolist(), strict=True))
    if task.multilabel or METRICS.get(task.metric).any_label:
        return {}
    names = [name for name in BESIDE if name != "top5" or len(task.class_list) > 5]
    return {_title(METRICS.get(name)): _mean(METRICS.get(name), folds) for name in names}


def _title(metric: Metric) -> str:
    return "top1" if metric.name == "accuracy" else metric.name


def _mean(metric: Metric, folds: Sequence[FoldScores]) -> float:
    return float(np.mean([metric.compute(fold.scores, fold.labels) for fold in folds]))


def _mean_interval(intervals: Sequence[Interval]) -> Interval:
    first = intervals[0]
    return Interval(
        low=float(np.mean([interval.low for interval in intervals])),
        high=float(np.mean([interval.high for interval in intervals])),
        level=first.level,
        method=first.method if len(intervals) == 1 else f"{first.method}, mean over folds",
    )
