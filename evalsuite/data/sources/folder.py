"""Image folders: a folder per class, in a folder per pool."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evalsuite.data.base import DataState, RawPool
from evalsuite.data.decoding import VIDEO_FORMATS, image_extensions
from evalsuite.data.readers import raw_pool_from_files
from evalsuite.data.sources.base import Source
from evalsuite.errors import DataError, DataMissingError
from evalsuite.tasks.sources import FolderSpec
from evalsuite.text import counted

_NO_EXTENSION = "without extension"

_LOOSE, _HIDDEN, _OTHER_CASE = "directly in it, in no class folder", "hidden", "that `names` has in other case"
"""Why an image is no sample."""

_OF_MAC_OS = "._"
"""Begins the names of files in which macOS keeps what other file systems have no place for."""

_UNFINISHED = frozenset({".part", ".partial", ".crdownload", ".download", ".tmp"})
"""Endings that downloads have while they are not whole."""

_VIDEOS = frozenset({*VIDEO_FORMATS, ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".ts"})


class FolderSource(Source[FolderSpec]):
    """Files in class folders; the raw label is the first part of the path, or what `label` finds in it."""

    may_lie_next_to_task = True

    def look(self) -> DataState:
        """Say whether each pool's folder is there and has something in it."""
        absent = [self.folder / name for name in self.spec.pools.values() if not _has_entries(self.folder / name)]
        if not absent:
            return DataState("ready")
        places = ", ".join(map(str, absent))
        advice = "Put a folder of images per class there."
        if len(absent) < len(self.spec.pools):
            return DataState("partial", f"without images: {places}. {advice}")
        return DataState("absent", f"needs {places}. {advice}")

    def image_options(self, pool: str) -> dict[str, Any]:
        """Return what decides which files are samples, and how they become images."""
        named = {"names": self.spec.names[pool]} if pool in self.spec.names else {}
        border = {"border": self.spec.border} if self.spec.border else {}
        return {"extensions": sorted(self.spec.extensions), "frame": self.spec.frame, **named, **border}

    def open(self, pool: str) -> RawPool:
        """Index the files of a pool: sorted paths relative to the pool's folder.

        Hidden folders and empty class folders are passed over, and what is no image by its name; of images that are
        passed over the pool warns. DataError when no image is left.
        """
        spec, root = self.spec, self.folder / self.spec.pools[pool]
        if not root.is_dir():
            raise DataMissingError(f"{self.title}: the folder of the pool {pool!r} is missing: {root}.")
        wanted, named = {extension.lower() for extension in spec.extensions}, spec.names.get(pool, "*")
        ids, passed, others = list[str](), Counter[str](), Counter[str]()
        for path in _walk(root, "", {os.path.realpath(root)}):
            extension, name = _extension(path), path.rpartition("/")[2]
            if name.startswith("."):
                passed[_HIDDEN] += extension in wanted and not name.startswith(_OF_MAC_OS)
            elif extension not in wanted:
                others[extension] += 1
            elif "/" not in path:
                passed[_LOOSE] += 1
            elif fnmatchcase(name, named):
                ids.append(path)
            else:
                passed[_OTHER_CASE] += fnmatchcase(name.lower(), named.lower())
        if not ids:
            raise DataError(self._nothing_found(root, named, passed[_LOOSE], others))
        ids.sort()
        labels = (
            self.found_in_paths("label", spec.label, ids) if spec.label else [path.split("/", 1)[0] for path in ids]
        )
        groups = self.found_in_paths("group", spec.group, ids) if spec.group else None
        raw = raw_pool_from_files(root, ids, labels, groups, spec.frame, spec.border)
        return replace(raw, warnings=self._warnings(root, passed, others))

    def _warnings(self, root: Path, passed: Counter[str], others: Counter[str]) -> tuple[str, ...]:
        """Return warnings of images that are no samples, though their names are those of images (or videos)."""
        alike = {_NO_EXTENSION, *(image_extensions() if self.spec.frame is None else _VIDEOS)}
        alike |= {f"{extension}{ending}" for extension in self.spec.extensions for ending in _UNFINISHED}
        kinds = ", ".join(f"{count} x {extension}" for extension, count in sorted(others.items()) if extension in alike)
        warnings = [f"{root}: {counted(count, 'image')} {why}, passed over." for why, count in passed.items() if count]
        if kinds:
            warnings.append(f"{root}: files are passed over that seem to be images ({kinds}); `extensions` has others.")
        return tuple(warnings)

    def _nothing_found(self, root: Path, named: str, loose: int, others: Counter[str]) -> str:
        text = f"{self.title}: {root} holds no image{f' named {named}' if named != '*' else ''} in a class folder."
        if loose:
            text += f" {counted(loose, 'image')} directly in it: put each into a folder named after its class."
        if others:
            kinds = ", ".join(f"{count} x {extension}" for extension, count in others.most_common(5))
            text += (
                f" Files of other kinds are there ({kinds}): name their extension in `extensions` if they are images."
            )
        return text + f" Known extensions: {', '.join(self.spec.extensions)}."


def _extension(path: str) -> str:
    """Return the ending of a name, in lower case; of a download that is not whole, with what comes before."""
    stem, extension = os.path.splitext(path.lower())  # noqa: PTH122 -- a million plain strings
    if extension in _UNFINISHED:
        return os.path.splitext(stem)[1] + extension  # noqa: PTH122
    return extension or (_NO_EXTENSION if "/" in path else "(none)")


def _walk(root: Path, prefix: str, parents: set[str]) -> Iterator[str]:
    """Yield the files below a folder, links followed, hidden folders left out.

    parents: the real paths of the folders above, so that a link to one of them ends instead of looping.
    """
    with os.scandir(root / prefix) as entries:
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.is_dir():
                if entry.name.startswith("."):
                    continue
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if real not in parents:
                    yield from _walk(root, f"{path}/", parents | {real})
            else:
                yield path


def _has_entries(path: Path) -> bool:
    return path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir())
