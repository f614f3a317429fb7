"""Has a stored result all that a run is to keep of it? What it lacks does not change its number."""

from __future__ import annotations

from pathlib import Path

from evalsuite.errors import UsageError
from evalsuite.options import RunOptions
from evalsuite.protocols import EvaluationProtocol
from evalsuite.records import Result
from evalsuite.results.head_files import head_paths
from evalsuite.results.heads import read_head
from evalsuite.results.store import ResultStore
from evalsuite.tasks.spec import TaskSpec


def is_complete(
    found: Result, store: ResultStore, record: Path, protocol: EvaluationProtocol, task: TaskSpec, options: RunOptions
) -> bool:
    """Tell whether a result has the samples, temperature and head that the options ask for. record: its file."""
    if (
        options.log_samples
        and task.classifies
        and (not store.has_samples(found) or protocol.temperature(found.details) is None)
    ):
        return False
    if options.save_head and protocol.has_head and not _has_head(store, record):
        return False
    return not options.calibrate or protocol.scores is None or not task.one_label or found.is_calibrated


def _has_head(store: ResultStore, record: Path) -> bool:
    """Tell whether the head of a stored result is there, and is the one that was written."""
    if not all(path.is_file() for path in head_paths(record)):
        return False
    try:
        read_head(record)
    except UsageError as error:
        store.say_damaged(str(error).rstrip("."))
        return False
    return True
