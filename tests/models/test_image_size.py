"""Images of another size than a model's own: as the libraries do it, recorded, or refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import evalsuite
from evalsuite.errors import ModelError, UsageError
from evalsuite.models.loading import load_model, sized, weights_fingerprint
from evalsuite.models.names import resolve
from evalsuite.models.sizes import model_size
from tests.models.test_repositories import SMALL
from tests.models.tiny_transformers import save_image_model


def saved(module: nn.Module, path: Path) -> Path:
    save_file({key: value.clone() for key, value in module.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(("name", "size"), [("test_vit", 128), ("test_efficientnet", 96), ("resnet10t", 100)])
def test_timm(name: str, size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = saved(timm.create_model(name), tmp_path / "w.safetensors")
    options = {"img_size": size} if name == "test_vit" else {}
    reference: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **options)
    reference.eval()
    model = load_model(f"timm:{name}@{path}", image_size=size)
    assert model.info.input_size == size
    batch = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = reference.forward_head(reference.forward_features(batch), pre_logits=True)
    assert torch.allclose(model.encode_images(batch)["penultimate"], expected, atol=1e-6)
    resolved = resolve(f"timm:{name}@{path}")
    assert weights_fingerprint(sized(resolved, size)) == model.info.fingerprint != weights_fingerprint(resolved)


def test_open_clip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved(open_clip.CLIP(**SMALL), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL}))
    reference, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}", force_image_size=48)
    model = load_model(str(tmp_path), image_size=48)
    batch = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.allclose(model.encode_images(batch)["embedding"], reference.encode_image(batch), atol=1e-6)
    assert "size 48" in model.info.preprocessing


@pytest.mark.parametrize(("kind", "size"), [("vit", 48), ("dinov2", 48), ("convnext", 64), ("swin", 48)])
def test_transformers(kind: str, size: int, tmp_path: Path) -> None:
    reference = save_image_model(kind, tmp_path)
    model = load_model(f"hf:{tmp_path}", image_size=size)
    assert model.info.input_size == size
    batch = torch.randn(2, 3, size, size)
    stretch = {"interpolate_pos_encoding": True} if kind in ("vit", "swin") else {}
    with torch.no_grad():
        output = reference.base_model(pixel_values=batch, **stretch)
    expected = output.last_hidden_state[:, 0] if kind == "vit" else output.pooler_output
    assert torch.allclose(model.encode_images(batch)["penultimate"], expected, atol=1e-6)


def test_torchvision(tmp_path: Path) -> None:
    from torchvision import models

    torch.manual_seed(0)
    network = models.mobilenet_v3_small().eval()
    model = load_model(f"torchvision:mobilenet_v3_small@{saved(network, tmp_path / 'w.safetensors')}", image_size=112)
    assert model.info.input_size == 112
    assert "resize 128" in model.info.preprocessing
    batch = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        expected = network.classifier[:-1](network.avgpool(network.features(batch)).flatten(1))
        assert torch.allclose(model.encode_images(batch)["penultimate"], expected, atol=1e-6)


@pytest.mark.parametrize("size", [100, 7])
def test_a_size_that_the_network_cannot_take_is_one_sentence(size: int, tmp_path: Path) -> None:
    path = saved(timm.create_model("test_vit"), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=rf"cannot take images of {size} x {size} pixels: .*--image-size") as caught:
        load_model(f"timm:test_vit@{path}", image_size=size)
    assert len(str(caught.value).splitlines()) == 1


def test_models_that_have_no_choice_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--image-size: the model 'pixels' decides itself"):
        evalsuite.evaluate("pixels", "digits", image_size=32, output=tmp_path / "o", cache_dir=tmp_path / "c")
    with pytest.raises(UsageError, match="given with a preprocessing of its own"):
        model = evalsuite.load_model("pocket")
        evalsuite.evaluate(model, "digits", image_size=32, output=tmp_path / "o", cache_dir=tmp_path / "c")


def test_it_is_recorded_and_makes_results_of_its_own(tmp_path: Path) -> None:
    path = saved(timm.create_model("test_efficientnet"), tmp_path / "w.safetensors")

    def run(**options: Any) -> Any:
        places = {"output": tmp_path / "o", "cache_dir": tmp_path / "c", "limit": 40}
        name = f"timm:test_efficientnet@{path}"
        (result,) = evalsuite.evaluate(name, "digits", "linear_probe", **places, **options)
        return result

    own, small = run(), run(image_size=64)
    assert (own.status, small.status) == ("partial", "partial")
    assert small.changed_options["image_size"] == 64
    assert own.options_hash != small.options_hash
    assert own.model_fingerprint != small.model_fingerprint
    assert small.model_info.gflops < own.model_info.gflops
    counted = model_size(sized(resolve(f"timm:test_efficientnet@{path}"), 64), tmp_path / "c")
    assert counted is not None
    assert small.model_info.gflops == counted.gflops
