"""From sample rows to batches of preprocessed images: decoding in worker processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from evalsuite.code_files import Portable
from evalsuite.data.base import Pool
from evalsuite.errors import DataError
from evalsuite.features.blocks import Stamp
from evalsuite.models.base import Preprocess
from evalsuite.processors import processors

WORKERS_PAY_FROM = 2_000
"""Samples below which starting worker processes takes longer than decoding in this one."""

MOST_WORKERS = 16
"""More decoding processes than this seldom make one GPU faster, and each takes memory."""


@dataclass(frozen=True)
class Item:
    """One preprocessed sample, (channels, height, width) float32."""

    row: int
    stamp: Stamp
    image: torch.Tensor


@dataclass(frozen=True)
class Unreadable:
    """A sample that cannot be read, and why."""

    identifier: str
    problem: str


@dataclass(frozen=True)
class Batch:
    """Preprocessed images of one shape, (n, channels, height, width) float32, and what they are."""

    images: torch.Tensor
    rows: list[int]
    stamps: list[Stamp]


class _Samples(Dataset[Item | Unreadable]):
    """The samples of a pool at some rows, for a DataLoader."""

    def __init__(self, pool: Pool, rows: Sequence[int], preprocess: Preprocess) -> None:
        self._pool = pool
        self._rows = rows
        self._preprocess = Portable(preprocess)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item | Unreadable:
        row = self._rows[index]
        try:
            sample = self._pool.read(row)
        except DataError as error:
            return Unreadable(self._pool.ids[row], str(error))
        return Item(row, stamp_of(self._pool, row, sample.content), self._preprocess.content(sample.image))


def stamp_of(pool: Pool, row: int, content: bytes) -> Stamp:
    """Return what identifies the bytes of a sample."""
    size, mtime, inode, ctime = key_of(pool, row)
    return Stamp(size, mtime, hashlib.sha256(content).hexdigest(), inode, ctime)


def key_of(pool: Pool, row: int) -> tuple[int, int, int, int]:
    """Return what changes with the file of a sample: size, mtime, inode, ctime; zeros where it has none of its own."""
    mtime = 0 if pool.mtimes is None else int(pool.mtimes[row])
    inode, ctime = (0, 0) if pool.states is None else (int(value) for value in pool.states[row])
    return int(pool.sizes[row]), mtime, inode, ctime


def read_batches(
    pool: Pool,
    rows: Sequence[int],
    preprocess: Preprocess,
    *,
    batch_size: int,
    workers: int,
    on_unreadable: Callable[[Unreadable], None],
) -> Iterator[Batch]:
    """Yield the samples at `rows` in order, in batches of one shape each.

    Images of several shapes (only models without a fixed input size see them) make several batches.
    """
    samples = _Samples(pool, rows, preprocess)
    workers = workers if _can_be_sent(samples) else 0
    loader = DataLoader(
        samples,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_one_thread if workers else None,
        generator=torch.Generator(),  # of its own: the global one is the caller's
    )
    for items in loader:
        by_shape: dict[torch.Size, list[Item]] = {}
        for item in items:
            if isinstance(item, Unreadable):
                on_unreadable(item)
            else:
                by_shape.setdefault(item.image.shape, []).append(item)
        for group in by_shape.values():
            images = torch.stack([item.image for item in group])
            yield Batch(images, [item.row for item in group], [item.stamp for item in group])


def worker_count(asked: int | None, samples: int, device: str) -> int:
    """Return how many worker processes to start; none asked for: by the device, the processors and the work.

    device: its type. A model on the CPU needs the processors itself: one in four decodes for it.
    """
    if asked is not None:
        return asked
    if samples < WORKERS_PAY_FROM:
        return 0
    return processors() // 4 if device == "cpu" else min(processors(), MOST_WORKERS)


def _can_be_sent(samples: _Samples) -> bool:
    """Say whether workers can have the samples: forked ones have everything, others only what can be pickled.

    A preprocessing with a lambda, or one that was typed in a notebook, is no fault: this process decodes then.
    """
    if multiprocessing.get_start_method() == "fork":
        return True
    try:
        content = pickle.dumps(samples)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return hasattr(sys.modules["__main__"], "__file__") or b"__main__" not in content


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
