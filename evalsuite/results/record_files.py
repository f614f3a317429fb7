"""The files of records in folders of results."""

from __future__ import annotations

import os
import stat
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
                if _may_be_record(path):
                    yield path
    yield from unreadable


def _may_be_record(path: str) -> bool:
    """Tell whether a path is a file, or cannot be looked at, which its reader says; a pipe would be waited for."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - as above
    except FileNotFoundError:  # it is gone, or a link without target
        return os.path.islink(path)  # noqa: PTH114
    except OSError:
        return True
