"""Join folders of results of machines that share no disk."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evalsuite import atomic
from evalsuite.listing import walk
from evalsuite.locks import Lock
from evalsuite.records import Result
from evalsuite.results.head_files import HEAD_ENDS, head_paths
from evalsuite.results.store import (
    LOCK_FILE,
    RANK,
    UnreadableRecordError,
    log_path,
    misplaced,
    read_result,
    samples_path,
)

_FOLDER = re.compile(r".+-[0-9a-f]{8}")
_RECORD = re.compile(r"[^.].*\..+\.json")

SAME_VALUE = 1e-9
"""Difference of two values of a metric, in [0, 1], that the order of additions may make."""


@dataclass
class ResultPlan:
    """What is to be done: records to copy from -> to; contradictions and files that are no record, in words."""

    copies: dict[Path, Path] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def plan_results(folders: Sequence[Path], to: Path) -> ResultPlan:
    """Return what the results under `folders` add to those under `to`; nothing is written.

    A record is of the same job where its path below its root is the same. A value takes the place of an error, and
    a newer error that of an older one; two values must be the same.
    """
    plan = ResultPlan()
    sources: dict[Path, list[Path]] = {}
    for root in folders:
        for path in _records(root):
            sources.setdefault(path.relative_to(root), []).append(path)
    for relative, paths in sorted(sources.items()):
        target = to / relative
        best: tuple[Path, Result] | None = None
        for path in [*([target] if target.exists() else []), *paths]:
            try:
                found = (path, read_result(path))
            except (OSError, UnreadableRecordError) as error:
                plan.unreadable.append(f"{path}: {error}")
                continue
            if problem := misplaced(path, found[1]):
                plan.unreadable.append(f"{path} {problem}")
                continue
            if best is None:
                best = found
            elif problem := _contradiction(best[1], found[1]):
                plan.contradictions.append(f"{best[0]} and {path}: {problem}")
            elif _replaces(best[1], found[1]):
                best = found
        if best is not None and best[0] != target:
            plan.copies[best[0]] = target
    return plan


def copy_record(source: Path, target: Path, tell: Callable[[str], None] | None = None) -> None:
    """Copy a record and what lies next to it; a reader sees the old record or the new one with all it names.

    tell: see `Lock`.
    """
    pairs = list(zip(_next_to(source), _next_to(target), strict=True))
    with Lock(target.parent / LOCK_FILE, tell):
        for file, copy in pairs:
            if file.is_file():
                atomic.write_bytes(copy, file.read_bytes())
        atomic.write_bytes(target, source.read_bytes())
        for file, copy in pairs:
            if not file.is_file():
                atomic.remove(copy)


def _next_to(record: Path) -> tuple[Path, ...]:
    return samples_path(record), log_path(record), *head_paths(record)


def _records(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if _FOLDER.fullmatch(Path(folder).name):
            records = (name for name in sorted(names) if _RECORD.fullmatch(name) and not name.endswith(HEAD_ENDS))
            yield from (Path(folder) / name for name in records)


def _contradiction(one: Result, other: Result) -> str:
    """Say why two records of a job cannot both be right; "" where they can."""
    if one.metric is None or other.metric is None or RANK[one.status] != RANK[other.status]:
        return ""
    if one.fingerprint != other.fingerprint:
        return "they answer different questions (another task file, version, data or options)"
    if one.data and other.data and one.data.content != other.data.content:
        return "they are of other images"
    values = [(one.metric.value, other.metric.value), *((one.metrics[n], other.metrics.get(n)) for n in one.metrics)]
    for first, second in values:
        if second is None or not math.isclose(first, second, abs_tol=SAME_VALUE):
            return f"{one.metric.name} is {one.metric.value:.6f} and {other.metric.value:.6f}"
    return ""


def _replaces(old: Result, new: Result) -> bool:
    """Say whether a record that does not contradict another takes its place."""
    if RANK[new.status] != RANK[old.status]:
        return RANK[new.status] > RANK[old.status]
    if old.metric is not None:
        return old.samples is None and new.samples is not None
    return _created(new) > _created(old)


def _created(result: Result) -> str:
    return result.provenance.created if result.provenance else ""
