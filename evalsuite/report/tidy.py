"""Every number on a row of its own, for a spreadsheet or a data frame: measured, published and imported alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from evalsuite.records import Result
from evalsuite.report.selection import RowKey, best_values, row_labels, select
from evalsuite.results.published import PublishedRow

if TYPE_CHECKING:
    import pandas as pd


_FRAME_TYPES = {"str": "string", "float": "float64", "int": "Int64", "bool": "bool"}
"""Type of a field -> that of its column, which is the same whether or not there are values."""


@dataclass(frozen=True)
class Number:
    """One number and all that tells it from another.

    value, low, high: fractions in [0, 1]; the interval is that of the record at `level`. is_main: it is the metric of
    the task, not one beside it. n: test samples. origin: measured, published or imported; table: the set or import.
    caveat: what is known of a published or imported number. created, evalsuite, git_commit, torch, device, precision:
    when and by what it was measured.
    """

    model: str
    task: str
    protocol: str
    metric: str
    is_main: bool
    value: float
    low: float | None
    high: float | None
    level: float | None
    n: int | None
    split_fidelity: str | None
    origin: str
    table: str | None
    status: str
    caveat: str | None
    created: str | None
    evalsuite: str | None
    git_commit: str | None
    torch: str | None
    device: str | None
    precision: str | None
    model_fingerprint: str | None


def list_numbers(
    results: Iterable[Result],
    published: Sequence[PublishedRow] = (),
    *,
    protocols: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    include_partial: bool = False,
) -> list[Number]:
    """Return the numbers that the filters let through, by model, protocol and task.

    The filters are those of a leaderboard, and as there the newest of repeated results counts. Jobs that failed have
    no number.
    """
    chosen = select(results, published, protocols=protocols, tasks=tasks, models=models)
    values, labels = best_values(chosen.records, include_partial), row_labels(chosen.records)
    numbers = [number for (key, _), record in values.items() for number in _measured(record, key, labels)]
    for row in chosen.published:
        numbers += [_published(row, task) for task in chosen.tasks if task in row.scores]
    order = {task: index for index, task in enumerate(chosen.tasks)}
    return sorted(numbers, key=lambda number: (number.model, number.protocol, number.origin, order[number.task]))


def to_frame(numbers: Sequence[Number]) -> pd.DataFrame:
    """Return a data frame with a row a number and the columns of Number."""
    import pandas as pd

    columns = {field.name: str(field.type).removesuffix(" | None") for field in fields(Number)}
    frame = pd.DataFrame([vars(number) for number in numbers], columns=list(columns))
    return frame.astype({name: _FRAME_TYPES[kind] for name, kind in columns.items()})


def _measured(record: Result, key: RowKey, labels: dict[RowKey, tuple[str, str]]) -> Iterator[Number]:
    """Yield the metric of the task, which has the interval, and those beside it."""
    metric = record.metric
    if metric is None:
        return
    beside = {name: value for name, value in record.metrics.items() if name != metric.name}
    for name, value in {metric.name: metric.value, **beside}.items():
        interval = metric.interval if name == metric.name else None
        made = record.provenance
        yield Number(
            model=labels[key][0],
            task=record.task,
            protocol=labels[key][1],
            metric=name,
            is_main=name == metric.name,
            value=value,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            level=interval.level if interval else None,
            n=metric.n,
            split_fidelity=record.split_level,
            origin="measured",
            table=None,
            status=record.status,
            caveat=None,
            created=made.created if made else None,
            evalsuite=made.evalsuite if made else None,
            git_commit=made.git_commit if made else None,
            torch=made.packages.get("torch") if made else None,
            device=made.device if made else None,
            precision=made.precision if made else None,
            model_fingerprint=record.run_key or None,
        )


def _published(row: PublishedRow, task: str) -> Number:
    return Number(
        model=row.slug,
        task=task,
        protocol=row.protocol,
        metric=row.metrics[task],
        is_main=True,
        value=row.scores[task],
        low=None,
        high=None,
        level=None,
        n=row.test_sizes.get(task),
        split_fidelity=None,
        origin="imported" if row.imported else "published",
        table=row.set_name,
        status="ok",
        caveat=row.caveats.get(task),
        created=None,
        evalsuite=None,
        git_commit=None,
        torch=None,
        device=None,
        precision=None,
        model_fingerprint=None,
    )
