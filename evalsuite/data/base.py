"""What a source offers: an index of each pool, and a reader of its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evalsuite.data.place import DataPlace
from evalsuite.tasks.spec import TaskSpec

IGNORED = -1
"""Multi-label target of a class that is neither there nor absent ("difficult" in VOC)."""


@dataclass(frozen=True)
class LoadedSample:
    """One image, and the bytes it was made from (they are hashed during the image pass)."""

    image: Image.Image
    content: bytes


class SampleReader(Protocol):
    """Reads samples of a pool by row. Instances are pickled to worker processes: open files lazily."""

    def __call__(self, row: int) -> LoadedSample:
        """Read one sample; DataError names a sample that cannot be decoded."""


class ContentReader(Protocol):
    """A reader that also gives the bytes of a sample without decoding them.

    Where it has an attribute `reads_in_threads` that is true, several threads may ask it at a time.
    """

    def content(self, row: int) -> bytes:
        """Return what `LoadedSample.content` would be; DataError names a sample that cannot be read."""


class EncodedReader(Protocol):
    """A reader of image files, which says so: another decoder than Pillow may then open them."""

    def encoded(self, row: int) -> bytes | None:
        """Return the bytes of the image file that a sample is; None where it is something else, such as a video."""


def encoded_of(read: SampleReader, row: int) -> bytes | None:
    """Return the bytes of the image file that a sample is, or None where nobody says that it is one."""
    found: bytes | None = read.encoded(row) if hasattr(read, "encoded") else None  # isinstance takes 10 us
    return found


def content_of(read: SampleReader, row: int) -> bytes:
    """Return the bytes that a sample is made from."""
    found: bytes = read.content(row) if hasattr(read, "content") else read(row).content
    return found


@dataclass(frozen=True)
class MultiLabel:
    """The raw labels of one multi-label sample; what is in neither list is absent."""

    present: tuple[str, ...]
    ignored: tuple[str, ...] = ()


RawLabel = str | int | MultiLabel


@dataclass(frozen=True)
class PoolOrigin:
    """What a pool was read from, for the record: name of each shared file -> checksum, and the commit of the hub."""

    files: Mapping[str, str] = field(default_factory=dict)
    repo: str = ""
    revision: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Owner:
    """The pool of another task whose images these are. fingerprint, rows_of: as in `Pool`."""

    task: str
    pool: str
    fingerprint: str
    rows_of: str


@dataclass(frozen=True)
class RawPool:
    """A pool as its source sees it, before labels are mapped to classes. Adapters return this.

    ids: path relative to the source, or the row number written with eight digits.
    sizes: (n,) int64, bytes of each sample. mtimes: (n,) int64 nanoseconds where each sample is a file
    of its own, else None; states: (n, 2) int64, inode and ctime in nanoseconds of these files. content:
    identity of the files that hold the samples when those are shared (sha256 of an archive, a parquet
    file ...), "" where each sample is a file of its own. origin: for the record. warnings: what the record should
    tell of, such as images that were passed over. names: what the data call the labels 0, 1 ..., where labels are
    numbers and the data tell. owner: whose images they are, where they are another task's.
    captions: those of each image, where it has captions in place of a label.
    """

    ids: Sequence[str]
    labels: Sequence[RawLabel]
    read: SampleReader
    sizes: NDArray[np.int64]
    mtimes: NDArray[np.int64] | None = None
    content: str = ""
    groups: Sequence[str] | None = None
    origin: PoolOrigin = PoolOrigin()
    states: NDArray[np.int64] | None = None
    warnings: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    owner: Owner | None = None
    captions: Sequence[tuple[str, ...]] | None = None


@dataclass(frozen=True)
class PoolAddress:
    """What `evalsuite.data.opening.open_at` needs to open a pool, also in another process or on another machine."""

    task: TaskSpec
    place: DataPlace
    test_only: bool
    pool: str


@dataclass(frozen=True)
class Pool:
    """One stored split of a source, its labels in this project's class order.

    labels: (n,) int64 class indices, or (n, classes) int8 with 1, 0 and IGNORED for multi-label tasks.
    fingerprint: changes when the samples of the pool come from other files. address: how it was opened, where it was
    by the name of a task. warnings: those of the source. rows_of: equal for pools whose ids name the same rows of the
    same files, "" where ids are no rows. owner: the pool of another task that features are stored under.
    captions: those of each image, for a task of captions, whose labels are all 0.
    """

    name: str
    ids: tuple[str, ...]
    labels: NDArray[Any]
    read: SampleReader
    sizes: NDArray[np.int64]
    mtimes: NDArray[np.int64] | None
    groups: tuple[str, ...] | None
    fingerprint: str
    states: NDArray[np.int64] | None = None
    address: PoolAddress | None = None
    warnings: tuple[str, ...] = ()
    rows_of: str = ""
    owner: Owner | None = None
    captions: tuple[tuple[str, ...], ...] | None = None

    def content(self, row: int) -> bytes:
        """Return the bytes of a sample, without decoding them where its reader can; DataError where it cannot."""
        return content_of(self.read, row)

    def encoded(self, row: int) -> bytes | None:
        """Return the bytes of the image file that a sample is, or None where nobody says that it is one."""
        return encoded_of(self.read, row)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Split:
    """Samples of one pool, by row."""

    pool: str
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Fold:
    """A train/validation/test split; tasks without folds have one. val None: the protocol holds out."""

    train: Split
    val: Split | None
    test: Split

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}


class OpenFolds(Protocol):
    """Resolves the splits of a task."""

    def __call__(self, *, test_only: bool = False) -> tuple[Fold, ...]:
        """Return them, one fold or several; without those for training, where the test split is enough."""


@dataclass(frozen=True)
class TaskData:
    """The pools and splits of a task, opened from one source. Pools open on first use.

    folds: its splits; with `test_only`, those for training are empty, and their pools stay closed.
    task: with the splits, sizes and fidelity that this source has. source: its kind. resolved: what is recorded of it:
    commit, file names, checksums; it fills as pools open.
    """

    task: TaskSpec
    source: str
    open_pool: Callable[[str], Pool]
    folds: OpenFolds
    resolved: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataState:
    """Whether images are there: `missing` says what is not, and what to do.

    state: ready, downloadable (absent, but can be fetched), partial or absent. brief: what is missing, in a line.
    """

    state: Literal["ready", "downloadable", "partial", "absent"]
    missing: str = ""
    brief: str = ""
