"""What is done to an image before the network sees it, and which part of that the device can do.

A preprocessing ends, nearly always, in ToTensor and Normalize. Where it does, worker processes hand on uint8 pixels, a
quarter of the bytes, and the device does the rest with the same arithmetic (`Recipe`, `understood`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    import torch

    from evalsuite.models.base import Preprocess

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


@dataclass(frozen=True)
class Finish:
    """The end of a preprocessing: uint8 pixels become float32, / 255, - mean, / std. None: they stay in [0, 1]."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __call__(
        self, pixels: torch.Tensor, dtype: torch.dtype | None = None, into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ([n,] channels, height, width) of uint8 pixels, on their device: the bits of torchvision.

        dtype: what the float32 values are rounded to in the end. into: memory on the CPU for the float32 values.
        """
        import torch  # here, so that a plan can ask for fingerprints without it

        from evalsuite.threads import threads

        scale, mean, std = _constants(self, pixels.device)
        if pixels.device.type != "cpu":
            return _in_few_passes(pixels, scale, mean, std, dtype or torch.float32)
        values = torch.empty_like(pixels, dtype=torch.float32) if into is None else into
        with threads(1):
            # One image fits the caches of a core, and the steps read it there.
            for part, made in zip(pixels, values, strict=True) if pixels.ndim == 4 else [(pixels, values)]:
                made.copy_(part).div_(scale)
                if mean is not None and std is not None:
                    made.sub_(mean).div_(std)
        return values if dtype is None else values.to(dtype)


def _in_few_passes(
    pixels: torch.Tensor,
    scale: torch.Tensor,
    mean: torch.Tensor | None,
    std: torch.Tensor | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Convert while dividing: on a GPU, each pass over the images takes as long as it reads and writes."""
    import torch

    values = torch.div(pixels, scale)
    if mean is None or std is None:
        return values.to(dtype)
    return torch.div(values.sub_(mean), std, out=torch.empty_like(pixels, dtype=dtype))


