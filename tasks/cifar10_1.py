"""CIFAR-10.1, version 6: 2,000 new test images for CIFAR-10, in two files of numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.data import RawPool, raw_pool_from_arrays
from evalsuite.errors import DataError, DataMissingError

FOLDER = "CIFAR-10.1"
DATA, LABELS = "cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy"


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the pool `test`; the ids are row numbers, the labels those of CIFAR-10."""
    if pool != "test":
        raise DataError(f"CIFAR-10.1 has the pool test, not {pool!r}: its training images are those of CIFAR-10.")
    folder = (root or Path()) / FOLDER
    images, labels = _array(folder / DATA), _array(folder / LABELS)
    if images.ndim != 4 or images.shape[1:] != (32, 32, 3) or labels.shape != (len(images),):
        raise DataError(
            f"CIFAR-10.1: {folder / DATA} must have the shape (n, 32, 32, 3) and {LABELS} the shape (n,); "
            f"they have {images.shape} and {labels.shape}."
        )
    return raw_pool_from_arrays(list(images), [int(label) for label in labels])


def _array(file: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataMissingError(f"CIFAR-10.1: {file} is missing.") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"CIFAR-10.1: {file} cannot be read ({error}).") from error
    return array
