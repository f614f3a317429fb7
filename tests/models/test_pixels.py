"""The pixels model: shapes and values of the images it was made for, and of awkward ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from evalsuite.models.base import ImageModel, ImageTextModel
from evalsuite.models.loading import load_model, weights_fingerprint
from evalsuite.models.pixels import preprocess_pixels


def random_image(mode: str, size: tuple[int, int]) -> Image.Image:
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    return Image.fromarray(values, mode)


@pytest.mark.parametrize(
    ("image", "dim"),
    [
        (random_image("L", (28, 28)), 784),  # MNIST
        (random_image("L", (8, 8)), 64),  # scikit-learn's digits
        (random_image("RGB", (32, 32)), 3072),  # CIFAR
        (random_image("L", (48, 48)), 3072),  # FER 2013
        (random_image("RGB", (29, 30)), 3072),  # GTSRB: images of many sizes, some below 32
        (random_image("L", (300, 200)), 3072),  # a grey photo among coloured ones
        (random_image("L", (20, 40)), 3072),
        (random_image("L", (33, 8)), 3072),
        (random_image("CMYK", (300, 200)), 3072),
        (random_image("RGBA", (64, 64)), 3072),
        (random_image("RGB", (64, 64)).convert("P"), 3072),
        (random_image("L", (28, 28)).convert("1"), 784),
    ],
)
def test_length_and_range(image: Image.Image, dim: int) -> None:
    model = load_model("pixels")
    features = model.encode_images(torch.stack([model.preprocess(image)] * 2))["penultimate"]
    assert features.shape == (2, dim)
    assert features.dtype == torch.float32
    assert 0 <= features.min() < features.max() <= 1


def test_small_grey_and_cifar_images_are_as_they_are() -> None:
    grey, colour = random_image("L", (28, 28)), random_image("RGB", (32, 32))
    assert np.array_equal(preprocess_pixels(grey)[0].numpy() * 255, np.asarray(grey, dtype=np.float32))
    assert np.allclose(preprocess_pixels(colour).permute(1, 2, 0).numpy() * 255, np.asarray(colour), atol=1e-4)


def test_sixteen_bit_images_are_scaled_not_clipped() -> None:
    values = np.array([[0, 32768, 65535]], dtype=np.uint16)
    found = preprocess_pixels(Image.fromarray(values)).flatten().tolist()
    assert found == pytest.approx([0, 0.5, 1], abs=0.003)


def test_it_is_an_image_model_without_text_and_knows_its_fingerprint() -> None:
    model = load_model("pixels")
    assert isinstance(model, ImageModel)
    assert not isinstance(model, ImageTextModel)
    assert model.info.fingerprint == weights_fingerprint("pixels")
    assert model.info.layers == {"penultimate": 0}
