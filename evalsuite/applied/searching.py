"""Search images by words or by an image: exact, over stored features that stay on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite.applied.pictures import LOOSE, Encoded, encode, open_images
from evalsuite.columns import Column, as_table
from evalsuite.data.base import Pool
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, UsageError
from evalsuite.models.base import EMBEDDING, PENULTIMATE
from evalsuite.nearest import Neighbours, merged, nearest
from evalsuite.options import RunOptions
from evalsuite.protocols.zero_shot import ZeroShot
from evalsuite.report.escaping import to_json_text
from evalsuite.report.html.thumbnails import data_uri
from evalsuite.runner.base import Reporter
from evalsuite.runner.models import ModelSession
from evalsuite.runner.tasks import TaskSession
from evalsuite.tasks.spec import TaskSpec

SIDE = 192
"""Longer side of a picture on a contact sheet, in pixels."""

CHUNK_BYTES = 8 << 20
"""Features that are read at a time: memory of this size is used again for the next chunk. Larger pieces are asked for
anew, which takes as long as the arithmetic."""


@dataclass(frozen=True)
class Hit:
    """An image that was found: its cosine to what was looked for, its id, and its class where the task says it."""

    similarity: float
    image: str
    label: str = ""

    @property
    def described(self) -> str:
        """What stands below its picture."""
        return f"{self.similarity:.4f}{f' {self.label}' if self.label else ''}"


@dataclass(frozen=True)
class Found:
    """The nearest images, nearest first, and where they are read."""

    query: str
    hits: tuple[Hit, ...]
    encoded: Encoded
    rows: tuple[int, ...]

    def pictures(self) -> list[str]:
        """Return the images, small, as data URIs; "" for one that cannot be read any more."""
        found = []
        for row in self.rows:
            try:
                found.append(data_uri(self.encoded.pool.read(row).image, SIDE))
            except DataError:
                found.append("")
        return found

    def to_json(self) -> str:
        """Return what was looked for and what was found."""
        return to_json_text({"query": self.query, "hits": [asdict(hit) for hit in self.hits]})

    def to_table(self, width: int | None = None) -> str:
        """Return a list for people. width: of the terminal; None: as wide as it gets."""
        rows = [[place, f"{hit.similarity:.4f}", hit.image, hit.label] for place, hit in enumerate(self.hits, 1)]
        numbers = [Column("", right=True), Column("cosine", right=True)]
        return as_table([*numbers, Column("image", wraps=True), Column("class")], rows, width) + "\n"


@dataclass(frozen=True)
class Collection:
    """Images to search in. labels: the class of each row of the pool, where there are classes."""

    encoded: Encoded
    labels: Sequence[str] = ()


def collection(
    session: ModelSession, where: TaskSpec | Path, options: RunOptions, place: DataPlace, reporter: Reporter
) -> Collection:
    """Return the test split of a task, or a folder, as a collection; what is not stored is encoded.

    UsageError for a folder without images, DataMissingError for a task whose images are not there.
    """
    if isinstance(where, Path):
        pool = open_images([where])
        return Collection(encode(session, LOOSE, pool, range(len(pool)), options, reporter))
    task = TaskSession(where, options, place)
    split = task.splits(ZeroShot())[0]
    pool = task.pool(split.pool)
    encoded = encode(session, where.name, pool, [int(row) for row in split.rows], options, reporter)
    return Collection(encoded, _labels(where, pool))


def _labels(task: TaskSpec, pool: Pool) -> Sequence[str]:
    """Return the class of each row, or its first caption; nothing where images have several classes."""
    if pool.captions is not None:
        return [captions[0] for captions in pool.captions]
    return [task.class_keys[label] for label in pool.labels] if pool.labels.ndim == 1 else ()


def search(
    session: ModelSession, query: str | Path, within: Collection, top: int, options: RunOptions, reporter: Reporter
) -> Found:
    """Return the images with the highest cosine to words, or to an image, in the space that images and texts share.

    A model without such a space compares images by its penultimate layer.

    UsageError where a model without text encoder is asked by words.
    """
    if isinstance(query, Path):
        asked = open_images([query])
        encoded_query = encode(session, LOOSE, asked, range(len(asked)), options, reporter)
        # A classifier has no space that images share with texts; images alone can be compared in another.
        layer = EMBEDDING if EMBEDDING in encoded_query.features.layers() else PENULTIMATE
        wanted = encoded_query.read(layer)
    elif session.has_text():
        layer, wanted = EMBEDDING, session.embed_texts([query]).embedding
    else:
        raise UsageError(f"The model {session.name!r} has no text encoder: look for an image with --image FILE.")
    encoded = within.encoded
    found = nearest_stored(wanted.to(session.device), *encoded.mapped(layer), top)
    rows = [encoded.rows[int(place)] for place in found.rows[0]]
    hits = [
        Hit(float(similarity), encoded.pool.ids[row], within.labels[row] if within.labels else "")
        for similarity, row in zip(found.similarity[0], rows, strict=True)
    ]
    return Found(str(query), tuple(hits), encoded, tuple(rows))


def nearest_stored(
    queries: torch.Tensor, features: NDArray[np.floating], rows: NDArray[np.int64] | None, k: int
) -> Neighbours:
    """Return the k rows nearest to each query, reading features that are mapped into memory chunk by chunk.

    queries: (m, D); features: (N, D), on the disk; rows: those that count, None for all. The result names rows by their
    place in `rows`.
    """
    count = len(features) if rows is None else len(rows)
    step = max(1, CHUNK_BYTES // (features.shape[1] * features.itemsize))
    found: Neighbours | None = None
    for start in range(0, count, step):
        span = slice(start, start + step)
        block = torch.from_numpy(np.array(features[span] if rows is None else features[rows[span]]))
        part = nearest(queries, block, k)
        part = Neighbours(part.similarity, part.rows + start)
        found = part if found is None else merged(found, part, k)
    return nearest(queries, torch.empty(0, features.shape[1]), k) if found is None else found
