"""timm models: a small network with random weights in a file, compared with timm alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from evalsuite.errors import ModelError, UsageError
from evalsuite.models.base import ImageModel, ImageTextModel
from evalsuite.models.loading import load_model, weights_fingerprint
from evalsuite.models.names import resolve
from evalsuite.models.timm_models import make_plan


def save_random(name: str, path: Path, **options: int) -> torch.nn.Module:
    torch.manual_seed(0)
    module = timm.create_model(name, **options).eval()
    save_file({key: value.clone() for key, value in module.state_dict().items()}, path)
    return module


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "resnet10t"])
def test_features_are_the_input_of_the_classifier(name: str, tmp_path: Path) -> None:
    reference = save_random(name, tmp_path / "w.safetensors")
    model = load_model(f"timm:{name}@{tmp_path / 'w.safetensors'}")
    assert isinstance(model, ImageModel)
    assert not isinstance(model, ImageTextModel)
    batch = torch.randn(2, 3, model.info.input_size, model.info.input_size)
    found = model.encode_images(batch)["penultimate"]
    assert found.shape[1] == model.info.layers["penultimate"]
    with torch.no_grad():
        assert torch.allclose(reference.get_classifier()(found), reference(batch), atol=1e-5)
    assert model.info.parameters == sum(p.numel() for p in reference.parameters()) - sum(
        p.numel() for p in reference.get_classifier().parameters()
    )


def test_preprocessing_is_timm_s(tmp_path: Path) -> None:
    reference = save_random("test_vit", tmp_path / "w.safetensors")
    model = load_model(f"timm:test_vit@{tmp_path / 'w.safetensors'}")
    config = timm.data.resolve_model_data_config(reference)
    assert make_plan(resolve("timm:test_vit.r160_in1k")).preprocessing == config
    image = Image.effect_noise((200, 180), 60).convert("RGB")
    assert torch.equal(model.preprocess(image), timm.data.create_transform(**config, is_training=False)(image))
    assert model.preprocess(image.convert("P")).shape == (3, 160, 160)


def test_a_classifier_of_other_classes_is_no_obstacle(tmp_path: Path) -> None:
    reference = save_random("test_vit", tmp_path / "w.safetensors", num_classes=7)
    model = load_model(f"timm:test_vit@{tmp_path / 'w.safetensors'}")
    batch = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        expected = reference.forward_head(reference.forward_features(batch), pre_logits=True)
    assert torch.allclose(model.encode_images(batch)["penultimate"], expected, atol=1e-6)


def test_a_checkpoint_of_another_architecture_is_named(tmp_path: Path) -> None:
    save_random("test_efficientnet", tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"does not fit timm test_vit: it lacks blocks\.0.*and \d+ more.*another one"):
        load_model(f"timm:test_vit@{tmp_path / 'w.safetensors'}")


def test_fingerprint_is_known_before_loading_and_follows_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    name = f"timm:test_vit@{path}"
    module = save_random("test_vit", path)
    first = weights_fingerprint(name)
    assert first == load_model(name).info.fingerprint
    state = {key: value.clone() for key, value in module.state_dict().items()}
    state["norm.bias"][0] += 1e-3
    save_file(state, path)
    assert weights_fingerprint(name) != first


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnet18.a1_in2k", "resnet18.a1_in1k"),
        ("timm:rsnet18", "resnet18"),
        ("timm:test_vit.nope", "test_vit.r160_in1k"),
    ],
)
def test_unknown_names_offer_the_nearest(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        weights_fingerprint(name)


def test_a_model_without_published_weights_says_so() -> None:
    with pytest.raises(ModelError, match=r"no pretrained weights for resnet50t\. .*timm:resnet50t@/path"):
        load_model("timm:resnet50t", offline=True)
    assert weights_fingerprint("timm:resnet50t") is None
