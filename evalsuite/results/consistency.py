"""Whether a record can be right: what it says in several places must agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from evalsuite.records import MetricRecord, Result
from evalsuite.results.details import shares_in

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
        yield from _no_shares(shares_in(result.details))
        yield from _of_the_rest(result)


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
    yield from _no_shares(others.items())
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


def _of_the_rest(result: Result) -> Iterator[str]:
    info = result.model_info
    if info is not None and result.model_fingerprint not in ("", info.fingerprint):
        yield "it is of one model in one place and of another in `model_info`"
    if result.status == "ok" and result.changed_options.get("limit") is not None:
        yield f"it is said to be whole, and was measured with --limit {result.changed_options['limit']}"


def _no_shares(named: Iterable[tuple[str, float]]) -> Iterator[str]:
    for name, value in named:
        if math.isfinite(value) and not _is_share(value):
            yield f"{name} is {value:g}, which is no fraction between 0 and 1"


def disagreement(one: Result, other: Result) -> str:
    """Say how the values of two records of the same job differ; "" where they do not, or one has none."""
    if one.metric is None or other.metric is None:
        return ""
    if one.metric.name != other.metric.name:
        return f"one is {one.metric.name}, the other {other.metric.name}"
    values = {one.metric.name: (one.metric.value, other.metric.value)}
    values |= {name: (one.metrics[name], other.metrics[name]) for name in one.metrics.keys() & other.metrics.keys()}
    for name, (first, second) in values.items():
        if not (math.isclose(first, second, abs_tol=ROUNDING) or (math.isnan(first) and math.isnan(second))):
            return f"{name} is {first:.6f} and {second:.6f}"
    return ""


def disagreements(results: Iterable[tuple[Path | None, Result]]) -> Iterator[str]:
    """Say which records answer the very same question of the same images, and differ."""
    first: dict[tuple[object, ...], tuple[Path | None, Result]] = {}
    for path, result in results:
        if not result.fingerprint or result.metric is None:
            continue
        content = result.data.content if result.data else ""
        job = result.run_key, result.task, result.protocol, result.options_hash, result.fingerprint, content
        before, known = first.setdefault(job, (path, result))
        if problem := disagreement(known, result):
            yield (
                f"{before} and {path} are the same job on the same images, and contradict each other: {problem}. "
                "The newest counts; run it again with --overwrite and remove the other"
            )


def _is_share(value: float) -> bool:
    return -ROUNDING <= value <= 1 + ROUNDING


def _same(one: float, other: float) -> bool:
    return not math.isfinite(other) or math.isclose(one, other, abs_tol=ROUNDING)
