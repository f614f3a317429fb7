"""Join folders of results of machines that share no disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evalsuite import atomic
from evalsuite.listing import walk_links
from evalsuite.locks import Lock
from evalsuite.records import Result
from evalsuite.results.consistency import disagreement
from evalsuite.results.head_files import head_paths
from evalsuite.results.store import (
    LOCK_FILE,
    RANK,
    StoredResult,
    UnreadableRecordError,
    error_paths,
    is_of_a_job,
    log_path,
    misplaced,
    read_result,
    samples_path,
)

Found = tuple[Path, Result]


@dataclass
class ResultPlan:
    """What is to be done: records to copy from -> to, errors to remove that are older than a value of their job.

    contradictions, unreadable: in words; the second are files that are no record.
    """

    copies: dict[Path, Path] = field(default_factory=dict)
    outdated: list[Path] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def plan_results(folders: Sequence[Path], to: Path) -> ResultPlan:
    """Return what the results under `folders` add to those under `to`; nothing is written.

    A record is of the same job where its path below its root is the same. A value takes the place of an error, and
    a newer error that of an older one; two values must be the same.
    """
    plan = ResultPlan()
    sources: dict[Path, list[Path]] = {}
    for root, others in [(to, folders), *((folder, [to]) for folder in folders)]:
        for folder, _, names in walk_links(root, without=others) if root.is_dir() else ():
            for path in filter(is_of_a_job, (folder / name for name in names)):
                sources.setdefault(path.relative_to(root), []).append(path)
    best: dict[Path, Found] = {}
    for relative, paths in sorted(sources.items()):
        is_alone = paths == [to / relative]  # nothing happens to it, so there is nothing to say of it
        if found := _best(paths, ResultPlan() if is_alone else plan):
            best[relative] = found
    outdated = _outdated(best)
    plan.outdated = [to / relative for relative in outdated if to / relative in sources[relative]]
    wanted = {path: to / relative for relative, (path, _) in best.items() if relative not in outdated}
    plan.copies = {path: target for path, target in wanted.items() if path != target}
    return plan


def _best(paths: Sequence[Path], plan: ResultPlan) -> Found | None:
    """Return the record of a job that counts; what speaks against others goes into the plan."""
    best: Found | None = None
    for path in paths:
        try:
            found = (path, read_result(path))
        except (OSError, UnreadableRecordError) as error:
            plan.unreadable.append(f"{path}: {error}")
            continue
        if problem := misplaced(*found):
            plan.unreadable.append(f"{path} {problem}")
        elif best is None:
            best = found
        elif problem := _contradiction(best[1], found[1]):
            plan.contradictions.append(f"{best[0]} and {path}: {problem}")
        elif _replaces(best, found):
            best = found
    return best


def _outdated(best: dict[Path, Found]) -> set[Path]:
    """Return the errors among records, by their paths below a root, that are not newer than a value of their job."""
    values = [(relative.parent.parent, result) for relative, (_, result) in best.items() if result.metric]
    errors = [(folder / path, result) for folder, result in values for path in error_paths(result)]
    return {path for path, value in errors if path in best and _created(best[path][1]) <= _created(value)}


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


def _contradiction(one: Result, other: Result) -> str:
    """Say why two records of a job cannot both be right; "" where they can."""
    if one.metric is None or other.metric is None or RANK[one.status] != RANK[other.status]:
        return ""
    if one.fingerprint != other.fingerprint:
        return "they answer different questions (another task file, version, data or options)"
    if len({result.data.content for result in (one, other) if result.data and result.data.content}) > 1:
        return "they are of other images"
    return disagreement(one, other)


def _replaces(old: Found, new: Found) -> bool:
    """Say whether a record that does not contradict another takes its place."""
    (_, before), (_, after) = old, new
    if RANK[after.status] != RANK[before.status]:
        return RANK[after.status] > RANK[before.status]
    if before.metric is not None:
        return _kept(*new) > _kept(*old)
    return _created(after) > _created(before)


def _kept(path: Path, result: Result) -> int:
    """Return how much of what a run keeps on request a record has: samples, a head, a calibration."""
    has_head = all(file.is_file() for file in head_paths(path))
    return StoredResult(path, result).has_samples + has_head + result.is_calibrated


def _created(result: Result) -> str:
    return result.provenance.created if result.provenance else ""
