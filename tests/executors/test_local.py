"""Encoding on several devices, and what is said of devices that are not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from evalsuite.errors import UsageError
from evalsuite.executors.devices import choose_precisions, parse_devices
from evalsuite.executors.local import LocalExecutor
from evalsuite.features.batches import Batch
from evalsuite.features.encoding import MapBatches, Precision
from evalsuite.models.base import ImageModel
from evalsuite.models.modules import wrap_module
from evalsuite.models.preprocessing import Finish
from tests.models_for_tests import CountingModel

CPU = torch.device("cpu")


def to_float(image: Image.Image) -> torch.Tensor:
    """Return an image of 16 x 16 pixels in [0, 1]."""
    return to_tensor(image.resize((16, 16)))


def batches(count: int) -> list[Batch]:
    """Return batches of two images that are numbered."""
    return [Batch(torch.full((2, 3, 4, 4), float(number)), [2 * number, 2 * number + 1], []) for number in range(count)]


def mapping_on(devices: list[torch.device], model: ImageModel, precision: Precision = "fp32") -> MapBatches:
    """Return what encodes batches with a model on these devices."""
    return LocalExecutor(devices, [precision]).mapping(model, precision)


@pytest.mark.parametrize("devices", [1, 3])
def test_batches_come_back_in_order_whatever_the_number_of_devices(devices: int) -> None:
    mapping = mapping_on([CPU] * devices, CountingModel())
    encoded = list(mapping(batches(11)))
    assert [item.rows[0] for item in encoded] == list(range(0, 22, 2))
    for number, item in enumerate(encoded):
        assert torch.equal(item.layers["penultimate"], torch.full((2, 3), float(number)))


def test_an_error_on_one_device_reaches_the_caller() -> None:
    class Broken(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            if batch[0, 0, 0, 0] == 4:
                raise ValueError("batch 4")
            return super().encode_images(batch)

    with pytest.raises(ValueError, match="batch 4"):
        list(mapping_on([CPU, CPU], Broken())(batches(9)))


@pytest.mark.parametrize(
    ("precision", "stored"), [("fp32", torch.float32), ("bf16", torch.float32), ("fp16", torch.float16)]
)
def test_features_are_kept_in_the_precision_they_were_computed_in(precision: Precision, stored: torch.dtype) -> None:
    class Linear(CountingModel):
        layer = torch.nn.Linear(48, 5)

        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            return {"penultimate": self.layer(batch.flatten(1))}

    (item,) = mapping_on([CPU], Linear(), precision)(batches(1))
    assert item.layers["penultimate"].dtype == stored
    assert not item.layers["penultimate"].requires_grad


def test_auto_is_fp32_on_a_cpu_and_fp16_on_a_gpu_with_a_way_back() -> None:
    assert choose_precisions("auto", CPU) == ("fp32",)
    assert choose_precisions("auto", torch.device("cuda:0")) == ("fp16", "bf16", "fp32")
    assert choose_precisions("bf16", CPU) == ("bf16",)


@pytest.mark.parametrize("text", ["gpu", "cuda:x", "cpu,cpu", "cpu,cuda:0", "", "cuda:9999"])
def test_devices_that_are_not_there_are_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        parse_devices(text)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_features_of_the_cpu() -> None:
    expected = list(mapping_on([CPU], CountingModel())(batches(5)))
    found = list(mapping_on(parse_devices("cuda"), CountingModel())(batches(5)))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one.layers["penultimate"], other.layers["penultimate"])


def test_a_vision_transformer_of_clip_is_cast_once_and_is_itself_left_alone() -> None:
    torch.manual_seed(0)
    vision = {"image_size": 16, "patch_size": 4, "layers": 2, "width": 64, "head_width": 32}
    text = {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
    network = open_clip.CLIP(24, vision, text).eval()
    seen: list[torch.dtype] = []
    network.visual.ln_post.register_forward_hook(lambda part, inputs, output: seen.append(part.weight.dtype))
    live = wrap_module(network, preprocess=to_float, name="small")
    model = replace(live, mark=None)  # as if it had been loaded by its name
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    asked = [Batch(images, list(range(6)), [], Finish((0.5,) * 3, (0.25,) * 3))]
    (whole,), (half,) = (list(mapping_on([CPU], model, precision)(asked)) for precision in ("fp32", "fp16"))
    assert seen[-2:] == [torch.float32, torch.float16]
    for name, expected in whole.layers.items():
        assert half.layers[name].dtype == torch.float16
        assert float((half.layers[name].float() - expected).norm() / expected.norm()) < 3e-3
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    list(mapping_on([CPU], live, "fp16")(asked))
    assert seen[-1] == torch.float32
