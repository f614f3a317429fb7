"""Checksums of what the feature store keeps: XXH3 of 128 bits, which is as fast as memory is read.

They find accidents: a failing disk, a copy that was cut off, a file of another folder. They are no defence against
forgery.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray


def digest(parts: Iterable[bytes | memoryview | NDArray[np.generic]]) -> str:
    """Return the digest of bytes, one part after the other."""
    found = xxhash.xxh3_128()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def owner(folder: Path) -> str:
    """Return what a folder of features or of texts is of: the hash of its model, and its own name.

    The rest of the name of a model's folder may differ: names of the same weights share one.
    """
    return f"{folder.parent.name.rpartition('-')[2]}/{folder.name}"
