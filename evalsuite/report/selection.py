"""Choose what a table or an export is made of: filters by name, and of repeated results the one that counts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from evalsuite.errors import UsageError
from evalsuite.records import Result
from evalsuite.registry import did_you_mean
from evalsuite.results.store import hash8

if TYPE_CHECKING:
    from evalsuite.results.published import PublishedRow


NAMED = 30
"""Names an error lists before it counts the rest: the paper's tasks fit."""


class RowKey(NamedTuple):
    """What two results must share to stand in one row."""

    model: str
    model_fingerprint: str
    protocol: str
    options_hash: str | None

    @classmethod
    def of(cls, result: Result) -> RowKey:
        """Return the row of `result`."""
        return cls(result.model, result.run_key, result.protocol, result.options_hash)


Values = dict[tuple[RowKey, str], Result]
"""The result that counts for each row and task."""


@dataclass(frozen=True)
class Selection:
    """What the filters let through.

    of_models: the results of the chosen models; records: those of them on the chosen tasks and protocols.
    published: the published rows of the chosen models and protocols. tasks, protocols: the chosen names in order.
    """

    of_models: list[Result]
    records: list[Result]
    published: list[PublishedRow]
    tasks: list[str]
    protocols: list[str]


def select(
    results: Iterable[Result],
    published: Sequence[PublishedRow] = (),
    *,
    protocols: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> Selection:
    """Return what is left of results and published rows.

    protocols, tasks, models: names or patterns; None: all. A model goes by its slug or by the name the user gave or
    the paper prints. One that selects nothing is a UsageError.
    """
    of_models, chosen_rows = _of_models(list(results), list(published), models)
    printed = list(dict.fromkeys(task for row in chosen_rows for task in row.scores))
    known_tasks = [*printed, *sorted({record.task for record in of_models} - set(printed))]
    known_protocols = sorted({record.protocol for record in of_models} | {row.protocol for row in chosen_rows})
    chosen_tasks = resolve_names("task", tasks, known_tasks)
    chosen_protocols = resolve_names("protocol", protocols, known_protocols)
    records = [record for record in of_models if record.task in chosen_tasks and record.protocol in chosen_protocols]
    rows = [row for row in chosen_rows if row.protocol in chosen_protocols]
    return Selection(of_models, records, rows, chosen_tasks, chosen_protocols)


def has_value(record: Result) -> bool:
    """Say whether the record has a number to show."""
    return record.status in ("ok", "partial") and record.metric is not None and math.isfinite(record.metric.value)


def preference(record: Result) -> tuple[bool, str]:
    """Return what the record to show has most of: ok before partial, then the newest."""
    return record.status == "ok", record.provenance.created if record.provenance else ""


def problem_of(record: Result) -> tuple[str, str] | None:
    """Return (word, message) for a record that has no value, on one line; None for one that has."""
    if has_value(record):
        return None
    if record.status in ("ok", "partial"):
        return "error", "the record has no finite value; run it again."
    message = " ".join(record.error.message.split()) if record.error else "no reason was recorded."
    if record.status == "not_applicable":
        return "not applicable", message
    return "error", f"{record.error.kind}: {message}" if record.error else message


def best_values(records: Iterable[Result], include_partial: bool) -> Values:
    """Return the record that counts for each row and task: ok before partial, then the newest."""
    values: Values = {}
    for record in records:
        if not has_value(record) or (record.status == "partial" and not include_partial):
            continue
        cell = (RowKey.of(record), record.task)
        if cell not in values or preference(record) > preference(values[cell]):
            values[cell] = record
    return values


def row_labels(records: Iterable[Result]) -> dict[RowKey, tuple[str, str]]:
    """Return how the model and the protocol of each row are written: with a hash only where it tells rows apart."""
    keys = {RowKey.of(record) for record in records}
    states: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        if key.model_fingerprint:  # a job that failed before the weights were there has none, and is no other model
            states[key.model].add(key.model_fingerprint)
    return {key: _label(key, states) for key in keys}


def _label(key: RowKey, states: Mapping[str, set[str]]) -> tuple[str, str]:
    one_of_many = key.model_fingerprint and len(states[key.model]) > 1
    model = f"{key.model} @{hash8(key.model_fingerprint)}" if one_of_many else key.model
    return model, key.protocol if key.options_hash is None else f"{key.protocol} #{key.options_hash[:8]}"


def _of_models(
    records: list[Result], published: list[PublishedRow], patterns: Sequence[str] | None
) -> tuple[list[Result], list[PublishedRow]]:
    """Return the records and the published rows one of whose names is among `patterns`."""
    if patterns is None:
        return records, published
    names = {name for record in records for name in (record.model, record.model_name)}
    names |= {name for row in published for name in (row.slug, row.model)}
    chosen = set(resolve_names("model", patterns, sorted(names)))
    return (
        [record for record in records if record.model in chosen or record.model_name in chosen],
        [row for row in published if row.slug in chosen or row.model in chosen],
    )


def _first(names: Sequence[str]) -> str:
    """Return the names, or the first of many and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def resolve_names(kind: str, patterns: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the known names that `patterns` match, in their order; None: every known name.

    kind: what the names are, for the UsageError about a pattern that matches nothing.
    """
    if patterns is None:
        return list(known)
    chosen: dict[str, None] = {}
    for pattern in patterns:
        folded = pattern.casefold()
        found = [name for name in known if name.casefold() == folded or fnmatchcase(name.casefold(), folded)]
        if not found:
            raise UsageError(
                f"There is no result for the {kind} {pattern!r}.{did_you_mean(pattern, known)} "
                f"There are results for: {_first(known) or 'none'}."
            )
        chosen |= dict.fromkeys(found)
    return list(chosen)
