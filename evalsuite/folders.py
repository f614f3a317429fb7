"""Walk over the folders of a person, who may have put some of them elsewhere and left a link."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path


def walk(root: Path, *, without: Sequence[Path] = ()) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below `root` with the names of its folders, which may be cleared, and files, sorted.

    Links are followed, no folder comes twice, hidden ones and those of `without` do not come. OSError for one that may
    not be read.
    """
    seen = {os.path.realpath(folder) for folder in (root, *without)}

    def is_new(path: Path) -> bool:
        before = len(seen)
        seen.add(os.path.realpath(path))
        return len(seen) > before

    for name, subfolders, names in os.walk(root, onerror=_raise, followlinks=True):
        folder = Path(name)
        shown = sorted(item for item in subfolders if not item.startswith("."))
        shown.sort(key=lambda item: (folder / item).is_symlink())  # a folder is where it is, not where a link is
        subfolders[:] = [item for item in shown if is_new(folder / item)]
        yield folder, subfolders, sorted(names)


def _raise(error: OSError) -> None:
    raise error
