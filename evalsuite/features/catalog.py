"""Look after the feature store as a whole: list, verify, remove."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evalsuite import atomic
from evalsuite.data.base import Pool
from evalsuite.errors import DataError, EvalsuiteError

if TYPE_CHECKING:
    from evalsuite.features.store import PoolFeatures

FEATURES = "features"
ENTRY_FILE = "pool.json"


@dataclass(frozen=True)
class Origin:
    """What a folder of features was computed from."""

    model: str
    task: str
    pool: str
    precision: str
    fingerprint: str

    @classmethod
    def read(cls, path: Path) -> Origin:
        """Read what `note_origin` wrote."""
        return cls(**json.loads(path.read_text("utf-8")))


@dataclass(frozen=True)
class Entry:
    """One folder of the store, its size on the disk in bytes."""

    folder: Path
    origin: Origin
    bytes: int


def note_origin(folder: Path, origin: Origin) -> None:
    """Write down what `folder` holds, once."""
    path = folder / ENTRY_FILE
    if not path.is_file():
        atomic.write_json(path, asdict(origin))


def entries(cache_dir: Path) -> Iterator[Entry]:
    """Yield the folders of the store, by model and task."""
    for path in sorted((cache_dir / FEATURES).glob(f"*/*/{ENTRY_FILE}")):
        origin = Origin.read(path)
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        yield Entry(path.parent, origin, size)


def remove(entry: Entry, tell: Callable[[str], None] | None = None) -> None:
    """Delete a folder of the store, and its model's folder when nothing else is in it. tell: see `Lock`."""
    from evalsuite.features.store import PoolFeatures

    features = PoolFeatures(entry.folder)
    with features.lock(tell):
        shutil.rmtree(entry.folder)
    model = entry.folder.parent
    if not any(model.glob(f"*/{ENTRY_FILE}")):
        shutil.rmtree(model, ignore_errors=True)


def verify(entry: Entry, pool: Pool | None) -> list[str]:
    """Return what is wrong with a folder: files that cannot be read, samples whose bytes have changed.

    pool: the images as they are now; None checks the files of the store alone.
    """
    from evalsuite.features.store import PoolFeatures

    try:
        features = PoolFeatures(entry.folder)
        rows = [len(features.read(layer, features.ids())) for layer in features.layers()]
        damaged = features.damaged()
    except (OSError, ValueError, KeyError, EvalsuiteError) as error:
        return [f"cannot be read: {error}"]
    if damaged:
        return [f"{name}: its bytes are not what was written" for name in damaged]
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
