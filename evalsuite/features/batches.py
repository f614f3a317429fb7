"""From sample rows to batches of preprocessed images: decoding in worker processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from evalsuite.code_files import Portable
from evalsuite.data.base import Pool
from evalsuite.errors import DataError
from evalsuite.features.blocks import Stamp
from evalsuite.models.base import Preprocess
from evalsuite.models.preprocessing import Finish, understood
from evalsuite.processors import processors

WORKERS_PAY_FROM = 2_000
"""Samples below which starting worker processes takes longer than decoding in this one."""

MOST_WORKERS = 16
"""More decoding processes than this seldom make one GPU faster, and each takes memory."""


@dataclass(frozen=True)
class Item:
    """One sample, preprocessed in each way: (channels, height, width), uint8 where the device does the rest.

    seconds: what reading, decoding and preprocessing took.
    """

    row: int
    stamp: Stamp
    images: tuple[torch.Tensor, ...]
    seconds: float


@dataclass(frozen=True)
class Unreadable:
    """A sample that cannot be read, and why."""

    identifier: str
    problem: str


def _nothing() -> None:
    """Release memory that is the batch's own."""


@dataclass(frozen=True)
class Batch:
    """Images of one shape, and what they are.

    images: (n, channels, height, width) on the CPU, float32 or uint8; it may be a view of memory that is used again
    after `release`, which the consumer calls once, from any thread, when the images have been copied away.
    finish: what makes float32 of uint8 images, to be called on the device.
    seconds: what reading, decoding and preprocessing took; of a sample with several preprocessings, once.
    """

    images: torch.Tensor
    rows: list[int]
    stamps: list[Stamp]
    finish: Finish | None = None
    release: Callable[[], None] = _nothing
    seconds: float = 0.0

    def on(self, device: torch.device) -> torch.Tensor:
        """Return the float32 images on a device."""
        images = self.images.to(device, non_blocking=True)
        return images if self.finish is None else self.finish(images)


class _Samples(Dataset[Item | Unreadable]):
    """The samples of a pool at some rows, for a DataLoader."""

    def __init__(self, pool: Pool, rows: Sequence[int], preprocesses: Sequence[Preprocess]) -> None:
        self._pool = pool
        self._rows = rows
        self._preprocesses = Portable(tuple(preprocesses))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item | Unreadable:
        row, started = self._rows[index], time.perf_counter()
        try:
            sample = self._pool.read(row)
        except DataError as error:
            return Unreadable(self._pool.ids[row], str(error))
        images = tuple(_pixels(preprocess, sample.image) for preprocess in self._preprocesses.content)
        stamp = stamp_of(self._pool, row, sample.content)
        return Item(row, stamp, images, time.perf_counter() - started)


def _pixels(preprocess: Preprocess, image: Image.Image) -> torch.Tensor:
    """Return the uint8 pixels of an image where its preprocessing is understood, else what that gives."""
    recipe = understood(preprocess)
    pixels = None if recipe is None else recipe.pixels(image)
    return preprocess(image) if pixels is None else torch.from_numpy(np.array(pixels, order="C"))


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
    preprocesses: Sequence[Preprocess],
    *,
    batch_size: int,
    workers: int,
    on_unreadable: Callable[[Unreadable], None],
) -> Iterator[tuple[list[Batch], ...]]:
    """Yield the samples at `rows` in order, `batch_size` at a time, decoded once and preprocessed in each way.

    What is yielded has one list of batches per preprocessing: one batch, or one per shape where images of several
    shapes come out of it (only models without a fixed input size see them); none where no sample could be read.
    """
    samples = _Samples(pool, rows, preprocesses)
    finishes = [recipe.finish if recipe else None for recipe in map(understood, preprocesses)]
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
        readable = []
        for item in items:
            if isinstance(item, Unreadable):
                on_unreadable(item)
            else:
                readable.append(item)
        yield tuple(list(_batches(readable, number, finish)) for number, finish in enumerate(finishes))


def _batches(items: Sequence[Item], number: int, finish: Finish | None) -> Iterator[Batch]:
    by_shape: dict[torch.Size, list[Item]] = {}
    for item in items:
        by_shape.setdefault(item.images[number].shape, []).append(item)
    for group in by_shape.values():
        images = [item.images[number] for item in group]
        own = finish
        if finish is not None and any(image.dtype != torch.uint8 for image in images):
            images = [finish(image) if image.dtype == torch.uint8 else image for image in images]
            own = None
        seconds = sum(item.seconds for item in group) if number == 0 else 0.0
        rows, stamps = [item.row for item in group], [item.stamp for item in group]
        yield Batch(torch.stack(images), rows, stamps, own, seconds=seconds)


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
