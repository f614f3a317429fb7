"""Models of torchvision: its own networks with random weights, in place of the files that it would download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

from evalsuite.errors import ModelError, UsageError
from evalsuite.models import torchvision_models, weights
from evalsuite.models.loading import load_model, weights_fingerprint
from evalsuite.models.names import resolve

CHEAP = ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "resnet18", "regnet_y_400mf"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def published(name: str, entry: Any, home: Path, **options: Any) -> nn.Module:
    """Write a file where torchvision keeps the published one; return the network with these weights."""
    torch.manual_seed(0)
    network: nn.Module = models.get_model(name, weights=None, **options)
    torch.save(network.state_dict(), home / entry.url.rpartition("/")[2])
    return network.eval()


@pytest.mark.parametrize("name", CHEAP)
def test_features_are_the_input_of_the_last_linear_layer(name: str, home: Path) -> None:
    entry = models.get_model_weights(name).DEFAULT
    reference: Any = published(name, entry, home)
    model = load_model(f"torchvision:{name}", offline=True)
    assert model.info.fingerprint == weights_fingerprint(f"torchvision:{name}")
    assert entry.url in model.info.weights
    batch = torch.randn(2, 3, 64, 64)
    seen: list[torch.Tensor] = []
    head = reference.get_submodule(torchvision_models.head_of(reference))
    head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        reference(batch)
    expected = seen[0] if seen[0].ndim == 2 else torch.relu(seen[0]).mean(dim=(2, 3))  # SqueezeNet's convolution
    assert torch.allclose(model.encode_images(batch)["penultimate"], expected, atol=1e-5)


def test_images_are_prepared_as_torchvision_does(home: Path) -> None:
    for name, tag in (("resnet18", "IMAGENET1K_V1"), ("efficientnet_b3", "imagenet1k_v1"), ("vit_b_16", "DEFAULT")):
        entry = models.get_model_weights(name)[tag.upper()] if tag != "DEFAULT" else models.ViT_B_16_Weights.DEFAULT
        plan = torchvision_models.make_plan(resolve(f"torchvision:{name}.{tag}"))
        image = Image.effect_noise((401, 300), 60).convert("RGB")
        assert torch.equal(torchvision_models._transform(plan)(image), entry.transforms()(image))


@pytest.mark.parametrize("name", ["densenet121", "inception_v3", "vit_b_32", "googlenet", "maxvit_t", "swin_t"])
def test_networks_are_built_as_for_published_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = models.get_model_weights(name).DEFAULT
    monkeypatch.setattr(type(entry), "get_state_dict", lambda self, **_: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    with torch.device("meta"):
        theirs, ours = (
            models.get_model(name, weights=entry),
            torchvision_models.build(resolve(f"torchvision:{name}"), entry.name),
        )
    shapes, expected = (
        {(key, value.shape) for key, value in network.state_dict().items()} for network in (ours, theirs)
    )
    assert shapes >= expected
    for setting in ("transform_input", "image_size"):
        assert getattr(ours, setting, None) == getattr(theirs, setting, None)


def test_names_in_densenets_files_are_brought_up_to_date() -> None:
    state = {"features.denseblock1.denselayer2.norm.1.weight": torch.zeros(1), "classifier.bias": torch.zeros(1)}
    assert set(torchvision_models._converted(nn.Module(), state)) == {
        "features.denseblock1.denselayer2.norm1.weight", "classifier.bias"
    }  # fmt: skip


def test_a_checkpoint_of_one_s_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.resnet18(num_classes=5)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, tmp_path / "b.pt"
    )
    model = load_model(f"torchvision:resnet18@{tmp_path / 'b.pt'}")
    assert model.info.slug == "torchvision/resnet18-b"
    network.fc = nn.Identity()
    batch = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model.encode_images(batch)["penultimate"], network.eval()(batch), atol=1e-5)


def test_a_download_is_checked(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = models.get_model_weights("squeezenet1_1").DEFAULT
    served = tmp_path / "served.pth"
    torch.save(models.squeezenet1_1().state_dict(), served)
    found = weights.UrlFile(served.as_uri(), home / entry.url.rpartition("/")[2], "0" * 8)
    monkeypatch.setattr(torchvision_models, "UrlFile", lambda *_: found)
    with pytest.raises(ModelError, match=r"cannot be downloaded from file:.*hash"):
        load_model("torchvision:squeezenet1_1")
    assert list(home.iterdir()) == []
    from evalsuite.hashing import file_sha256

    right = weights.UrlFile(found.url, found.path, file_sha256(served)[:8])
    monkeypatch.setattr(torchvision_models, "UrlFile", lambda *_: right)
    assert load_model("torchvision:squeezenet1_1").info.weights.startswith("file:")
    found.path.unlink()
    with pytest.raises(ModelError, match="offline was asked for"):
        load_model("torchvision:squeezenet1_1", offline=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:resnet51", "Did you mean resnet50"),
        ("torchvision:resnet50.IMAGENET1K_V3", "Known: IMAGENET1K_V1, IMAGENET1K_V2"),
        ("torchvision:", "torchvision:NAME.WEIGHTS"),
        ("torchvision:fcn_resnet50", "no model 'fcn_resnet50'"),
    ],
)
def test_unknown_names_say_what_there_is(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        weights_fingerprint(name)
