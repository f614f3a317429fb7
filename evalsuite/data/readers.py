"""Readers of samples that are files or arrays, and the pools made of them."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evalsuite.data.base import LoadedSample, RawLabel, RawPool, SampleReader
from evalsuite.data.decoding import BOUNDS, Bounds, decode_image, decode_middle_frame
from evalsuite.errors import DataError, JobError
from evalsuite.hashing import file_key

_LOG = logging.getLogger(__name__)

Frame = Literal["middle"] | None

MOST_BYTES = 512 << 20
"""Bytes of one image or video."""


def bounded(read: SampleReader, bounds: Bounds) -> SampleReader:
    """Return a reader that keeps to other bounds; one of somebody's own, which knows none, stays as it is."""
    if bounds == BOUNDS or not hasattr(read, "bounds"):
        return read
    changed: Callable[..., SampleReader] = replace
    return changed(read, bounds=bounds)


def row_id(row: int) -> str:
    """Return the id of a sample that has no name of its own: its row number with eight digits."""
    return f"{row:08d}"


def image_bytes(image: Image.Image) -> bytes:
    """Return the pixels of an image with its mode and size in front, for sources without encoded files."""
    return f"{image.mode}:{image.width}x{image.height}:".encode() + image.tobytes()


@dataclass(frozen=True)
class FileReader:
    """Read samples that are files under a folder. border: pixels to cut off at each side of an image."""

    reads_in_threads: ClassVar[bool] = True

    root: str
    ids: tuple[str, ...]
    frame: Frame = None
    bounds: Bounds = BOUNDS
    border: int = 0

    def __call__(self, row: int) -> LoadedSample:
        """Read and decode one file."""
        sample, content = self.ids[row], self.content(row)
        path = Path(self.root) / sample
        decode = decode_image if self.frame is None else decode_middle_frame
        image = decode(content, sample, str(path), self.bounds)
        return LoadedSample(_without_border(image, self.border, sample) if self.border else image, content)

    def content(self, row: int) -> bytes:
        """Read one file."""
        return read_content(Path(self.root) / self.ids[row], self.ids[row])

    def encoded(self, row: int) -> bytes | None:
        """Read one image file; None of videos, and of images with a border, which no other decoder would cut off."""
        return self.content(row) if self.frame is None and not self.border else None


def _without_border(image: Image.Image, border: int, sample: str) -> Image.Image:
    width, height = image.size
    if min(width, height) <= 2 * border:
        raise DataError(f"The sample {sample!r} has {width} x {height} pixels: nothing is left inside its border.")
    return image.crop((border, border, width - border, height - border))


@dataclass(frozen=True)
class ArrayReader:
    """Read samples that are uint8 arrays in memory."""

    images: Sequence[NDArray[np.uint8]]

    def __call__(self, row: int) -> LoadedSample:
        """Make an image of one array."""
        image = Image.fromarray(self.images[row])
        return LoadedSample(image, image_bytes(image))


def read_content(path: Path, sample: str) -> bytes:
    """Read a file; DataError names the sample."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise DataError(f"The sample {sample!r} ({path}) is larger than {MOST_BYTES >> 20} MB.")
            return file.read()
    except OSError as error:
        raise DataError(f"The sample {sample!r} cannot be read from {path}: {error.strerror or error}.") from error


def report_missing(text: str, missing: int, allowed: int, error: type[JobError], key: str = "max_unreadable") -> str:
    """Raise `error` where more samples are missing than `key` of the task file allows; else log and return a warning.

    text: what is missing.
    """
    if missing > allowed:
        raise error(f"{text}. Complete the images, or allow for missing ones with `{key}` in the task file.")
    warning = f"{text}; allowed by {key}: {allowed}"
    _LOG.warning(warning)
    return warning


@dataclass(frozen=True)
class FileStates:
    """What the file system says of files: sizes in bytes, mtimes in ns, (n,); states: inode and ctime in ns, (n, 2)."""

    sizes: NDArray[np.int64]
    mtimes: NDArray[np.int64]
    states: NDArray[np.int64]


def stat_files(root: Path, ids: Sequence[str]) -> FileStates:
    """Look up the files of samples; DataError names one that is not there."""
    found = np.empty((len(ids), 4), np.int64)
    for row, sample in enumerate(ids):
        try:
            state = (root / sample).stat()
            if not stat.S_ISREG(state.st_mode):
                raise DataError(f"The sample {sample!r} at {root / sample} is no file, but a pipe or a device.")
            found[row] = file_key(state)
        except OSError as error:
            raise DataError(f"The sample {sample!r} is not at {root / sample}: {error.strerror}.") from error
    return FileStates(found[:, 0], found[:, 1], found[:, 2:])


def raw_pool_from_files(
    root: Path,
    ids: Sequence[str],
    labels: Sequence[RawLabel],
    groups: Sequence[str] | None = None,
    frame: Frame = None,
    border: int = 0,
) -> RawPool:
    """Make a pool of image files (or videos, with `frame`). border: pixels to cut off at each side.

    ids: paths relative to `root`, with forward slashes.
    """
    found = stat_files(root, ids)
    reader = FileReader(str(root), tuple(ids), frame, border=border)
    chosen = groups and tuple(groups)
    return RawPool(tuple(ids), tuple(labels), reader, found.sizes, found.mtimes, groups=chosen, states=found.states)


def raw_pool_from_arrays(
    images: Sequence[NDArray[Any]],
    labels: Sequence[RawLabel],
    ids: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> RawPool:
    """Make a pool of arrays in memory.

    images: uint8 arrays, (height, width) for grey or (height, width, 3) for RGB; others are a DataError.
    ids: one per sample; default: the row number with eight digits.
    """
    digest = hashlib.sha256()
    for row, image in enumerate(images):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            raise DataError(
                f"The image of row {row} is a {image.dtype} array of shape {image.shape}; "
                "it must be uint8 of shape (height, width) or (height, width, 3)."
            )
        digest.update(f"{image.shape}:".encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    names = tuple(ids) if ids is not None else tuple(row_id(row) for row in range(len(images)))
    sizes = np.array([image.nbytes for image in images], np.int64)
    return RawPool(names, tuple(labels), ArrayReader(images), sizes, None, digest.hexdigest(), groups and tuple(groups))
