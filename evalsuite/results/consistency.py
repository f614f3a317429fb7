"""Whether a record can be right: what it says in several places must agree."""

from __future__ import annotations

import math
from collections.abc import Iterator

from evalsuite.records import MetricRecord, Result

ROUNDING = 1e-9
"""What the order of additions may change in a value."""

TOP1 = "top1"
"""What `metrics` calls the accuracy."""


def contradiction(result: Result) -> str:
    """Say what in a record cannot be true; "" where nothing is. A value that is not finite is no contradiction."""
    return next(_contradictions(result), "")


def interval_contradiction(result: Result) -> str:
    """Say that the interval of an accuracy does not follow from value and samples; "" where it does, or is another's.

    It is computed again, which takes scipy: too long for each look at a table.
    """
    from evalsuite.stats import clopper_pearson

    metric = result.metric
    if metric is None or metric.interval is None or metric.interval.method != "clopper-pearson":
        return ""
    right = round(metric.value * metric.n)
    again = clopper_pearson(right, metric.n, metric.interval.level)
    pairs = ((metric.value, right / metric.n), (metric.interval.low, again.low), (metric.interval.high, again.high))
    if all(math.isclose(one, other, abs_tol=ROUNDING) for one, other in pairs):
        return ""
    return f"{metric.name} {metric.value:g} of {metric.n} samples does not have the interval that it names"


def _contradictions(result: Result) -> Iterator[str]:
    metric = result.metric
    if result.status in ("ok", "partial") and metric is not None and math.isfinite(metric.value):
        yield from _of_the_metric(metric)
        yield from _of_the_others(metric, result.metrics)
        if result.data is not None and (sizes := result.data.sizes.get("test")) is not None:
            yield from _of_the_sizes(metric, sizes)


def _of_the_metric(metric: MetricRecord) -> Iterator[str]:
    if not _is_share(metric.value):
        yield f"{metric.name} is {metric.value:g}, which is no fraction between 0 and 1"
    if metric.n <= 0:
        yield f"{metric.name} is said to be of {metric.n} samples"
    interval = metric.interval
    if interval is not None:
        # A percentile of a bootstrap may leave out the value; Clopper-Pearson's interval never does.
        around = metric.value if interval.method.startswith("clopper-pearson") else interval.low
        if not (interval.low - ROUNDING <= around <= interval.high + ROUNDING and 0 < interval.level < 1):
            bounds = f"{interval.low:g} to {interval.high:g} at {interval.level:g}"
            yield f"{metric.name} is {metric.value:g} and its interval {bounds}"
    if metric.folds and not _same(metric.value, math.fsum(metric.folds) / len(metric.folds)):
        yield f"{metric.name} is {metric.value:g} and its folds' mean another"


def _of_the_others(metric: MetricRecord, others: dict[str, float]) -> Iterator[str]:
    for name, value in others.items():
        if math.isfinite(value) and not _is_share(value):
            yield f"{name} is {value:g}, which is no fraction between 0 and 1"
    again = others.get(TOP1 if metric.name == "accuracy" else metric.name)
    if again is not None and not _same(metric.value, again):
        yield f"{metric.name} is {metric.value:g} in one place and {again:g} in another"
    if others.get("top5", 1.0) < others.get(TOP1, 0.0) - ROUNDING:
        yield "top1 is above top5"


def _of_the_sizes(metric: MetricRecord, sizes: int | list[int]) -> Iterator[str]:
    """The metric counts the test samples of all folds; `sizes` has one number where all folds have the same."""
    if isinstance(sizes, int):
        folds = len(metric.folds) if metric.folds else 1
        fits = metric.n == sizes * folds
    else:
        fits = metric.n == sum(sizes)
    if not fits:
        yield f"it has {metric.n} test samples in one place and {sizes} in another"


def _is_share(value: float) -> bool:
    return -ROUNDING <= value <= 1 + ROUNDING


def _same(one: float, other: float) -> bool:
    return not math.isfinite(other) or math.isclose(one, other, abs_tol=ROUNDING)
