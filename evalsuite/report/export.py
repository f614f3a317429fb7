"""The table of numbers for other programs: every number on a row of its own, measured, published and imported alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from evalsuite.records import Provenance
from evalsuite.results.naming import select
from evalsuite.results.numbers import Number, Numbers, model_label, newest, told_apart

if TYPE_CHECKING:
    import pandas as pd


def exported(
    table: Numbers,
    *,
    protocols: Sequence[str] = (),
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    tags: Sequence[str] = (),
    include_partial: bool = False,
) -> list[Number]:
    """Return the numbers that the filters let through, by model, protocol and task; further metrics of records, too.

    The filters are those of a leaderboard, and as there the newest of repeated results counts. Jobs that failed have
    no number.
    """
    selected = select(table, protocols=protocols, tasks=tasks, models=models, tags=tags)
    main = newest(selected.chosen.numbers, include_partial=include_partial)
    order = {task: index for index, task in enumerate(selected.tasks)}
    main.sort(key=lambda number: (*_sorted_by(number), order[number.task]))
    return [item for number in main for item in (number, *number.further())]


def to_frame(numbers: Sequence[Number]) -> pd.DataFrame:
    """Return a data frame with one row per number and the columns of COLUMNS, which have types without any row, too."""
    import pandas as pd

    states = told_apart(numbers)
    columns: dict[str, tuple[str, Callable[[Number], object]]] = {
        "model": ("string", lambda number: model_label(number.model, states[number.model_key])),
        **COLUMNS,
    }
    rows = [[value(number) for _, value in columns.values()] for number in numbers]
    return pd.DataFrame(rows, columns=list(columns)).astype({name: kind for name, (kind, _) in columns.items()})


def _sorted_by(number: Number) -> tuple[str, ...]:
    return number.model, number.state, number.protocol, number.options or "", number.origin.kind, number.origin.label


def _made(number: Number) -> Provenance:
    made = number.record.provenance if number.record else None
    return made or Provenance(created="")


def _unit(metric: str) -> str | None:
    """Return what a value and its interval are counted in; None for scores without a unit."""
    return {"nll": "nats", "brier": None}.get(metric.removesuffix("_tempered"), "fraction")


COLUMNS: Mapping[str, tuple[str, Callable[[Number], object]]] = {
    "task": ("string", lambda number: number.task),
    "protocol": ("string", lambda number: number.job.protocol_label),
    "metric": ("string", lambda number: number.metric),
    "is_main": ("bool", lambda number: number.is_main),
    "value": ("float64", lambda number: number.value),
    "unit": ("string", lambda number: _unit(number.metric)),
    "low": ("float64", lambda number: number.interval.low if number.interval else None),
    "high": ("float64", lambda number: number.interval.high if number.interval else None),
    "level": ("float64", lambda number: number.interval.level if number.interval else None),
    "n": ("Int64", lambda number: number.n),
    "logit_scale": ("float64", lambda number: number.logit_scale),
    "split_fidelity": ("string", lambda number: number.fidelity),
    "origin": ("string", lambda number: number.origin.kind),
    "table": ("string", lambda number: number.origin.table or None),
    "status": ("string", lambda number: "partial" if number.partial else "ok"),
    "caveat": ("string", lambda number: number.caveat or None),
    "created": ("string", lambda number: _made(number).created or None),
    "evalsuite": ("string", lambda number: _made(number).evalsuite if number.record else None),
    "git_commit": ("string", lambda number: _made(number).git_commit),
    "torch": ("string", lambda number: _made(number).packages.get("torch")),
    "device": ("string", lambda number: _made(number).device if number.record else None),
    "precision": ("string", lambda number: _made(number).precision if number.record else None),
    "model_fingerprint": ("string", lambda number: (number.record.model_fingerprint if number.record else "") or None),
    "run_key": ("string", lambda number: number.state or None),
}
"""Column -> its type, and what it says of a number; `model` comes before them."""
