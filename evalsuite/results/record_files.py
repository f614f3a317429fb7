"""The files of records in folders of results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalsuite.errors import UsageError
from evalsuite.results.head_files import HEAD_ENDS


def record_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the JSON files under `paths` in the order of their names, each once; hidden ones are no records."""
    seen: set[str] = set()
    for root in map(Path, paths):
        if not root.exists():
            raise UsageError(f"There is no results folder {root}.")
        for path in [str(root)] if root.is_file() else sorted(_json_files(root)):
            resolved = os.path.realpath(path)
            if resolved not in seen:
                seen.add(resolved)
                yield Path(path)


def _json_files(root: Path) -> Iterator[str]:
    """Yield the JSON files below a folder, and the folders that may not be read: whoever opens these is told why."""
    unreadable: list[str] = []
    for folder, subfolders, names in os.walk(root, onerror=lambda error: unreadable.append(str(error.filename))):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if name.endswith(".json") and not name.startswith(".") and not name.endswith(HEAD_ENDS):
                path = os.path.join(folder, name)  # noqa: PTH118 - a Path for each of thousands of files takes long
                if os.path.isfile(path) or os.path.islink(path):  # noqa: PTH113, PTH114 - a pipe would be waited for
                    yield path
    yield from unreadable
