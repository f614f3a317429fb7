"""Look into folders. One that may not be looked into is an error, and never an empty one.

`os.walk` and `Path.glob` pass over what the system does not let them list, and what lies there would be missing in a
number without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path


def walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Do what `os.walk` does. Raises OSError for a folder that cannot be listed; one that has gone is passed over."""
    return os.walk(root, onerror=_raise_unless_gone)


def walk_links(root: Path, *, without: Sequence[Path] = ()) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below `root` with the names of its folders, which may be cleared, and files, sorted.

    Links are followed: somebody may have put a folder elsewhere and left one. No folder comes twice, hidden ones and
    those of `without` do not come. Raises OSError for a folder that cannot be listed.
    """
    seen = {os.path.realpath(folder) for folder in (root, *without)}

    def is_new(path: Path) -> bool:
        before = len(seen)
        seen.add(os.path.realpath(path))
        return len(seen) > before

    for name, subfolders, names in os.walk(root, onerror=_raise_unless_gone, followlinks=True):
        folder = Path(name)
        shown = sorted(item for item in subfolders if not item.startswith("."))
        shown.sort(key=lambda item: (folder / item).is_symlink())  # a folder is where it is, not where a link is
        subfolders[:] = [item for item in shown if is_new(folder / item)]
        yield folder, subfolders, sorted(names)


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return what matches a pattern below a folder, sorted: `*`, `?` and `[]` in a name, `**` any folders.

    Nothing where the folder is not there. Raises OSError for a folder that cannot be listed.
    """
    return sorted(_matching(folder, pattern.split("/")))


def _matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        found = (Path(place) for place, _, _ in walk(folder))
    elif has_magic(part):
        found = (folder / name for name in _names(folder) if fnmatchcase(name, part))
    else:
        found = (path for path in [folder / part] if path.exists())
    for path in found:
        if rest:
            yield from _matching(path, rest)
        else:
            yield path


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
