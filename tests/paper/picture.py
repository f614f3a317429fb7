"""Images that encode the name of their class, whatever format, size or compression they go through."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CELLS = 6
"""Cells a side: 36 bits of a hash of the name, dark or bright, survive JPEG, video codecs and grey images."""

DARK, BRIGHT, NOISE = 55, 200, 20


@dataclass(frozen=True)
class Written:
    """What a writer put under the data root.

    sizes: the `sizes` of the task file for this little tree, such as {"train": 8, "test": 4}.
    splits: the `splits` of the task file with numbers that fit the tree; None: those of the task as they are.
    """

    sizes: Mapping[str, Any]
    splits: Mapping[str, Any] | None = None
    further: Mapping[str, Any] = field(default_factory=dict)


def code(name: str) -> NDArray[np.float32]:
    """Return the (36,) vector of -1 and 1 that stands for a name."""
    digest = np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint8)
    return np.unpackbits(digest)[: CELLS * CELLS].astype(np.float32) * 2 - 1


def picture(name: str, variant: int = 0, width: int = 36, height: int | None = None) -> Image.Image:
    """Draw the code of a name, in RGB; variants differ a little in brightness."""
    rng = np.random.default_rng([variant, *name.encode()])
    cells = np.where(code(name) > 0, BRIGHT, DARK) + rng.integers(-NOISE, NOISE + 1, CELLS * CELLS)
    small = Image.fromarray(cells.reshape(CELLS, CELLS).astype(np.uint8))
    return small.resize((width, height or width), Image.Resampling.NEAREST).convert("RGB")


def read_code(image: Image.Image) -> NDArray[np.float32]:
    """Return the code an image shows, (36,) in about [-1, 1]."""
    cells = np.asarray(image.convert("L").resize((CELLS, CELLS), Image.Resampling.BOX), dtype=np.float32)
    middle = (DARK + BRIGHT) / 2
    return ((cells - middle) / (BRIGHT - middle)).reshape(-1).astype(np.float32)
