"""The tasks that results are of, also those whose file only the records name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from evalsuite.errors import SpecError
from evalsuite.records import Result
from evalsuite.results.numbers import Number
from evalsuite.tasks import TaskIndex, load_task_file


def index_of(numbers: Iterable[Number], include_paths: Sequence[Path] = ()) -> TaskIndex:
    """Return the tasks that are known by name, and those whose file the newest record of the task names.

    A file that is gone, or describes no task of that name now, is passed over. UsageError for a folder of
    `include_paths` that is not there.
    """
    records = sorted((number.record for number in numbers if number.record is not None), key=_made)
    newest = {record.task: record for record in records}
    return TaskIndex(include_paths, {task: path for task, record in newest.items() if (path := _task_file(record))})


def _made(record: Result) -> str:
    return record.provenance.created if record.provenance else ""


def _task_file(record: Result) -> Path | None:
    path = Path(record.data.task_file) if record.data and record.data.task_file else None
    if path is not None and path.is_file():
        with suppress(SpecError):
            return path if load_task_file(path).name == record.task else None
    return None
