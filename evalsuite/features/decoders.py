"""How a sample becomes pixels: by Pillow, whose numbers are everybody's, or by torchvision, in a third of the time.

The two decode JPEG files to the same bytes. Resizing differs by rounding: a pixel in some hundreds is one grey level
off, two where small images are enlarged (docs/speed.md).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from evalsuite.data.base import Pool
from evalsuite.data.decoding import BOUNDS
from evalsuite.errors import ModelError
from evalsuite.models.base import Preprocess
from evalsuite.models.preprocessing import Recipe, Resizing, to_rgb
from evalsuite.options import DecoderName

JPEG = b"\xff\xd8\xff"
"""How a JPEG file begins."""

TENSOR_MODES = ("L", "RGB")
"""Modes whose bands torchvision resizes as Pillow does."""


@dataclass(frozen=True)
class Opened:
    """A sample as it was decoded: an image, or (1 or 3, height, width) uint8; and the bytes that it was made from."""

    content: bytes
    image: Image.Image | torch.Tensor

    def shown(self) -> Image.Image:
        """Return the image as Pillow's."""
        if isinstance(self.image, Image.Image):
            return self.image
        pixels = self.image[0] if len(self.image) == 1 else self.image.permute(1, 2, 0)
        return Image.fromarray(np.ascontiguousarray(pixels.numpy()))


class Decoder(Protocol):
    """Opens samples, and makes of them what a preprocessing makes, uint8 where it is understood."""

    def open(self, pool: Pool, row: int) -> Opened:
        """Decode one sample; DataError where that fails."""

    def pixels(self, opened: Opened, preprocess: Preprocess, recipe: Recipe | None) -> NDArray[Any]:
        """Return (channels, height, width); recipe: what is understood of the preprocessing."""


class PillowDecoder:
    """What every other evaluation does: Pillow decodes and resizes."""

    def open(self, pool: Pool, row: int) -> Opened:
        """Decode one sample as its source does."""
        sample = pool.read(row)
        return Opened(sample.content, sample.image)

    def pixels(self, opened: Opened, preprocess: Preprocess, recipe: Recipe | None) -> NDArray[Any]:
        """Return the pixels, or what a preprocessing that is not understood gives."""
        image = opened.shown()
        pixels = None if recipe is None else recipe.pixels(image)
        return _array(preprocess(image)) if pixels is None else pixels


class TorchvisionDecoder(PillowDecoder):
    """JPEG files are decoded, and every image is resized, by torchvision; Pillow does what that does not understand."""

    def open(self, pool: Pool, row: int) -> Opened:
        """Decode a JPEG file; what is none, or is refused, is decoded as its source does."""
        content = pool.encoded(row)
        pixels = _jpeg(content) if content is not None and content.startswith(JPEG) else None
        return super().open(pool, row) if content is None or pixels is None else Opened(content, pixels)

    def pixels(self, opened: Opened, preprocess: Preprocess, recipe: Recipe | None) -> NDArray[Any]:
        """Return the pixels, resized as tensors where the preprocessing says how."""
        resizing = None if recipe is None else recipe.resizing
        pixels = None if resizing is None else _resized(opened.image, resizing)
        return super().pixels(opened, preprocess, recipe) if pixels is None else pixels


DECODERS: Mapping[DecoderName, Decoder] = {"pillow": PillowDecoder(), "torchvision": TorchvisionDecoder()}


def _jpeg(content: bytes) -> torch.Tensor | None:
    """Return (1 or 3, height, width) uint8 of a grey or RGB JPEG file; None of another, or of a damaged one."""
    try:
        header = Image.open(io.BytesIO(content), formats=["JPEG"])
        if header.mode not in TENSOR_MODES or BOUNDS.problem(header.size):
            return None
        pixels: torch.Tensor = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    except (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError):
        return None  # Pillow says what is wrong, or manages
    return pixels


def _resized(image: Image.Image | torch.Tensor, resizing: Resizing) -> NDArray[np.uint8] | None:
    """Resize and crop as torchvision does; None for an image whose mode it has no tensors for."""
    if isinstance(image, torch.Tensor):
        pixels = image
    else:
        image = to_rgb(image) if resizing.to_rgb and image.mode not in TENSOR_MODES else image
        if image.mode not in TENSOR_MODES:
            return None
        pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, -1).permute(2, 0, 1)
    if resizing.size:
        how = InterpolationMode(resizing.interpolation)
        pixels = functional.resize_image(pixels, list(resizing.size), interpolation=how, antialias=True)
    if resizing.crop is not None and resizing.rounds_down:
        height, width = resizing.crop
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        pixels = functional.crop_image(pixels, top, left, height, width)
    elif resizing.crop is not None:
        pixels = functional.center_crop_image(pixels, list(resizing.crop))
    if resizing.to_rgb:
        pixels = pixels.expand(3, -1, -1)
    values: NDArray[np.uint8] = pixels.numpy()
    return values


def _array(image: Any) -> NDArray[Any]:
    if not isinstance(image, torch.Tensor) or image.ndim != 3:
        found = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise ModelError(
            f"The preprocessing of the model gave {found}; it must give a (channels, height, width) tensor."
        )
    # numpy has no bfloat16.
    values: NDArray[Any] = (image.float() if image.dtype == torch.bfloat16 else image).detach().cpu().numpy()
    return values
