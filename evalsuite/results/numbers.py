"""One table of numbers: what was measured here, printed in a paper or imported is a row of one type.

Values are fractions. `newest` says which of several counts, `Number.confidence` what its interval is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from evalsuite.records import Interval, ModelInfo, Result
from evalsuite.results.details import calibration_of, shots_of
from evalsuite.results.store import StoredResult, hash8
from evalsuite.text import brief


class Origin(NamedTuple):
    """Where a number comes from. table: the paper's set or the import. label: how a table for people writes it."""

    kind: Literal["measured", "published", "imported"]
    table: str
    label: str


PARTIAL = "*"
"""The mark of a value that was computed from a part of the samples."""

MEASURED = Origin("measured", "", "measured")


class ModelKey(NamedTuple):
    """A model as somebody may name it. slug; name: as it was typed or printed; state: its run key, "" if unknown."""

    slug: str
    name: str
    state: str
    origin: Origin


def family(slug: str) -> str:
    """Return what a slug begins with: resnet of resnet/50."""
    return slug.partition("/")[0]


RowKey = tuple[str, str, str, str | None, Origin]
"""What numbers share that stand in one row: model, state, protocol, options, origin."""


class Job(NamedTuple):
    """What two numbers must share to be compared. options: the hash of those that are not the default."""

    protocol: str
    options: str | None
    task: str

    @property
    def protocol_label(self) -> str:
        """The protocol for a table."""
        return protocol_label(self.protocol, self.options)

    def __str__(self) -> str:
        return f"{self.task} ({self.protocol_label})"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a number stands, or would stand if there were one. stored: the record of what was measured here.

    model: the slug; name: as the user typed it or the paper prints it; state: the run key; options: see Job.
    """

    model: str
    name: str
    protocol: str
    task: str
    options: str | None = None
    state: str = ""
    origin: Origin = MEASURED
    stored: StoredResult | None = field(default=None, compare=False, repr=False)

    @cached_property
    def model_key(self) -> ModelKey:
        """What names are held against."""
        return ModelKey(self.model, self.name, self.state, self.origin)

    @cached_property
    def row(self) -> RowKey:
        """The row of a leaderboard."""
        return self.model, self.state, self.protocol, self.options, self.origin

    @cached_property
    def job(self) -> Job:
        """What must be equal in a comparison."""
        return Job(self.protocol, self.options, self.task)

    @property
    def record(self) -> Result | None:
        """The record of what was measured here."""
        return self.stored.result if self.stored else None

    @property
    def info(self) -> ModelInfo | None:
        """What was recorded about the model."""
        return self.record.model_info if self.record else None

    @property
    def is_measured(self) -> bool:
        """Whether it is from here, and not from a paper or an import."""
        return self.origin.kind == "measured"

    @property
    def fidelity(self) -> str | None:
        """How near the splits of a measured number are to the paper's."""
        return self.record.split_level if self.record else None

    @property
    def weight_fidelity(self) -> str:
        """How near the weights of a measured number are to the paper's."""
        return self.info.weight_fidelity if self.info else "unknown"

    @property
    def changed_options(self) -> Mapping[str, Any]:
        """The options that are not the default."""
        return self.record.changed_options if self.record else {}


@dataclass(frozen=True, kw_only=True)
class Number(Place):
    """One number: a fraction in the unit of its metric.

    is_main: it is the metric of the task, not one next to it. n: test samples. interval: that of the record.
    partial: computed from a part of the samples. logit_scale: what the cosine of image and text was multiplied with,
    where there is one. caveat: what to know of a published or imported number. source: paper, address and table.
    """

    metric: str
    value: float
    is_main: bool = True
    n: int | None = None
    interval: Interval | None = None
    partial: bool = False
    logit_scale: float | None = None
    caveat: str = ""
    source: str = ""

    @property
    def mark(self) -> str:
        """What stands behind the value wherever it is written: a star where it is partial."""
        return PARTIAL if self.partial else ""

    @property
    def percent(self) -> str:
        """The value for people, with its mark."""
        return f"{100 * self.value:.1f}{self.mark}"

    @property
    def has_folds(self) -> bool:
        """Whether it is the mean over folds."""
        return bool(self.record and self.record.metric and self.record.metric.folds)

    def confidence(self) -> Interval | None:
        """Return the interval: the record's, else Clopper-Pearson's on the test size (the paper's rule, table 10)."""
        if self.interval is not None or not self.n:
            return self.interval
        from evalsuite.stats import clopper_pearson  # scipy takes a third of a second, and records have their interval

        return clopper_pearson(min(self.n, round(self.value * self.n)), self.n)

    def further(self) -> Iterator[Number]:
        """Yield what the record has next to the task's metric: other metrics, calibration, fewer images per class."""
        if self.record is None:
            return
        for name, value in {**self.record.metrics, **_in_details(self.metric, self.record.details)}.items():
            if name != self.metric:
                yield replace(self, metric=name, value=value, is_main=False, interval=None)


