"""STL-10: the training and test images of stl10_binary, without the 2.7 GB of unlabeled ones.

<set>_X.bin holds uint8 pixels, image by image (3, 96, 96), each channel column by column; <set>_y.bin a byte an image,
1 .. 10 in the order of class_names.txt (cs.stanford.edu/~acoates/stl10; read so by torchvision's STL10, too).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evalsuite.data import LoadedSample, RawPool
from evalsuite.data.readers import image_bytes, row_id
from evalsuite.errors import DataError, DataMissingError
from evalsuite.hashing import combined_sha256, files_sha256

FOLDER = "stl10_binary"
POOLS = ("train", "test")
CLASSES = 10
SHAPE = (3, 96, 96)
"""Channels, columns, rows."""

_IMAGE_BYTES = 3 * 96 * 96
_ADVICE = "Unpack http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz under the data root again."


class _Images:
    """Reads images from a memory map, which is opened with the first of them."""

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._count = count
        self._pixels: NDArray[np.uint8] | None = None

    def __call__(self, row: int) -> LoadedSample:
        if self._pixels is None:
            self._pixels = np.memmap(self._path, np.uint8, "r", shape=(self._count, *SHAPE))
        image = Image.fromarray(np.ascontiguousarray(self._pixels[row].transpose(2, 1, 0)))
        return LoadedSample(image, image_bytes(image))


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the set `pool` (train or test); the ids are its row numbers, as in fold_indices.txt.

    The labels count from 0, in the order of class_names.txt.
    """
    if pool not in POOLS:
        raise DataError(f"STL-10 has the pools {', '.join(POOLS)}, not {pool!r}.")
    folder = (root or Path()) / FOLDER
    images, codes = folder / f"{pool}_X.bin", folder / f"{pool}_y.bin"
    for path in (images, codes):
        if not path.is_file():
            raise DataMissingError(f"STL-10: {path} is missing. {_ADVICE}")
    labels = _labels(codes)
    size = images.stat().st_size
    if size != len(labels) * _IMAGE_BYTES:
        raise DataMissingError(
            f"STL-10: {images} has {size:,} bytes where the {len(labels)} labels of {codes.name} need "
            f"{len(labels) * _IMAGE_BYTES:,}. {_ADVICE}"
        )
    return RawPool(
        ids=[row_id(row) for row in range(len(labels))],
        labels=labels,
        read=_Images(images, len(labels)),
        sizes=np.full(len(labels), _IMAGE_BYTES, np.int64),
        content=combined_sha256(files_sha256([images, codes])),
    )


def _labels(path: Path) -> list[int]:
    codes = np.fromfile(path, np.uint8).astype(np.int64)
    wrong = np.flatnonzero((codes < 1) | (codes > CLASSES))
    if len(wrong):
        raise DataError(f"STL-10: byte {wrong[0]} of {path} is {codes[wrong[0]]}; labels are 1 .. {CLASSES}. {_ADVICE}")
    labels: list[int] = (codes - 1).tolist()
    return labels
