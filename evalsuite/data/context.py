"""What a source must know about the run that opens it, and what it tells back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from evalsuite.data.base import DataState, RawPool
from evalsuite.data.place import DataPlace
from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class SourceContext:
    """The task, and the place its data is looked for.

    resolved: filled by sources with what they found (commit, file names, checksums).
    """

    task: TaskSpec
    place: DataPlace
    resolved: dict[str, Any] = field(default_factory=dict)

    def under_root(self, path: str) -> Path:
        """Return `path` under the data root, whether it exists or not."""
        return self.place.data_root / path

    def next_to_task(self, path: str) -> Path:
        """Return `path` next to the task file when it exists there, else under the data root."""
        if self.task.path is not None:
            candidate = self.task.path.parent / path
            if candidate.exists():
                return candidate
        return self.place.data_root / path


class SourceModule(Protocol):
    """What each module of a source kind offers; `spec` is the source's part of the task file."""

    def open_raw_pool(self, spec: Any, pool: str, context: SourceContext) -> RawPool:
        """Index one pool; DataMissingError and DataError say what is wrong."""

    def state(self, spec: Any, context: SourceContext) -> DataState:
        """Say cheaply whether the data is there."""

    def folder(self, spec: Any, context: SourceContext) -> Path:
        """Return the folder the source's list files are relative to."""

    def image_options(self, spec: Any, pool: str) -> dict[str, Any]:
        """Return the options that decide which images a pool holds, labels left out."""

    def describe(self, spec: Any) -> str:
        """Name the source in a message."""