@lru_cache
def _constants(finish: Finish, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Return 255, mean and std as tensors on a device, made once: making them waits for the device.

    A GPU multiplies by the reciprocal of a divisor that is a number of Python's, and that gives other bits.
    """
    import torch

    def made(values: tuple[float, ...] | None) -> torch.Tensor | None:
        return None if values is None else torch.tensor(values, dtype=torch.float32).view(-1, 1, 1).to(device)

    return torch.tensor(255.0).to(device), made(finish.mean), made(finish.std)


@dataclass(frozen=True)
class Resizing:
    """What steps do to an image where it is no more than this: RGB, resize with antialias, cut out the middle.

    size: one number: of the shorter side; two: height and width; none: it stays. interpolation: torchvision's name.
    rounds_down: where the middle is between two pixels, the crop begins at the first (`MiddleCut`).
    """

    to_rgb: bool
    size: tuple[int, ...]
    interpolation: str
    crop: tuple[int, int] | None
    rounds_down: bool = False


@dataclass(frozen=True)
class RgbSquare:
    """Turn an image into RGB, side x side, bilinear."""

    side: int

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the square."""
        return image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class MiddleCut:
    """Cut out the middle as transformers does, half a pixel before torchvision where sizes differ by an odd number.

    An image that is smaller gets a black border.
    """

    height: int
    width: int

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the middle, height x width."""
        left, top = (image.width - self.width) // 2, (image.height - self.height) // 2
        return image.crop((left, top, left + self.width, top + self.height))


@dataclass(frozen=True)
class Recipe:
    """A preprocessing in two parts: steps that make 8-bit pixels of an image, and the end that a device can do."""

    steps: tuple[Callable[[Any], Any], ...]
    finish: Finish

    @cached_property
    def resizing(self) -> Resizing | None:
        """What the steps do, where another library can do it too; else None."""
        steps: list[Any] = list(self.steps)
        if len(steps) == 1 and isinstance(steps[0], RgbSquare):
            return Resizing(True, (steps[0].side,) * 2, "bilinear", None)
        rgb = bool(steps) and steps[0] is to_rgb
        size: tuple[int, ...] = ()
        interpolation, crop = "", None
        steps = steps[1:] if rgb else steps
        if steps and _kind(steps[0]) == RESIZE and steps[0].max_size is None:
            resize = steps.pop(0)
            size, interpolation = _sizes(resize.size), resize.interpolation.value
        if steps and _kind(steps[0]) == CENTER_CROP:
            cut = _sizes(steps.pop(0).size)
            crop = (cut[0], cut[-1])
        rounds_down = bool(steps) and isinstance(steps[0], MiddleCut)
        if rounds_down:
            middle = steps.pop(0)
            crop = (middle.height, middle.width)
        if rgb and steps and _kind(steps[0]) in CONVERT:
            steps.pop(0)
        known = not steps and interpolation in ("", "bilinear", "bicubic")
        return Resizing(rgb, size, interpolation, crop, rounds_down) if known else None

    def pixels(self, image: Image.Image) -> NDArray[np.uint8] | None:
        """Return the (channels, height, width) uint8 pixels of an image.

        None where the steps give no 8-bit image, or one of other channels than can be normalised.
        """
        for step in self.steps:
            image = step(image)
        values = np.asarray(image) if isinstance(image, Image.Image) else None
        if values is None or values.dtype != np.uint8:
            return None
        values = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
        return values if len(self.finish.mean or ()) in (0, 1, len(values)) else None

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return the whole preprocessing of one image, (channels, height, width) float32."""
        import torch

        pixels = self.pixels(image)
        if pixels is None:
            raise ValueError(f"an image of the mode {image.mode} gives no 8-bit pixels")
        return self.finish(torch.from_numpy(pixels.copy()))


TO_TENSOR = frozenset(
    {
        ("torchvision.transforms.transforms", "ToTensor"),
        ("timm.data.transforms", "MaybeToTensor"),
        ("open_clip.transform", "MaybeToTensor"),
    }
)
"""Transforms that divide 8-bit pixels by 255."""

RESIZE = ("torchvision.transforms.transforms", "Resize")

CENTER_CROP = ("torchvision.transforms.transforms", "CenterCrop")

CONVERT = frozenset({("open_clip.transform", "MaybeConvertMode"), ("timm.data.transforms", "MaybeConvertMode")})
"""Transforms that leave an image alone that is RGB already."""

COMPOSE = ("torchvision.transforms.transforms", "Compose")

NORMALIZE = ("torchvision.transforms.transforms", "Normalize")


def understood(preprocess: Preprocess) -> Recipe | None:
    """Return the recipe of a preprocessing that ends in ToTensor, or in ToTensor and Normalize; of others None.

    What comes before, be it somebody's own function, stays as it is. The transforms of torchvision.transforms.v2 are
    not taken apart: they multiply by 1 / 255, which gives other bits.
    """
    if isinstance(preprocess, Recipe):
        return preprocess
    steps = list(_steps(preprocess))
    normalize = steps.pop() if steps and _kind(steps[-1]) == NORMALIZE else None
    if not steps or _kind(steps[-1]) not in TO_TENSOR:
        return None
    finish = Finish() if normalize is None else Finish(_numbers(normalize.mean), _numbers(normalize.std))
    return Recipe(tuple(steps[:-1]), finish)


def _steps(preprocess: Any) -> Iterator[Any]:
    """Yield what a preprocessing does, one after the other."""
    if type(preprocess) is RgbFirst:
        yield to_rgb
        yield from _steps(preprocess.transform)
    elif _kind(preprocess) == COMPOSE:
        for transform in preprocess.transforms:
            yield from _steps(transform)
    else:
        yield preprocess


def _kind(thing: object) -> tuple[str, str]:
    return type(thing).__module__, type(thing).__qualname__


def _sizes(size: Any) -> tuple[int, ...]:
    return tuple(size) if hasattr(size, "__iter__") else (int(size),)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in (values if hasattr(values, "__iter__") else [values]))
