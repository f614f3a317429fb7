"""Preprocessing that is taken apart gives the bits that it gives whole."""

from __future__ import annotations

import io

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

from evalsuite.models.pixels import preprocess_pixels
from evalsuite.models.pocket import load_pocket
from evalsuite.models.preprocessing import (
    Finish,
    MiddleCut,
    Recipe,
    Resizing,
    RgbFirst,
    RgbSquare,
    to_grey,
    to_rgb,
    understood,
)

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def photo(mode="RGB", size=(150, 97)):
    """Return a JPEG of smooth noise, in a mode."""
    values = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG")
    return Image.open(file).convert(mode)


def open_clip_transform(**config):
    return open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(size=64, **config), is_train=False)


def timm_transform(name):
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    return timm.data.create_transform(**config, is_training=False)


def composed(*steps):
    return transforms.Compose([*steps, transforms.ToTensor()])


UNDERSTOOD = {
    "open_clip": lambda: RgbFirst(open_clip_transform()),
    "open_clip, squash": lambda: RgbFirst(open_clip_transform(resize_mode="squash")),
    "open_clip, longest": lambda: RgbFirst(open_clip_transform(resize_mode="longest")),
    "timm": lambda: RgbFirst(timm_transform("resnet18.a1_in1k")),
    "timm, bicubic": lambda: RgbFirst(timm_transform("tf_efficientnet_lite0.in1k")),
    "pocket": lambda: load_pocket().preprocess,
    "pixels": lambda: preprocess_pixels,
    "ToTensor": composed,
    "Resize, CenterCrop, ToTensor": lambda: composed(transforms.Resize(80), transforms.CenterCrop(64)),
    "somebody's own, then ToTensor": lambda: composed(lambda image: image.rotate(90)),
    "all of torchvision": lambda: transforms.Compose(
        [composed(transforms.Resize((64, 64)), transforms.CenterCrop(48)), transforms.Normalize(MEAN, STD)]
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_pixels_and_the_end_on_the_device_are_the_bits_of_the_whole(name: str) -> None:
    whole = UNDERSTOOD[name]()
    recipe = understood(whole)
    assert recipe is not None
    pixels = torch.from_numpy(recipe.pixels(photo()).copy())
    assert pixels.dtype == torch.uint8
    block = torch.stack([pixels, pixels])
    assert torch.equal(recipe.finish(block)[1], whole(photo()))
    assert block.dtype == torch.uint8 and torch.equal(block[1], pixels)


def test_every_grey_level_has_the_bits_of_to_tensor_and_normalize() -> None:
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    whole = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    recipe = understood(whole)
    assert torch.equal(recipe.finish(torch.from_numpy(recipe.pixels(image).copy())), whole(image))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_other_8_bit_modes_are_the_same_bits_too(mode: str) -> None:
    whole = composed(transforms.Resize(80))
    recipe = understood(whole)
    assert torch.equal(recipe.finish(torch.from_numpy(recipe.pixels(photo(mode)).copy())), whole(photo(mode)))


@pytest.mark.parametrize("mode", ["1", "I", "F"])
def test_images_that_are_not_8_bit_are_left_to_the_whole(mode: str) -> None:
    assert understood(composed(transforms.Resize(80))).pixels(photo("L").convert(mode)) is None


def steps(*given):
    return Recipe(given, Finish())


BICUBIC = transforms.InterpolationMode.BICUBIC


@pytest.mark.parametrize(
    ("recipe", "known"),
    [
        (steps(), Resizing(False, (), "", None)),
        (steps(RgbSquare(9)), Resizing(True, (9, 9), "bilinear", None)),
        (steps(to_rgb, transforms.Resize(80)), Resizing(True, (80,), "bilinear", None)),
        (steps(transforms.Resize((80, 64), BICUBIC)), Resizing(False, (80, 64), "bicubic", None)),
        (steps(to_rgb, transforms.CenterCrop((48, 32))), Resizing(True, (), "", (48, 32))),
        (steps(transforms.Resize(80), transforms.CenterCrop(64)), Resizing(False, (80,), "bilinear", (64, 64))),
        (steps(to_rgb, transforms.Resize(80), MiddleCut(48, 32)), Resizing(True, (80,), "bilinear", (48, 32), True)),
        (understood(RgbFirst(open_clip_transform())), Resizing(True, (64,), "bicubic", (64, 64))),
        (steps(transforms.Resize(80, max_size=90)), None),
        (steps(transforms.Resize(80, transforms.InterpolationMode.NEAREST)), None),
        (steps(transforms.CenterCrop(64), transforms.Resize(80)), None),
        (steps(transforms.Resize(80), to_rgb), None),
        (steps(transforms.Grayscale(), transforms.Resize(80)), None),
    ],
)
def test_what_another_decoder_may_do_is_told_exactly(recipe, known) -> None:
    assert recipe.resizing == known


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (61, 90), (20, 30)])
def test_the_middle_is_that_of_transformers(size) -> None:
    from transformers.image_transforms import center_crop

    image = photo(size=size)
    wanted = center_crop(np.asarray(image), (48, 64), input_data_format="channels_last")
    assert np.array_equal(np.asarray(MiddleCut(48, 64)(image)), wanted)


@pytest.mark.parametrize("finish", [Finish(), Finish(MEAN, STD)])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_the_end_on_another_device_has_its_form_and_type(finish, dtype) -> None:
    pixels = torch.zeros(2, 3, 5, 4, dtype=torch.uint8, device="meta")
    found = finish(pixels, dtype)
    assert (found.shape, found.dtype, found.device.type) == (pixels.shape, dtype or torch.float32, "meta")


def test_of_16_bits_the_upper_8_are_kept_by_rounding() -> None:
    levels = np.arange(256, dtype=np.uint16)
    for shift, expected in ((0, levels), (-128, levels), (128, levels), (129, levels + 1)):  # 65,535 / 255 = 257
        values = np.clip(257 * levels.astype(int) + shift, 0, 65_535).astype(np.uint16)
        grey = to_grey(Image.fromarray(values.reshape(16, 16)))
        assert grey.mode == "L" and np.asarray(grey).flatten().tolist() == np.minimum(expected, 255).tolist()
        assert np.asarray(to_rgb(Image.fromarray(values.reshape(16, 16))))[..., 2].tolist() == np.asarray(grey).tolist()


def test_a_palette_is_turned_into_colours_before_anything_is_resized() -> None:
    image, resize = photo().quantize(8), open_clip_transform()
    assert torch.equal(RgbFirst(resize)(image), resize(image.convert("RGB")))
    assert not torch.equal(resize(image), resize(image.convert("RGB")))


def multiplied(image):
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(image)


class TwiceAsBright(transforms.ToTensor):
    def __call__(self, image):
        return 2 * super().__call__(image)


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda image: torch.zeros(3, 4, 4),
        multiplied,
        transforms.Compose([TwiceAsBright()]),
        transforms.Compose([transforms.ToTensor(), transforms.RandomErasing()]),
        transforms.Compose([transforms.PILToTensor(), transforms.ConvertImageDtype(torch.float32)]),
        transforms.Compose([]),
    ],
)
def test_what_does_something_else_at_the_end_is_not_taken_apart(preprocess) -> None:
    assert understood(preprocess) is None
