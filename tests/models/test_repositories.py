"""Models from repositories of the hub: a server on this machine, then the cache without any network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from huggingface_hub import constants, file_download
from safetensors.torch import save_file

from evalsuite.errors import ModelError, UsageError
from evalsuite.models.loading import load_model, weights_fingerprint
from evalsuite.models.names import resolve
from tests.hub_server import COMMIT, HubServer
from tests.models.tiny_transformers import save_text_model

SMALL = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], HubServer]]:
    """Point huggingface_hub, which reads its settings on import, at a server of a folder, with an empty cache."""
    servers: list[HubServer] = []

    def start(files: Path) -> HubServer:
        server = HubServer("org/name", files, "models")
        servers.append(server)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)  # 0.27's copy
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # newer than 0.27
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def loaded_twice(name: str, server: HubServer) -> Any:
    """Load a model from the hub, then from the cache alone, and return it."""
    assert weights_fingerprint(name) is None
    assert server.requests == []  # a fingerprint asks nobody
    model: Any = load_model(name)
    assert COMMIT in model.info.weights
    server.requests.clear()
    assert weights_fingerprint(name) == model.info.fingerprint
    again: Any = load_model(name, offline=True)
    assert again.info.fingerprint == model.info.fingerprint
    load_model(name)
    assert server.requests == []  # what is there is not asked for again
    return model


def test_transformers(serve: Callable[[Path], HubServer], tmp_path: Path) -> None:
    reference = save_text_model("clip", tmp_path / "files")
    model = loaded_twice("hf:org/name", serve(tmp_path / "files"))
    batch = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = reference.vision_model(pixel_values=batch).pooler_output
    assert torch.allclose(model.encode_images(batch)["penultimate"], expected, atol=1e-6)
    assert model.info.slug == "hf/org-name"
    assert resolve("hf:org/name").has_text


def test_weights_in_several_files(serve: Callable[[Path], HubServer], tmp_path: Path) -> None:
    reference = save_text_model("clip", tmp_path / "whole")
    save_text_model("clip", tmp_path / "files")
    (tmp_path / "files" / "model.safetensors").unlink()
    reference.save_pretrained(tmp_path / "files", max_shard_size="10KB")
    assert len(list((tmp_path / "files").glob("*.safetensors"))) > 1
    model = loaded_twice("hf:org/name", serve(tmp_path / "files"))
    batch = torch.randn(1, 3, 32, 32)
    whole = load_model(f"hf:{tmp_path / 'whole'}").encode_images(batch)
    assert torch.allclose(model.encode_images(batch)["embedding"], whole["embedding"], atol=1e-6)


@pytest.mark.parametrize("name", ["hf-hub:org/name", "timm:hf-hub:org/name", "timm:hf-hub:org/name@main"])
def test_timm(name: str, serve: Callable[[Path], HubServer], tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = timm.create_model("test_vit", num_classes=7, img_size=96).eval()
    save_file(reference.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "test_vit", "num_classes": 7, "model_args": {"img_size": 96},
              "pretrained_cfg": {"input_size": [3, 96, 96], "mean": [0.1, 0.2, 0.3], "std": [0.5] * 3, "crop_pct": 1.0,
                                 "interpolation": "bilinear", "num_classes": 7, "first_conv": "x"}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = loaded_twice(name, serve(tmp_path))
    batch = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = reference.forward_head(reference.forward_features(batch), pre_logits=True)
    assert torch.allclose(model.encode_images(batch)["penultimate"], expected, atol=1e-6)
    assert model.info.input_size == 96
    assert "mean (0.1, 0.2, 0.3)" in model.info.preprocessing
    assert "bilinear" in model.info.preprocessing
    assert model.info.backend == "timm"


@pytest.mark.parametrize("name", ["hf-hub:org/name", "open_clip:hf-hub:org/name", "https://huggingface.co/org/name"])
def test_open_clip(name: str, serve: Callable[[Path], HubServer], tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = open_clip.CLIP(**SMALL, quick_gelu=True).eval()
    save_file(reference.state_dict(), tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": {**SMALL, "quick_gelu": True}, "preprocess_cfg": {"mean": [0.1] * 3, "std": [0.2] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    model = loaded_twice(name, serve(tmp_path))
    batch = torch.randn(2, 3, 32, 32)
    tokens = open_clip.SimpleTokenizer(context_length=20)(["a dog", "two cats"])
    with torch.no_grad():
        assert torch.allclose(model.encode_images(batch)["embedding"], reference.encode_image(batch), atol=1e-6)
        assert torch.allclose(model.encode_texts(["a dog", "two cats"]), reference.encode_text(tokens), atol=1e-6)
    assert model.info.activation == "quickgelu"
    assert "mean (0.1, 0.1, 0.1)" in model.info.preprocessing


def test_a_folder_as_open_clip_and_timm_save_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "clip").mkdir()
    (tmp_path / "timm").mkdir()
    save_file(open_clip.CLIP(**SMALL).state_dict(), tmp_path / "clip" / "open_clip_model.safetensors")
    (tmp_path / "clip" / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": {}}))
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "timm" / "model.safetensors")
    (tmp_path / "timm" / "config.json").write_text(
        json.dumps({"architecture": "test_vit", "input_size": [3, 160, 160]})
    )
    for name, backend in (("clip", "open_clip"), ("timm", "timm")):
        resolved = resolve(str(tmp_path / name))
        assert (resolved.backend, resolved.slug) == (backend, f"{backend}/{name}")
        assert load_model(str(tmp_path / name)).info.fingerprint == weights_fingerprint(str(tmp_path / name))


def test_what_is_no_model_or_not_there_is_said(serve: Callable[[Path], HubServer], tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "config.json").write_text("{}")
    server = serve(tmp_path / "files")
    with pytest.raises(ModelError, match="of no format that is read here"):
        load_model("hf-hub:org/name")
    with pytest.raises(ModelError, match=r"config.json of hf:org/absent .*cannot be downloaded"):
        load_model("hf:org/absent")
    server.requests.clear()
    with pytest.raises(ModelError, match="offline was asked for"):
        load_model("hf:org/elsewhere", offline=True)
    assert server.requests == []
    with pytest.raises(UsageError, match="ORG/NAME@REVISION"):
        resolve("hf:what is this")
