"""Read, decode and preprocess the samples of a pool: in this process, or in one of those that only do that."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.code_files import Portable
from evalsuite.data.base import Pool
from evalsuite.errors import INTERRUPTIONS, DataError, EvalsuiteError, ModelError, said
from evalsuite.features.blocks import Stamp
from evalsuite.features.decoders import DECODERS, Opened
from evalsuite.models.base import Preprocess
from evalsuite.models.preprocessing import Recipe, understood
from evalsuite.options import DecoderName
from evalsuite.threads import Threads


@dataclass(frozen=True)
class Unreadable:
    """A sample that cannot be read, and why."""

    identifier: str
    problem: str


@dataclass(frozen=True)
class Sample:
    """One sample: the sha256 of its bytes, and (channels, height, width) of each preprocessing.

    Images are uint8 where the preprocessing is understood: the device does the rest. In the place of one whose
    preprocessing fails there is what went wrong.
    """

    digest: bytes
    images: Sequence[NDArray[Any] | EvalsuiteError]

    def image(self, number: int) -> NDArray[Any]:
        """Return the image of a preprocessing; what went wrong with it is raised."""
        found = self.images[number]
        if isinstance(found, EvalsuiteError):
            raise found
        return found


class Samples:
    """The samples of a pool under some preprocessings. Another process can have it where it can be pickled."""

    def __init__(self, pool: Pool, preprocesses: Sequence[Preprocess], decoder: DecoderName = "pillow") -> None:
        self.pool = pool
        self._decoder = decoder
        self._preprocesses = Portable(tuple((one, understood(one)) for one in preprocesses))

    def read(self, row: int) -> Sample | Unreadable:
        """Read one sample."""
        return self._preprocessed(row, self._opened(row))

    def read_each(self, rows: Sequence[int], threads: Threads) -> Iterator[Sample | Unreadable]:
        """Yield samples in order: opened here, while threads preprocess those before, where that is nobody's own code.

        A reader need not be made for threads, nor a function of somebody's own.
        """
        if not all(recipe is not None and recipe.resizing is not None for _, recipe in self._preprocesses.content):
            yield from map(self.read, rows)
            return
        piece = 2 * threads.count
        waiting: Iterator[Sample | Unreadable] = iter(())
        for start in range(0, len(rows), piece):
            some = rows[start : start + piece]
            opened = [self._opened(row) for row in some]
            yield from waiting
            waiting = threads.map(self._preprocessed, some, opened)
        yield from waiting

    def _opened(self, row: int) -> Opened | Unreadable:
        try:
            return DECODERS[self._decoder].open(self.pool, row)
        except DataError as error:
            return Unreadable(self.pool.ids[row], str(error))

    def _preprocessed(self, row: int, opened: Opened | Unreadable) -> Sample | Unreadable:
        if isinstance(opened, Unreadable):
            return opened
        digest = hashlib.sha256(opened.content).digest()
        return Sample(digest, [self._pixels(opened, *way, row) for way in self._preprocesses.content])

    def _pixels(
        self, opened: Opened, preprocess: Preprocess, recipe: Recipe | None, row: int
    ) -> NDArray[Any] | EvalsuiteError:
        try:
            return DECODERS[self._decoder].pixels(opened, preprocess, recipe)
        except EvalsuiteError as error:
            return error
        except INTERRUPTIONS:
            raise
        except BaseException as error:  # noqa: BLE001 - it is the result; a worker process would end
            last, image = traceback.extract_tb(error.__traceback__)[-1], opened.shown()
            return ModelError(
                f"The preprocessing of the model fails on {self.pool.ids[row]!r} ({image.mode}, {image.width} x "
                f"{image.height}): {type(error).__name__}: {said(error)} (at {last.filename}, line {last.lineno})."
            )


def stamp_of(pool: Pool, row: int, content: bytes) -> Stamp:
    """Return what identifies the bytes of a sample."""
    return stamps_with(pool, [row], [hashlib.sha256(content).hexdigest()])[0]


def stamps_with(pool: Pool, rows: Sequence[int], sums: Sequence[str]) -> list[Stamp]:
    """Return what identifies the bytes of samples, of which the sha256 are known."""
    keys = keys_of(pool, rows)
    return [Stamp(size, mtime, known, *more) for (size, mtime, *more), known in zip(keys, sums, strict=True)]


def keys_of(pool: Pool, rows: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Return what changes with the files of samples: size, mtime, inode, ctime; zeros where no file is its own.

    All at once: numpy takes as long for one number as for fifty.
    """
    places = np.asarray(rows, np.int64)
    found = np.zeros((4, len(places)), np.int64)
    found[0] = pool.sizes[places]
    if pool.mtimes is not None:
        found[1] = pool.mtimes[places]
    if pool.states is not None:
        found[2:] = pool.states[places].T
    return list(zip(*found.tolist(), strict=True))
