"""What a source must know about the run that opens it, and what it tells back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from evalsuite.data.base import DataState, RawPool
from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class SourceContext:
    """The task and the options of the run.

    data_root: the folder of all datasets; None where the user has none.
    cache_dir: for checksums and arrow files; None: the defaults of the libraries, checksums are not kept.
    resolved: filled by sources with what they found (commit, file names, checksums).
    """

    task: TaskSpec
    data_root: Path | None
    cache_dir: Path | None = None
    offline: bool = False
    trust_adapters: bool = False
    resolved: dict[str, Any] = field(default_factory=dict)

    def under_root(self, path: str) -> Path | None:
        """Return `path` under the data root, whether it exists or not; None without a data root."""
        return None if self.data_root is None else self.data_root / path

    def beside_task(self, path: str) -> Path:
        """Return `path` beside the task file when it exists there, else under the data root."""
        if self.task.path is not None:
            candidate = self.task.path.parent / path
            if candidate.exists() or self.data_root is None:
                return candidate
        return (self.data_root or Path()) / path

    def place(self, path: str) -> str:
        """Return `path` under the data root for a message."""
        return str(self.data_root / path) if self.data_root is not None else f"<data root>/{path}"


class SourceModule(Protocol):
    """What each module of a source kind offers; `spec` is the source's part of the task file."""

    def open_raw_pool(self, spec: Any, pool: str, context: SourceContext) -> RawPool:
        """Index one pool; DataMissingError and DataError say what is wrong."""

    def state(self, spec: Any, context: SourceContext) -> DataState:
        """Say cheaply whether the data is there."""

    def folder(self, spec: Any, context: SourceContext) -> Path | None:
        """Return the folder the source's list files are relative to."""

    def image_options(self, spec: Any, pool: str) -> dict[str, Any]:
        """Return the options that decide which images a pool holds, labels left out."""

    def describe(self, spec: Any) -> str:
        """Name the source in a message."""
