"""Hold each of our results against the published number of the same model: is the paper reproduced?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from evalsuite.records import Result
from evalsuite.report.selection import problem_of, resolve_names
from evalsuite.report.sides import FAITHFUL, Key, State, metric_name, newest, shown_name, split_fidelity, states_named
from evalsuite.results.published import load_published, load_published_tasks, published_sets
from evalsuite.results.store import StoredResult
from evalsuite.stats import LEVEL

ROUNDING = 0.0005
"""Half of the last digit of a published score: 0.05 points."""

Verdict = Literal["reproduced", "outside the interval", "not comparable"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "outside the interval", "not comparable")


@dataclass(frozen=True)
class Reproduction:
    """One result beside the published number, in percent.

    difference: measured minus published; low, high: the interval of the measured value; outside: by how many points
    the published number lies outside of it, negative where ours is too low; split_fidelity, weight_fidelity: how
    near samples and weights are to the paper's; why: what makes it not comparable; caveat: what is known to be
    doubtful in the published number.
    """

    model: str
    protocol: str
    task: str
    metric: str
    measured: float
    low: float | None
    high: float | None
    published: float
    difference: float
    outside: float
    split_fidelity: str
    weight_fidelity: str
    verdict: Verdict
    why: str
    caveat: str


@dataclass(frozen=True)
class ReproductionTable:
    """Every result that has a published number, and notes on the others."""

    rows: tuple[Reproduction, ...]
    notes: tuple[str, ...]

    def failures(self, points: float) -> list[str]:
        """Return the results outside the interval and more than `points` behind; nothing comparable fails, too."""
        if all(row.verdict == "not comparable" for row in self.rows):
            return ["no result is comparable with a published number"]
        return [
            f"{row.model} on {row.task} ({row.protocol}): {row.difference:+.2f} points from the published number"
            for row in self.rows
            if row.verdict == "outside the interval" and -row.difference > points
        ]


def reproduce(
    stored: Sequence[StoredResult],
    models: Sequence[str] = (),
    *,
    protocols: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> ReproductionTable:
    """Return a row for each result whose model and task have a published number under its protocol.

    A result is reproduced where the published number, rounded as it is, lies inside the interval of ours. It is
    compared only where weights, samples, metric and options are the paper's. models: as for a side of a comparison,
    none for all; protocols, tasks: names or patterns. A name that selects nothing is a UsageError.
    """
    stored = _among(stored, protocols, tasks)
    chosen = newest(stored)
    states = {state for name in models for state in states_named(name, chosen)} if models else {s for s, _ in chosen}
    published = {(row.slug, row.protocol): row for row in load_published()}
    sets = published_sets()
    metrics = {name: {task.task: metric_name(task.metric) for task in load_published_tasks(name)} for name in sets}
    rows: list[Reproduction] = []
    without: dict[str, list[str]] = {}
    for (state, key), item in sorted(chosen.items(), key=lambda pair: _order(*pair[0])):
        if state not in states:
            continue
        row = published.get((str(item.result.model_info.published if item.result.model_info else None), key.protocol))
        if row is None or key.task not in row.scores:
            without.setdefault(state.model, []).append(str(key))
            continue
        printed = _Printed(
            row.scores[key.task], metrics[row.set_name][key.task], sets[row.set_name].caveats.get(key.task, "")
        )
        rows.append(_row(shown_name(state, chosen), key, item.result, printed))
    notes = [
        *_totals(rows),
        *_details(rows, [item.result for item in chosen.values()]),
        *(f"No published number: {model} on {', '.join(keys)}." for model, keys in without.items()),
        *_failed(
            [item.result for item in stored if not models or item.result.model in {s.model for s in states}], chosen
        ),
    ]
    return ReproductionTable(tuple(rows), tuple(notes))


class _Printed(NamedTuple):
    """A number as a paper has it: a fraction, the metric's name here, what is doubtful about it."""

    value: float
    metric: str
    caveat: str


