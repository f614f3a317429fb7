"""ciFAIR: the test sets of CIFAR without near-duplicates of training images, in the files of CIFAR.

A file is a pickled dictionary with the keys `data`, (n, 3072) uint8, the planes of red, green and blue one after the
other, and `labels` (ciFAIR-10) or `fine_labels` (ciFAIR-100). It is unpickled without running any code but numpy's own.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from evalsuite.data import RawPool, raw_pool_from_arrays
from evalsuite.errors import DataError, DataMissingError

SIDE = 32
"""Pixels of an image's height and width."""

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
}  # fmt: skip
"""What a pickled array of numpy is made with."""


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, text and arrays, and nothing that runs code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not read")
        return super().find_class(module, name)


def open_cifair10(root: Path | None, pool: str) -> RawPool:
    """Open the pool `test` of ciFAIR-10; the ids are row numbers, those of CIFAR-10's test images."""
    return _opened((root or Path()) / "ciFAIR-10" / "test_batch", "labels", pool)


def open_cifair100(root: Path | None, pool: str) -> RawPool:
    """Open the pool `test` of ciFAIR-100 with its fine labels; the ids are row numbers."""
    return _opened((root or Path()) / "ciFAIR-100" / "test", "fine_labels", pool)


def _opened(file: Path, labels: str, pool: str) -> RawPool:
    if pool != "test":
        raise DataError(f"ciFAIR has the pool test, not {pool!r}: its training images are those of CIFAR.")
    try:
        with file.open("rb") as stream:
            content = _ArraysOnly(stream, encoding="latin1").load()
    except FileNotFoundError as error:
        raise DataMissingError(f"ciFAIR: {file} is missing.") from error
    except (OSError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise DataError(f"ciFAIR: {file} cannot be read ({error}).") from error
    held: dict[str, Any] = content if isinstance(content, dict) else {}
    data: Any = held.get("data")
    listed: Any = held.get(labels)
    right = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape[1:] == (3 * SIDE * SIDE,)
    if not right or not isinstance(listed, list) or len(listed) != len(data):
        raise DataError(f"ciFAIR: {file} must hold `data` of shape (n, {3 * SIDE * SIDE}) and n `{labels}`.")
    images = data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return raw_pool_from_arrays(list(np.ascontiguousarray(images)), [int(label) for label in listed])
