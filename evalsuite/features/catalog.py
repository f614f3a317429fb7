"""Look after the feature store as a whole: list, verify, remove."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evalsuite import atomic
from evalsuite.data.base import Pool
from evalsuite.errors import DataError, EvalsuiteError
from evalsuite.features.descriptions import forget_description
from evalsuite.listing import matching, walk
from evalsuite.locks import HeldError, Lock

if TYPE_CHECKING:
    from evalsuite.features.store import PoolFeatures

FEATURES = "features"
ENTRY_FILE = "pool.json"
LOCK_FILE = "lock"
SHARDS = "shards"
UNKNOWN = "?"
"""Stands for what the file of a pool should say and does not."""


@dataclass(frozen=True)
class Origin:
    """What a folder of features was computed from."""

    model: str
    task: str
    pool: str
    precision: str
    fingerprint: str


@dataclass(frozen=True)
class Entry:
    """One folder of the store, its size on the disk in bytes. problem: why its origin is read off its name."""

    folder: Path
    origin: Origin
    bytes: int
    problem: str = ""


def note_origin(folder: Path, origin: Origin) -> None:
    """Write down what `folder` holds, once; a note that cannot be read is replaced."""
    if read_origin(folder) is None:
        atomic.write_json(folder / ENTRY_FILE, asdict(origin))


def read_origin(folder: Path) -> Origin | None:
    """Return what `folder` holds; None where no note says so. OSError where it may not be read."""
    try:
        found = Origin(**json.loads((folder / ENTRY_FILE).read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return found if all(isinstance(value, str) for value in asdict(found).values()) else None


def entries(cache_dir: Path) -> Iterator[Entry]:
    """Yield the folders of the store, by model and task; those of which nothing is known, too."""
    for folder in sorted(_folders(cache_dir)):
        size, problem, origin = 0, "", None
        try:
            size = _size(folder)
            origin = read_origin(folder)
            if origin is None:
                problem = f"{folder / ENTRY_FILE} does not say what this folder is of"
        except OSError as error:
            problem = f"{error.filename or folder}: {error.strerror or error}"
        yield Entry(folder, origin or _by_name(folder), size, problem)


def leftovers(cache_dir: Path) -> list[Path]:
    """Return what runs and removals that were stopped have left; nothing reads it, and the next ones remove it."""
    features = cache_dir / FEATURES
    folders = [cache_dir, features]
    for model in _subfolders(features):
        with suppress(OSError):  # said of the model where its pools are listed
            pools = _subfolders(model)
            folders += [model, *pools, *(pool / SHARDS for pool in pools)]
    return [path for folder in folders for path in atomic.leftovers(folder)]


def sweep(cache_dir: Path) -> None:
    """Remove what runs and removals that were stopped have left."""
    for folder in dict.fromkeys(path.parent for path in leftovers(cache_dir)):
        atomic.sweep(folder)


def remove(entry: Entry, tell: Callable[[str], None] | None = None) -> None:
    """Delete a folder of the store in one step, and its model's folder when nothing else is in it. tell: see `Lock`."""
    model = entry.folder.parent
    with Lock(entry.folder / LOCK_FILE, tell), ExitStack() as others:
        used = any(
            has_features(pool) or ((pool / LOCK_FILE).exists() and not _held(Lock(pool / LOCK_FILE), others))
            for pool in _subfolders(model)
            if pool != entry.folder
        )
        atomic.remove_folder(entry.folder if used else model)
        if not used:
            forget_description(model)


def _held(lock: Lock, stack: ExitStack) -> bool:
    """Hold a lock until the end of the stack; False where a run has it."""
    try:
        lock.acquire(timeout=0)
    except HeldError:
        return False
    stack.callback(lock.release)
    return True


def _folders(cache_dir: Path) -> Iterator[Path]:
    """Yield the folders of pools; that of a model where it may not be read."""
    for model in _subfolders(cache_dir / FEATURES):
        try:
            pools = _subfolders(model)
        except OSError:
            pools = [model]
        yield from (pool for pool in pools if pool == model or has_features(pool))


def has_features(pool: Path) -> bool:
    """Tell whether anything was stored in a folder, or may have been."""
    try:
        return (pool / ENTRY_FILE).is_file() or (pool / SHARDS).is_dir() or bool(matching(pool, "compacted-[0-9]*"))
    except PermissionError:
        return True


def _subfolders(folder: Path) -> Sequence[Path]:
    """Return the folders in a folder that are in use; none where it is not there. OSError where it cannot be read."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder; what a run removes meanwhile does not count."""
    total = 0
    for place, _, names in walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).stat().st_size
    return total


def _by_name(folder: Path) -> Origin:
    task, _, pool = folder.name.rpartition("-")[0].partition(".")
    return Origin(folder.parent.name, task or UNKNOWN, pool or UNKNOWN, UNKNOWN, UNKNOWN)


def verify(entry: Entry, pool: Pool | None) -> list[str]:
    """Return what is wrong with a folder: files that cannot be read, samples whose bytes have changed.

    pool: the images as they are now; None checks the files of the store alone.
    """
    from evalsuite.features.store import PoolFeatures

    if entry.problem:
        return [entry.problem]
    try:
        features = PoolFeatures(entry.folder)
        damaged = features.damaged()
        rows = [] if damaged else [len(features.read(layer, features.ids())) for layer in features.layers()]
    except (OSError, ValueError, KeyError, EvalsuiteError) as error:
        return [f"cannot be read: {error}"]
    if damaged:
        return damaged
    if sum(rows) == 0:
        return []  # a run was stopped before its first shard
    return [] if pool is None else list(_changed(features, pool))


def _changed(features: PoolFeatures, pool: Pool) -> Iterator[str]:
    from evalsuite.features.samples import stamp_of

    row_of = {identifier: row for row, identifier in enumerate(pool.ids)}
    for identifier in features.ids():
        row = row_of.get(identifier)
        if row is None:
            yield f"{identifier}: not in the dataset"
            continue
        if not features.stamp(identifier).sha256:  # given as features: nobody knows of which bytes
            continue
        try:
            fresh = stamp_of(pool, row, pool.read(row).content)
        except DataError as error:
            yield str(error)
            continue
        if fresh.sha256 != features.stamp(identifier).sha256:
            yield f"{identifier}: its bytes have changed since it was encoded"