def _in_details(metric: str, details: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers in the details of a record: among others `ece`, `ece_tempered`, `accuracy_4_images`."""
    found: dict[str, float] = {}
    if (calibration := calibration_of(details)) is not None:
        for errors, mark in ((calibration.before, ""), (calibration.after, "_tempered")):
            found |= {f"{name}{mark}": value for name, value in (errors or ())}
    return found | {f"{metric}_{shot.images}_images": shot.mean for shot in shots_of(details)}


@dataclass(frozen=True, kw_only=True)
class Failure(Place):
    """A job that has no number, and why."""

    kind: Literal["error", "not applicable"]
    message: str


@dataclass(frozen=True)
class Numbers:
    """The table: every number there is, repeated and partial ones too, and the jobs that have none."""

    numbers: tuple[Number, ...] = ()
    failures: tuple[Failure, ...] = ()

    @classmethod
    def of(cls, results: Iterable[Result | StoredResult], published: Iterable[Number] = ()) -> Numbers:
        """Return the numbers of results, and those of papers or imports after them."""
        places = [_place(item if isinstance(item, StoredResult) else StoredResult(None, item)) for item in results]
        numbers = (place for place in places if isinstance(place, Number))
        return cls((*numbers, *published), tuple(place for place in places if isinstance(place, Failure)))

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Numbers and failures."""
        return (*self.numbers, *self.failures)

    @property
    def published(self) -> tuple[Number, ...]:
        """The numbers of papers and imports."""
        return tuple(number for number in self.numbers if not number.is_measured)

    def where(self, keep: Callable[[Place], bool]) -> Numbers:
        """Return the part of the table that `keep` lets through."""
        return Numbers(tuple(filter(keep, self.numbers)), tuple(filter(keep, self.failures)))


def newest(numbers: Iterable[Number], *, include_partial: bool = True) -> list[Number]:
    """Return the number that counts for each row and task: a whole one before a partial one, then the newest."""
    found: dict[tuple[RowKey, str], Number] = {}
    for number in numbers:
        if number.partial and not include_partial:
            continue
        place = number.row, number.task
        if place not in found or _preference(number) > _preference(found[place]):
            found[place] = number
    return list(found.values())


def told_apart(places: Iterable[Place]) -> dict[ModelKey, str]:
    """Return how the state of each model is written: eight digits where there are several states, else nothing."""
    keys = {place.model_key for place in places}
    states: dict[str, set[str]] = {}
    for key in keys:
        if key.state:  # a job that failed before the weights were there has none, and is no other model
            states.setdefault(key.slug, set()).add(key.state)
    return {key: hash8(key.state) if key.state and len(states[key.slug]) > 1 else "" for key in keys}


def model_label(model: str, state: str) -> str:
    """Return a model for a table. state: as `told_apart` has it."""
    return f"{model} @{state}" if state else model


def protocol_label(protocol: str, options: str | None) -> str:
    """Return a protocol for a table, with a hash where the options are not the default."""
    return f"{protocol} #{options[:8]}" if options else protocol


def _preference(number: Number) -> tuple[bool, str]:
    made = number.record.provenance if number.record else None
    return not number.partial, made.created if made else ""


def _place(item: StoredResult) -> Number | Failure:
    result = item.result
    where: dict[str, Any] = {
        "model": result.model,
        "name": result.model_name,
        "protocol": result.protocol,
        "task": result.task,
        "options": result.options_hash,
        "state": result.run_key,
        "stored": item,
    }
    metric = result.metric
    if result.status in ("ok", "partial"):
        if metric is None or not math.isfinite(metric.value):
            return Failure(**where, kind="error", message="the record has no finite value; run it again.")
        return Number(
            **where,
            metric=metric.name,
            value=metric.value,
            n=metric.n,
            interval=metric.interval,
            partial=result.status == "partial",
            logit_scale=scale if isinstance(scale := result.details.get("logit_scale"), float) else None,
        )
    error = result.error
    message = " ".join(brief(error.message).split()) if error else "no reason was recorded."
    if result.status == "not_applicable":
        return Failure(**where, kind="not applicable", message=message)
    return Failure(**where, kind="error", message=f"{error.kind}: {message}" if error else message)
