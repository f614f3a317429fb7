"""Handwritten digits of scikit-learn (8 x 8, grey): they come with the package, nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evalsuite.data import RawPool, raw_pool_from_arrays
from evalsuite.errors import DataError

POOLS = {"train": slice(0, 898), "test": slice(898, 1797)}
"""Rows of the whole set: the first half trains and the second tests, as in scikit-learn's own example."""


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the pool `train` (898 samples) or `test` (899); `root` is not needed.

    The grey values 0..16 become round(v * 255 / 16); the ids are row numbers of the whole set.
    """
    from sklearn.datasets import load_digits

    if pool not in POOLS:
        raise DataError(f"The digits have the pools {', '.join(POOLS)}, not {pool!r}.")
    digits = load_digits()
    rows = range(len(digits.target))[POOLS[pool]]
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return raw_pool_from_arrays(
        [images[row] for row in rows],
        [int(digits.target[row]) for row in rows],
        [f"{row:08d}" for row in rows],
    )
