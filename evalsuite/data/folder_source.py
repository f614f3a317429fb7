"""Image folders: a folder a class, in a folder a pool."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalsuite.data.base import DataState, RawPool
from evalsuite.data.context import SourceContext
from evalsuite.data.readers import raw_pool_from_files
from evalsuite.errors import DataError, DataMissingError, SpecError
from evalsuite.tasks.sources import FolderSource


def open_raw_pool(spec: FolderSource, pool: str, context: SourceContext) -> RawPool:
    """Index the files of a pool: sorted paths relative to the pool's folder.

    The raw label is the first part of the path, or what `label` finds in it.
    Hidden files and empty class folders are passed over. DataError when no image is left.
    """
    root = pool_folder(spec, pool, context)
    if not root.is_dir():
        raise DataMissingError(f"{describe(spec)}: the folder of the pool {pool!r} is missing: {root}.")
    wanted = {extension.lower() for extension in spec.extensions}
    ids, loose, others = [], 0, Counter[str]()
    for path in _walk(root, "", {os.path.realpath(root)}):
        extension = os.path.splitext(path)[1].lower()  # noqa: PTH122 -- a million plain strings
        if extension not in wanted:
            others[extension or "(none)"] += 1
        elif "/" not in path:
            loose += 1
        else:
            ids.append(path)
    if not ids:
        raise DataError(_nothing_found(spec, root, loose, others))
    ids.sort()
    labels = [path.split("/", 1)[0] for path in ids] if spec.label is None else _found(spec, "label", spec.label, ids)
    groups = None if spec.group is None else _found(spec, "group", spec.group, ids)
    return raw_pool_from_files(root, ids, labels, groups, spec.frame)


def state(spec: FolderSource, context: SourceContext) -> DataState:
    """Say whether each pool's folder is there and has something in it."""
    absent = [pool for pool in spec.pools if not _has_entries(pool_folder(spec, pool, context))]
    places = ", ".join(str(pool_folder(spec, pool, context)) for pool in absent)
    advice = "Put a folder a class of images there."
    if not absent:
        return DataState("ready", spec.kind)
    if len(absent) < len(spec.pools):
        return DataState("partial", spec.kind, f"without images: {places}. {advice}")
    return DataState("absent", spec.kind, f"needs {places}. {advice}")


def folder(spec: FolderSource, context: SourceContext) -> Path:
    """Return the source's folder."""
    return _base(spec, context)


def image_options(spec: FolderSource, pool: str) -> dict[str, Any]:
    """Return what decides which files are samples, and how they become images."""
    return {"extensions": sorted(spec.extensions), "frame": spec.frame}


def describe(spec: FolderSource) -> str:
    """Name the source in a message."""
    return f"folder {spec.path}"


def pool_folder(spec: FolderSource, pool: str, context: SourceContext) -> Path:
    """Return the folder of a pool."""
    return _base(spec, context) / spec.pools[pool]


def _base(spec: FolderSource, context: SourceContext) -> Path:
    return context.next_to_task(spec.path)


def _walk(root: Path, prefix: str, parents: set[str]) -> Iterator[str]:
    """Yield the files below a folder, links followed, hidden ones left out.

    parents: the real paths of the folders above, so that a link to one of them ends instead of looping.
    """
    with os.scandir(root / prefix) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{prefix}{entry.name}"
            if entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if real not in parents:
                    yield from _walk(root, f"{path}/", parents | {real})
            else:
                yield path


def _has_entries(path: Path) -> bool:
    return path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir())


def _found(spec: FolderSource, key: str, expression: str, ids: list[str]) -> list[str]:
    """Return the first group of a regular expression in each path."""
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise SpecError(f"{describe(spec)}: `{key}` is no regular expression ({error}): {expression!r}.") from error
    if pattern.groups < 1:
        raise SpecError(f"{describe(spec)}: `{key}` needs a pair of parentheses around the {key}: {expression!r}.")
    found = []
    for path in ids:
        match = pattern.search(path)
        if match is None or match.group(1) is None:
            raise DataError(f"{describe(spec)}: `{key}` ({expression!r}) does not match the sample {path!r}.")
        found.append(match.group(1))
    return found


def _nothing_found(spec: FolderSource, root: Path, loose: int, others: Counter[str]) -> str:
    text = f"{describe(spec)}: {root} holds no image in a class folder."
    if loose:
        text += f" {loose} images lie directly in it: put each into a folder named after its class."
    if others:
        kinds = ", ".join(f"{count} x {extension}" for extension, count in others.most_common(5))
        text += f" Files of other kinds are there ({kinds}): name their extension in `extensions` if they are images."
    return text + f" Known extensions: {', '.join(spec.extensions)}."
