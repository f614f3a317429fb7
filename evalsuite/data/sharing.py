"""Pools made of the images of another task: encoded once for both tasks, labelled anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import LoadedSample, Owner, Pool, RawLabel, RawPool, SampleReader, content_of, encoded_of
from evalsuite.errors import DataError, SpecError
from evalsuite.tasks.borrowed import Borrowed
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import counted, shortened


@dataclass(frozen=True)
class RowsReader:
    """Reads some rows of a pool. rows: (n,) int64, the row of each sample in it."""

    read: SampleReader
    rows: NDArray[np.int64]

    @property
    def reads_in_threads(self) -> bool:
        """Whether the pool's own reader does."""
        return bool(getattr(self.read, "reads_in_threads", False))

    def __call__(self, row: int) -> LoadedSample:
        """Read and decode one sample."""
        return self.read(int(self.rows[row]))

    def content(self, row: int) -> bytes:
        """Read the bytes of one sample."""
        return content_of(self.read, int(self.rows[row]))

    def encoded(self, row: int) -> bytes | None:
        """Read the image file that one sample is, where it is one."""
        return encoded_of(self.read, int(self.rows[row]))


def chosen_rows(raw: RawPool, rows: NDArray[np.int64]) -> RawPool:
    """Return some rows of a pool; `rows`: (n,) int64."""
    kept = rows.tolist()
    return replace(
        raw,
        ids=[raw.ids[row] for row in kept],
        labels=[raw.labels[row] for row in kept],
        read=RowsReader(raw.read, rows),
        sizes=raw.sizes[rows],
        mtimes=None if raw.mtimes is None else raw.mtimes[rows],
        groups=None if raw.groups is None else [raw.groups[row] for row in kept],
        states=None if raw.states is None else raw.states[rows],
        captions=None if raw.captions is None else [raw.captions[row] for row in kept],
    )


def first_captions(raw: RawPool, count: int, place: str) -> tuple[tuple[str, ...], ...]:
    """Return the first `count` captions of each image; DataError where one has fewer. place: for the message."""
    if raw.captions is None:
        raise DataError(f"{place} has no captions; an adapter sets `captions` of its RawPool.")
    for sample, captions in zip(raw.ids, raw.captions, strict=True):
        if len(captions) < count or not all(captions[:count]):
            found = sum(map(bool, captions))
            raise DataError(f"{place}: the image {sample!r} has {counted(found, 'caption')}, and {count} are needed.")
    return tuple(tuple(captions[:count]) for captions in raw.captions)


def images_of(task: str, pool: Pool, labels: Sequence[RawLabel]) -> RawPool:
    """Return the images of a pool of the task called `task` with other labels, one for each."""
    owner = Owner(task, pool.name, pool.fingerprint, pool.rows_of)
    return RawPool(
        pool.ids, labels, pool.read, pool.sizes, pool.mtimes,
        groups=pool.groups, states=pool.states, warnings=pool.warnings, owner=owner,
    )  # fmt: skip


def borrowed_pool(task: TaskSpec, borrowed: Borrowed, other: TaskSpec, pool: Pool) -> RawPool:
    """Return the samples of a pool of the task `other` that are of a class of `task`, labelled by its keys."""
    if pool.labels.ndim != 1:
        raise SpecError(f"Task {task.name!r} borrows from {other.name!r}, whose images have several labels each.")
    own = _own_keys(task, borrowed, other)
    keys = [own.get(key, "") for key in other.class_keys]
    rows = np.flatnonzero(np.array(list(map(bool, keys)))[pool.labels])
    return chosen_rows(images_of(other.name, pool, [keys[index] for index in pool.labels.tolist()]), rows)


def _own_keys(task: TaskSpec, borrowed: Borrowed, other: TaskSpec) -> dict[str, str]:
    """Return class key of the other task -> class key of this one; SpecError where one is unknown or has none."""
    classes = borrowed.classes or {key: [key] for key in task.class_keys}
    named = [key for keys in classes.values() for key in keys]
    unknown = sorted((set(named) - set(other.class_keys)) | (set(classes) - set(task.class_keys)))
    absent = [key for key in task.class_keys if not classes.get(key)]
    if unknown or absent or len(set(named)) != len(named):
        problem = (
            f"these are no classes: {shortened(unknown, 5)}" if unknown
            else f"these have none there: {shortened(absent, 5)}" if absent
            else "one stands for two classes"
        )  # fmt: skip
        raise SpecError(f"Task {task.name!r}: its classes do not fit those of {other.name!r} ({problem}).")
    return {key: own for own, keys in classes.items() for key in keys}