def _among(
    stored: Sequence[StoredResult], protocols: Sequence[str] | None, tasks: Sequence[str] | None
) -> list[StoredResult]:
    chosen_protocols = resolve_names("protocol", protocols, sorted({item.result.protocol for item in stored}))
    chosen_tasks = resolve_names("task", tasks, sorted({item.result.task for item in stored}))
    return [item for item in stored if item.result.protocol in chosen_protocols and item.result.task in chosen_tasks]


def _order(state: State, key: Key) -> tuple[str, ...]:
    return (*state, key.protocol, key.options_hash or "", key.task)


def _row(model: str, key: Key, result: Result, printed: _Printed) -> Reproduction:
    own = result.metric
    if own is None:  # newest() leaves out what has no value
        raise ValueError(f"{result.model} on {result.task} has no value")
    interval, why = own.interval, _not_comparable(result, printed.metric)
    outside = 0.0 if interval is None else _outside(printed.value, interval.low, interval.high)
    inside: Verdict = "reproduced" if abs(outside) <= ROUNDING else "outside the interval"
    return Reproduction(
        model=model,
        protocol=key.shown,
        task=key.task,
        metric=own.name,
        measured=100 * own.value,
        low=None if interval is None else 100 * interval.low,
        high=None if interval is None else 100 * interval.high,
        published=100 * printed.value,
        difference=100 * (own.value - printed.value),
        outside=100 * outside,
        split_fidelity=split_fidelity(result),
        weight_fidelity=_weight_fidelity(result),
        verdict="not comparable" if why else inside,
        why=why,
        caveat=printed.caveat,
    )


def _outside(published: float, low: float, high: float) -> float:
    """Return how far the published number lies outside an interval of ours; negative where ours is too low."""
    if published > high:
        return high - published
    return max(low - published, 0.0)


def _weight_fidelity(result: Result) -> str:
    return result.model_info.weight_fidelity if result.model_info else "unknown"


def _not_comparable(result: Result, metric: str) -> str:
    """Return why the published number says nothing about this result; empty where it does."""
    reasons = []
    if result.status == "partial":
        reasons.append("a part of the samples")
    if result.options_hash is not None:
        changed = ", ".join(f"{name}={value}" for name, value in result.changed_options.items())
        reasons.append(f"other options ({changed})" if changed else "other options")
    if result.metric is not None and result.metric.name != metric:
        reasons.append(f"{result.metric.name} instead of {metric}")
    if _weight_fidelity(result) != "exact":
        reasons.append(f"weights {_weight_fidelity(result)}")
    if split_fidelity(result) not in FAITHFUL:
        reasons.append(f"splits {split_fidelity(result)}")
    if result.metric is not None and result.metric.interval is None:
        reasons.append("no interval")
    return "; ".join(reasons)


def _totals(rows: Sequence[Reproduction]) -> Iterable[str]:
    if not rows:
        return
    yield ", ".join(f"{verdict}: {sum(row.verdict == verdict for row in rows)}" for verdict in VERDICTS) + "."
    yield f"reproduced: the published number, as rounded, lies inside the {100 * LEVEL:g} % interval of ours."


def _details(rows: Sequence[Reproduction], results: Iterable[Result]) -> Iterable[str]:
    """Say once a task why its splits are not exactly the paper's, and what is doubtful about its published number."""
    reasons: dict[str, str] = {}
    for result in results:
        if result.data is not None and split_fidelity(result) != "exact":
            reasons[result.task] = result.data.split_fidelity.why if result.data.split_fidelity else ""
    caveats = {row.task: row.caveat for row in rows if row.caveat}
    for task in sorted({row.task for row in rows}):
        if reasons.get(task):
            yield f"{task}, splits: {reasons[task]}"
        if task in caveats:
            yield f"{task}, published: {caveats[task]}"


def _failed(results: Iterable[Result], chosen: Mapping[tuple[State, Key], StoredResult]) -> Iterable[str]:
    """Name the jobs that should have a value and have none."""
    there = {(state.model, key) for state, key in chosen}
    for result in results:
        key = Key(result.protocol, result.task, result.options_hash)
        problem = problem_of(result)
        if problem is not None and problem[0] == "error" and (result.model, key) not in there:
            yield f"error: {result.model} on {key}: {problem[1]}"
