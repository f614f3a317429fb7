"""The pixels themselves as features: the baseline that the paper says beats zero-shot CLIP on MNIST.

One image is seen at a time, so what happens to it follows from itself alone:
grey images up to 32 x 32 (MNIST, scikit-learn's digits) stay as they are, one channel;
everything else becomes RGB and, unless it is 32 x 32 already (CIFAR), is resized to 32 x 32. Grey images that
are larger become RGB too, because photo collections hold a few grey files among the coloured ones, and
features of one task must have one length.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from evalsuite.models.base import PENULTIMATE, ModelInfo
from evalsuite.models.identity import fingerprint
from evalsuite.models.names import ResolvedModel
from evalsuite.models.preprocessing import SIXTEEN_BIT, Finish, Recipe, to_grey, to_rgb

if TYPE_CHECKING:
    import torch

SIDE = 32
"""The side of CIFAR's images, the largest that are taken as they are."""

GREY_MODES = ("1", "L", *SIXTEEN_BIT)

PREPROCESSING = f"grey up to {SIDE} x {SIDE} as it is, else RGB {SIDE} x {SIDE} (bilinear), values in [0, 1]"


class PixelsModel:
    """Flatten the pixels of small images. The length of its features depends on the images: it is given as 0."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self.preprocess = preprocess_pixels

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Flatten (n, channels, height, width) to {"penultimate": (n, channels * height * width)}."""
        return {PENULTIMATE: batch.flatten(start_dim=1).float()}


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> PixelsModel:
    """Return the model; there is nothing to load."""
    return PixelsModel(
        ModelInfo(
            name=resolved.name,
            slug=resolved.slug,
            backend="pixels",
            fingerprint=weights_fingerprint(resolved, cache_dir=cache_dir),
            input_size=SIDE,
            layers={PENULTIMATE: 0},
            parameters=0,
            gflops=0.0,
            weights="none",
            weight_fidelity="exact",
            preprocessing=PREPROCESSING,
        )
    )


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str:
    """Return the fingerprint: there are no weights, the preprocessing is all."""
    return fingerprint(backend="pixels", preprocessing=PREPROCESSING)


def small_image(image: Image.Image) -> Image.Image:
    """Return an image of at most 32 x 32 pixels, in mode L or RGB."""
    if image.mode in GREY_MODES and max(image.size) <= SIDE:
        return to_grey(image)
    colour = to_rgb(image)
    return colour if colour.size == (SIDE, SIDE) else colour.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


preprocess_pixels = Recipe((small_image,), Finish())
"""Turns an image into (1 or 3, height, width) float32 in [0, 1]."""
