"""The tasks that a command knows, with a note of what in the folders of --include-path is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalsuite.cli.terminal import say
from evalsuite.text import counted, shortened

if TYPE_CHECKING:
    from evalsuite.tasks import TaskIndex


def task_index(include_paths: Sequence[Path]) -> TaskIndex:
    """Return the tasks that are known by name here, those in folders of --include-path too."""
    from evalsuite.tasks import TaskIndex

    return tell_foreign(TaskIndex(include_paths))


def tell_foreign(index: TaskIndex) -> TaskIndex:
    """Return the index as it is, and say which YAML files of --include-path were passed over."""
    if index.foreign:
        names = shortened([str(path) for path in index.foreign], 3)
        files = counted(len(index.foreign), "YAML file")
        say(f"note: --include-path: {files} without a task passed over: {names}", err=True)
    return index
