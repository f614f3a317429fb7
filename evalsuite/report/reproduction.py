"""Hold each of our results against the published number of the same model: is the paper reproduced?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from evalsuite.report.contenders import FAITHFUL, state_label, states_named
from evalsuite.results.library import Library
from evalsuite.results.naming import choose_tasks, resolve_names
from evalsuite.results.numbers import Number, Numbers, newest
from evalsuite.stats import LEVEL

ROUNDING = 0.0005
"""Half of the last digit of a published score: 0.05 points."""

Agreement = Literal["reproduced", "outside the interval", "not comparable"]
AGREEMENTS: tuple[Agreement, ...] = ("reproduced", "outside the interval", "not comparable")


@dataclass(frozen=True)
class Reproduction:
    """A measured number and the published one of the same model, protocol and task.

    model: its name in a table; why: what makes the two not comparable, empty where they are.
    """

    model: str
    measured: Number
    published: Number
    why: str

    @property
    def verdict(self) -> Agreement:
        """Whether the published number, rounded as it is, lies in the interval of ours."""
        if self.why:
            return "not comparable"
        return "reproduced" if abs(self.outside) <= ROUNDING else "outside the interval"

    @property
    def difference(self) -> float:
        """Measured minus published."""
        return self.measured.value - self.published.value

    @property
    def outside(self) -> float:
        """How far the published number lies outside the interval of ours; negative where ours is too low."""
        interval = self.measured.confidence()
        if interval is None:
            return 0.0
        if self.published.value > interval.high:
            return interval.high - self.published.value
        return max(interval.low - self.published.value, 0.0)

    @property
    def split_fidelity(self) -> str:
        """How near the samples are to the paper's."""
        return self.measured.fidelity or "unknown"


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
            f"{row.model} on {row.measured.job}: {100 * row.difference:+.2f} points from the published number"
            for row in self.rows
            if row.verdict == "outside the interval" and -100 * row.difference > points
        ]


def reproduce(
    table: Numbers,
    models: Sequence[str] = (),
    *,
    protocols: Sequence[str] = (),
    tasks: Sequence[str] = (),
    tags: Sequence[str] = (),
    library: Library | None = None,
) -> ReproductionTable:
    """Join what was measured with the published numbers of the same models, protocols and tasks.

    A result is reproduced where the published number, rounded as it is, lies inside the interval of ours. It is
    compared only where weights, samples, metric and options are the paper's. models: as for a contender, none for all;
    protocols: names or patterns; tasks, tags: see `choose_tasks`. A name that selects nothing is a UsageError.
    """
    chosen_protocols = resolve_names("protocol", protocols, sorted({place.protocol for place in table.places}))
    chosen_tasks = choose_tasks(tasks, sorted({place.task for place in table.places}), tags, table.numbers)
    table = table.where(lambda place: place.protocol in chosen_protocols and place.task in chosen_tasks)
    numbers = newest(table.numbers)
    named = {state for name in models for state in states_named(name, numbers)}
    printed = {(number.model, number.protocol, number.task): number for number in (library or Library()).printed}
    rows: list[Reproduction] = []
    without: dict[str, list[str]] = {}
    for number in sorted(numbers, key=_order):
        if models and (number.model, number.state) not in named:
            continue
        own = number.info.published if number.info else None
        published = printed.get((own or "", number.protocol, number.task))
        if published is None:
            without.setdefault(number.model, []).append(str(number.job))
        else:
            label = state_label(number.model, number.state, numbers)
            rows.append(Reproduction(label, number, published, _not_comparable(number, published)))
    notes = [
        *_totals(rows),
        *_details(rows, numbers),
        *(f"No published number: {model} on {', '.join(jobs)}." for model, jobs in without.items()),
        *_failed(table, {model for model, _ in named} if models else None),
    ]
    return ReproductionTable(tuple(rows), tuple(notes))


def _order(number: Number) -> tuple[str, ...]:
    return number.model, number.state, number.protocol, number.options or "", number.task


def _not_comparable(number: Number, published: Number) -> str:
    """Return why the published number says nothing about this result; empty where it does."""
    reasons = []
    if number.partial:
        reasons.append("a part of the samples")
    if number.options is not None:
        changed = ", ".join(f"{name}={value}" for name, value in number.changed_options.items())
        reasons.append(f"other options ({changed})" if changed else "other options")
    if number.metric != published.metric:
        reasons.append(f"{number.metric} instead of {published.metric}")
    if number.weight_fidelity != "exact":
        reasons.append(f"weights {number.weight_fidelity}")
    if number.fidelity not in FAITHFUL:
        reasons.append(f"splits {number.fidelity or 'unknown'}")
    if number.confidence() is None:
        reasons.append("no interval")
    return "; ".join(reasons)


def _totals(rows: Sequence[Reproduction]) -> Iterable[str]:
    if not rows:
        return
    yield ", ".join(f"{kind}: {sum(row.verdict == kind for row in rows)}" for kind in AGREEMENTS) + "."
    yield f"reproduced: the published number, as rounded, lies inside the {100 * LEVEL:g} % interval of ours."


def _details(rows: Sequence[Reproduction], numbers: Iterable[Number]) -> Iterable[str]:
    """Say once per task why its splits are not exactly the paper's, and what is doubtful about its published number."""
    reasons: dict[str, str] = {}
    for number in numbers:
        data = number.record.data if number.record else None
        if data is not None and data.split_fidelity is not None and data.split_fidelity.level != "exact":
            reasons[number.task] = data.split_fidelity.why
    caveats = {row.published.task: row.published.caveat for row in rows}
    for task, caveat in sorted(caveats.items()):
        if task in reasons:
            yield f"{task}, splits: {reasons[task]}"
        if caveat:
            yield f"{task}, published: {caveat}"


def _failed(table: Numbers, models: set[str] | None) -> Iterable[str]:
    """Name the jobs of the chosen models that should have a value and have none."""
    there = {(number.model, number.job) for number in table.numbers}
    for failure in table.failures:
        asked = models is None or failure.model in models
        if asked and failure.kind == "error" and (failure.model, failure.job) not in there:
            yield f"error: {failure.model} on {failure.job}: {failure.message}"
