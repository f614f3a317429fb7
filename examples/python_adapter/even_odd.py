"""Read a dataset where YAML cannot say how: scikit-learn's digits, with "even" and "odd" as labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evalsuite.data import RawPool, raw_pool_from_arrays

POOLS = {"train": slice(0, 898), "test": slice(898, 1797)}


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the pool `train` or `test`. root: the data root, which this dataset does not need.

    Images are uint8 arrays, (height, width) or (height, width, 3); labels are class keys, because the task
    file maps them `by_key`; ids default to row numbers. Files on a disk: `raw_pool_from_files(root, paths, labels)`.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = POOLS[pool]
    images = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    labels = ["even" if digit % 2 == 0 else "odd" for digit in digits.target[chosen]]
    return raw_pool_from_arrays(list(images), labels)
