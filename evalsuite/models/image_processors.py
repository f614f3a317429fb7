"""The image processors of transformers as preprocessings of ours, which workers and devices share the work of.

A processor says in its attributes what it does. What we make of that is compared with the processor itself on an
image; where they differ, the processor is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from evalsuite.errors import ModelError
from evalsuite.models.base import Preprocess
from evalsuite.models.checkpoints import first_line
from evalsuite.models.preprocessing import Finish, MiddleCut, Recipe, to_rgb

INTERPOLATIONS = {
    0: transforms.InterpolationMode.NEAREST,
    1: transforms.InterpolationMode.LANCZOS,
    2: transforms.InterpolationMode.BILINEAR,
    3: transforms.InterpolationMode.BICUBIC,
}
"""Pillow's numbers, which configurations have as `resample`."""

SQUEEZED_FROM = 384
"""Sizes from which ConvNeXT's processor squeezes an image into a square; it crops below (its `resize`)."""

GREY_LEVEL = 1 / 255

TRIED = (61, 47)
"""Size of the image on which the two are compared."""


@dataclass(frozen=True)
class Processed:
    """A processor of transformers, used as it is."""

    processor: Any

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return (channels, height, width) float32."""
        made: torch.Tensor = self.processor(images=to_rgb(image), return_tensors="pt")["pixel_values"][0]
        return made.float()


def read_processor(folder: Path, name: str) -> Any:
    """Return the image processor of a model, that of Pillow where there are several; ModelError where that fails."""
    from evalsuite.models.transformers_networks import library

    try:
        return library().AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, use_fast=False)
    except (OSError, ValueError, ImportError, TypeError, KeyError) as error:
        raise ModelError(f"{name}: the image processor in {folder} cannot be read: {first_line(error)}") from error


def preprocessing(processor: Any, name: str, image_size: int | None = None) -> Preprocess:
    """Return what a processor does: a recipe where that is understood, else the processor itself.

    image_size: side of the image that the network gets, where it is to be another; ModelError where the processor
    cannot be told so.
    """
    own = recipe(processor)
    if own is None or not _agree(own, processor):
        if image_size is None:
            return Processed(processor)
        raise ModelError(f"{name}: its image processor, {type(processor).__name__}, has no other --image-size.")
    if image_size is None:
        return own
    return recipe(processor, image_size / output_size(own)) or own


def recipe(processor: Any, scale: float = 1.0) -> Recipe | None:
    """Read a processor's attributes; None where they say what is not known here. scale: of all its sizes."""
    of = _attributes(processor)
    if any(of(name) for name in ("do_pad", "do_flip_channel_order", "do_thumbnail", "rescale_offset", "include_top")):
        return None
    if not of("do_rescale") or abs(float(of("rescale_factor") or 0) - GREY_LEVEL) > 1e-6:
        return None
    steps: list[Callable[[Any], Any]] = [to_rgb]
    if of("do_resize"):
        resizing = _resizing(of, scale)
        if resizing is None:
            return None
        steps += resizing
    if of("do_center_crop"):
        height, width = _height_and_width(of("crop_size"), scale)
        steps.append(MiddleCut(height, width))
    normalised = Finish(tuple(of("image_mean")), tuple(of("image_std"))) if of("do_normalize") else Finish()
    return Recipe(tuple(steps), normalised)


def output_size(preprocess: Preprocess) -> int:
    """Return the longer side of what a preprocessing makes of an image, in pixels."""
    return max(preprocess(Image.new("RGB", TRIED)).shape[-2:])


def _attributes(processor: Any) -> Callable[[str], Any]:
    return lambda name: getattr(processor, name, None)


def _resizing(of: Callable[[str], Any], scale: float) -> list[Callable[[Any], Any]] | None:
    interpolation = INTERPOLATIONS.get(int(of("resample") if of("resample") is not None else 2))
    if interpolation is None:
        return None
    size = _known(of("size"))
    if of("crop_pct") is not None:  # ConvNeXT's
        side = _scaled(size["shortest_edge"], scale)
        if size["shortest_edge"] >= SQUEEZED_FROM:
            return [transforms.Resize((side, side), interpolation)]
        return [transforms.Resize(int(side / of("crop_pct")), interpolation), MiddleCut(side, side)]
    if set(size) == {"shortest_edge"}:
        return [transforms.Resize(_scaled(size["shortest_edge"], scale), interpolation)]
    if set(size) == {"height", "width"}:
        return [transforms.Resize(list(_height_and_width(size, scale)), interpolation)]
    return None


def _height_and_width(size: Any, scale: float) -> tuple[int, int]:
    known = _known(size)
    return _scaled(known["height"], scale), _scaled(known["width"], scale)


def _known(size: Any) -> Mapping[str, int]:
    """Return the sizes that are given, by name."""
    given = dict(size) if isinstance(size, Mapping) else dict(vars(size))
    return {key: int(value) for key, value in given.items() if value is not None}


def _scaled(size: int, scale: float) -> int:
    return round(size * scale)


def _agree(own: Recipe, processor: Any) -> bool:
    """Compare with the processor on an image: a grey level is what two ways to resize differ by."""
    values = np.random.default_rng(0).integers(0, 256, (TRIED[1] // 8 + 1, TRIED[0] // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(values).resize(TRIED, Image.Resampling.BICUBIC)
    mine, theirs = own(image), Processed(processor)(image)
    allowed = 1.01 * GREY_LEVEL / min(own.finish.std or (1.0,))
    return mine.shape == theirs.shape and bool((mine - theirs).abs().max() <= allowed)
