"""Convert images before a model's own preprocessing sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Grey modes whose values go up to 65,535; Pillow opens 16-bit PNG as `I` or `I;16`, by version."""


def to_grey(image: Image.Image) -> Image.Image:
    """Turn a one-channel image of any depth into mode L: 16-bit values are scaled, not clipped."""
    if image.mode in SIXTEEN_BIT:
        values = np.asarray(image, dtype=np.float32) / 65535 * 255
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    return image.convert("L")


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn an image of any mode into RGB."""
    return (to_grey(image) if image.mode in SIXTEEN_BIT else image).convert("RGB")


@dataclass(frozen=True)
class RgbFirst:
    """Preprocessing that sees RGB only.

    The transforms of open_clip resize before they convert; Pillow resizes a palette image by picking
    pixels, so a GIF or an 8-bit PNG would get jagged features.
    """

    transform: Callable[[Image.Image], torch.Tensor]

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return what the transform makes of the image in RGB."""
        return self.transform(to_rgb(image))
