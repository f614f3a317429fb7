"""PatchCamelyon: 96 x 96 patches in HDF5 files, each opened once a process.

A set is two files, as published (github.com/basveeling/pcam): `x` (n, 96, 96, 3) uint8 and `y` (n, 1, 1, 1), 1 where
the patch's centre holds tumour tissue, else 0.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evalsuite.data import LoadedSample, RawPool
from evalsuite.data.readers import image_bytes, row_id
from evalsuite.errors import DataError, DataMissingError, MissingExtraError
from evalsuite.hashing import combined_sha256, file_sha256

FOLDER = "pcam"
SETS = {"train": "train", "val": "valid", "test": "test"}
"""Pool -> its word in the names of the files."""

SHAPE = (96, 96, 3)
PIECES, PIECE_BYTES = 64, 1 << 16
"""How many pieces of the images' file identify it, and how long they are: 4 MiB of 7 GB."""

_ADVICE = "Get the .h5.gz files of https://zenodo.org/records/2546921 and unpack them there."


class _Patches:
    """Reads patches from a file that is opened with the first of them, and again after a fork.

    A handle of HDF5 must not be shared between processes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int, Any] | None = None

    def __call__(self, row: int) -> LoadedSample:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            self._opened = opened = None  # lets go of the parent's handle: HDF5 would hand out the same file
            self._opened = opened = (os.getpid(), _open(self._path))
        image = Image.fromarray(opened[1]["x"][row])
        return LoadedSample(image, image_bytes(image))


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the set `pool` (train, val or test); the ids are its row numbers, the labels 0 and 1."""
    if pool not in SETS:
        raise DataError(f"PatchCamelyon has the pools {', '.join(SETS)}, not {pool!r}.")
    folder = (root or Path()) / FOLDER
    images, codes = (folder / f"camelyonpatch_level_2_split_{SETS[pool]}_{part}.h5" for part in "xy")
    for path in (images, codes):
        if not path.is_file():
            raise DataMissingError(f"PatchCamelyon: {path} is missing. {_ADVICE}")
    with _open(codes) as file:
        labels = np.asarray(_dataset(file, "y", codes)[()]).reshape(-1).astype(np.int64)
    with _open(images) as file:
        pixels = _dataset(file, "x", images)
        if pixels.shape != (len(labels), *SHAPE) or pixels.dtype != np.uint8:
            raise DataError(
                f"PatchCamelyon: `x` of {images} is {pixels.dtype} {pixels.shape}; with the labels of {codes.name} "
                f"it must be uint8 {(len(labels), *SHAPE)}. {_ADVICE}"
            )
    return RawPool(
        ids=[row_id(row) for row in range(len(labels))],
        labels=labels.tolist(),
        read=_Patches(images),
        sizes=np.full(len(labels), np.prod(SHAPE), np.int64),
        content=combined_sha256([file_sha256(codes), _identity(images)]),
    )


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "hdf5", "Reading PatchCamelyon") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"PatchCamelyon: {path} cannot be opened as HDF5 ({error}). {_ADVICE}") from error


def _dataset(file: Any, key: str, path: Path) -> Any:
    if key not in file:
        raise DataError(f"PatchCamelyon: {path} has no dataset {key!r}, but {', '.join(file) or 'nothing'}. {_ADVICE}")
    return file[key]


def _identity(path: Path) -> str:
    """Identify a file of gigabytes by its size and evenly spaced pieces, the first and the last among them.

    It tells apart editions, incomplete and re-encoded files, on any machine; not files that differ in a few patches.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}:".encode())
    with path.open("rb") as file:
        for piece in range(PIECES):
            file.seek(max(0, size - PIECE_BYTES) * piece // (PIECES - 1))
            digest.update(file.read(PIECE_BYTES))
    return digest.hexdigest()
