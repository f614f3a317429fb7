"""Give features that are computed already to the feature store, as if a model had just encoded the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evalsuite.data.base import Pool
from evalsuite.errors import ModelError
from evalsuite.features.catalog import read_origin
from evalsuite.features.descriptions import read_description
from evalsuite.features.encoding import EncodedBatch, EncodeRows, first_not_finite
from evalsuite.features.samples import Unreadable, stamps_with
from evalsuite.features.store import PoolFeatures
from evalsuite.listing import matching
from evalsuite.models.base import EMBEDDING, PENULTIMATE
from evalsuite.models.feature_folders import MODEL_FILE, POOL_FILE, FeatureFolder, Vectors, vectors
from evalsuite.text import counted, shortened

ROWS_AT_A_TIME = 4_096

SHOWN = 3


def reading(folder: FeatureFolder, task: str) -> EncodeRows:
    """Return what reads the features of a task's pools instead of encoding their images.

    It raises ModelError for ids that are there twice, that no sample has or that a sample lacks, for an image of
    another size than the stored one, and for values that are not finite.
    """

    def read(pool: Pool, rows: Sequence[int], on_unreadable: Callable[[Unreadable], None]) -> Iterator[EncodedBatch]:
        found, sums = _stored(folder, task, pool) if folder.of else (_own(folder, task, pool), {})
        place = _places(found, pool, rows, task)
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            part = list(rows[start : start + ROWS_AT_A_TIME])
            where = [place[pool.ids[row]] for row in part]
            layers = {name: _finite(values[where], found, where, name) for name, values in found.layers.items()}
            layers.setdefault(PENULTIMATE, layers.get(EMBEDDING, torch.empty(len(part), 0)))
            # Of the bytes only the given checksum is known, or none.
            stamps = stamps_with(pool, part, [sums.get(pool.ids[row], "") for row in part])
            yield EncodedBatch(part, stamps, layers)

    return read


def _own(folder: FeatureFolder, task: str, pool: Pool) -> Vectors:
    found = vectors(folder.path / task, pool.name, folder.path)
    known = folder.layers()
    for name, values in found.layers.items():
        if (dim := values.shape[1]) != known.get(name, dim):
            raise ModelError(
                f"{found.place}: {name} has {counted(dim, 'number')} per sample, in other files {known[name]}."
            )
    return found


def _stored(folder: FeatureFolder, task: str, pool: Pool) -> tuple[Vectors, dict[str, str]]:
    """Return what the store of another machine has of a pool, and the sha256 of each image that it was computed of."""
    place = _pool_folder(folder.path, task, pool)
    features = PoolFeatures(place)
    if problem := _damage(folder.path, features):
        raise ModelError(
            f"{place}: {problem}. Nothing here can compute it again: let the machine that it is of do so, and copy "
            "the folder anew, under the name that it has there."
        )
    ids = features.ids()
    sizes = dict(zip(pool.ids, pool.sizes.tolist(), strict=True))
    other = [name for name in ids if name in sizes and features.stamp(name).size != sizes[name]]
    if other:
        raise ModelError(
            f"{place}: the features of {counted(len(other), 'sample')} of {task}/{pool.name} were computed from files "
            f"of another size than those here: {shortened(other, SHOWN)}. The data of the two machines differs."
        )
    layers: dict[str, Any] = {name: features.read(name, ids).numpy() for name in features.layers()}
    return Vectors(place, ids, layers), {name: features.stamp(name).sha256 for name in ids}


def _damage(model: Path, features: PoolFeatures) -> str:
    """Say what is wrong with the stored features of a pool of a model; "" where nothing is."""
    try:
        read_description(model)
    except ValueError as error:
        return f"{MODEL_FILE}: {error}"
    return shortened(features.damaged(), 1)


def _pool_folder(root: Path, task: str, pool: Pool) -> Path:
    found = {}
    for file in matching(root, f"*/{POOL_FILE}"):
        origin = read_origin(file.parent)
        if origin is not None and (origin.task, origin.pool) == (task, pool.name):
            found[origin.fingerprint] = file.parent
    if not found:
        raise ModelError(f"{root} has no features of {task}/{pool.name}.")
    if pool.fingerprint not in found and len(found) > 1:
        raise ModelError(
            f"{root} has features of {counted(len(found), 'edition')} of {task}/{pool.name}, none of which is the one "
            f"here: remove all but the one that fits, of {shortened([path.name for path in found.values()], SHOWN)}."
        )
    return found.get(pool.fingerprint, next(iter(found.values())))


def _places(found: Vectors, pool: Pool, rows: Sequence[int], task: str) -> dict[str, int]:
    """Return id -> row of the vectors; ModelError where ids and samples do not fit."""
    known = set(pool.ids)
    where = {identifier: row for row, identifier in enumerate(found.ids)}
    twice = [identifier for identifier, count in Counter(found.ids).items() if count > 1]
    extra = [identifier for identifier in where if identifier not in known]
    missing = [pool.ids[row] for row in rows if pool.ids[row] not in where]
    kinds = (
        ("are there twice", twice),
        (f"are of no sample of {task}/{pool.name}", extra),
        (f"of samples of {task}/{pool.name} are missing", missing),
    )
    wrong = [f"{counted(len(ids), 'id')} {what}: {shortened(ids, SHOWN)}" for what, ids in kinds if ids]
    if wrong:
        raise ModelError(f"{found.place}: {'; '.join(wrong)}. The ids must be those of the task.")
    return where


def _finite(values: Any, found: Vectors, where: Sequence[int], layer: str) -> torch.Tensor:
    with np.errstate(over="ignore"):  # what is too large for float32 becomes an infinity, which is refused below
        made = torch.from_numpy(np.ascontiguousarray(values, np.float16 if values.dtype == np.float16 else np.float32))
    row = first_not_finite(made)
    if row is not None:
        raise ModelError(
            f"{found.place}: {layer} of {found.ids[where[row]]} has a value that is not finite (NaN or infinity)."
        )
    return made
