"""Checkpoint files as people have them: what training programs write, what downloads leave, what fits and what not."""

from __future__ import annotations

import argparse
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.torch import save, save_file

from evalsuite.errors import ModelError, UsageError
from evalsuite.models.base import Logits
from evalsuite.models.checkpoints import read_checkpoint
from evalsuite.models.loading import known_logits, load_model, weights_fingerprint
from evalsuite.models.names import resolve
from evalsuite.models.open_clip_models import make_plan

State = dict[str, torch.Tensor]

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
CLIP = {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT}


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of timm's test_resnet."""
    torch.manual_seed(0)
    return dict(timm.create_model("test_resnet").state_dict())


@pytest.fixture(scope="module")
def other() -> State:
    """Other weights of the same network."""
    torch.manual_seed(1)
    return dict(timm.create_model("test_resnet").state_dict())


@pytest.fixture
def clip(tmp_path: Path) -> State:
    """Weights of a small CLIP, whose architecture is in the file next to the checkpoints."""
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP}))
    torch.manual_seed(0)
    text, vision = open_clip.CLIPTextCfg(**TEXT), open_clip.CLIPVisionCfg(**VISION)
    return dict(open_clip.CLIP(12, vision, text).state_dict())


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def loaded(name: str) -> Any:
    return load_model(name)


def holds(model: Any, state: State) -> bool:
    """Tell whether the encoder of a model has these weights."""
    own = model.module.state_dict()
    return all(torch.equal(own[name], value) for name, value in state.items() if not name.startswith("fc."))


FORMS: dict[str, Callable[[State, State], Any]] = {
    "plain": lambda state, other: state,
    "timm train.py": lambda state, other: {
        "epoch": 3,
        "arch": "test_resnet",
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(model="test_resnet", lr=0.1),
        "metric": np.float64(71.5),
    },
    "averaged, timm": lambda state, other: {"state_dict": other, "state_dict_ema": state},
    "averaged, DeiT": lambda state, other: {"model": other, "model_ema": state, "epoch": 1},
    "averaged alone": lambda state, other: {"state_dict_ema": prefixed("module.", state)},
    "MAE": lambda state, other: {"model": state, "optimizer": {}},
    "DeepSpeed": lambda state, other: {"module": state, "ds_config": {"zero": 1}},
    "Lightning": lambda state, other: {"state_dict": prefixed("model.", state), "pytorch-lightning_version": "2"},
    "Lightning, compiled": lambda state, other: {"state_dict": prefixed("model._orig_mod.", state)},
    "DataParallel": lambda state, other: {"state_dict": prefixed("module.", state)},
    "DDP of compiled": lambda state, other: prefixed("module._orig_mod.", state),
    "compiled DDP": lambda state, other: prefixed("_orig_mod.module.", state),
    "FSDP": lambda state, other: prefixed("_fsdp_wrapped_module.", state),
    "MoCo": lambda state, other: {
        "state_dict": {**prefixed("module.encoder_q.", state), **prefixed("module.encoder_k.", other)}
    },
    "DINO": lambda state, other: {
        "student": prefixed("module.backbone.", other),
        "teacher": {**prefixed("backbone.", state), "head.mlp.0.weight": torch.zeros(3)},
    },
    "DINOv2, flat": lambda state, other: {
        **prefixed("student.backbone.", other),
        **prefixed("teacher.backbone.", state),
    },
    "a wrapper of one's own": lambda state, other: OrderedDict(prefixed("net.encoder.trunk.", state)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_training_programs(form: str, tmp_path: Path, state: State, other: State) -> None:
    torch.save(FORMS[form](state, other), tmp_path / "w.pth")
    name = f"timm:test_resnet@{tmp_path / 'w.pth'}"
    model = loaded(name)
    assert holds(model, state)
    assert not holds(model, other)
    assert weights_fingerprint(name) == model.info.fingerprint


def test_averaged_weights_are_said_and_have_a_fingerprint_of_their_own(
    tmp_path: Path, state: State, other: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"state_dict": other, "state_dict_ema": state}, tmp_path / "w.pth")
    name = f"timm:test_resnet@{tmp_path / 'w.pth'}"
    info = loaded(name).info
    assert info.details["checkpoint"]["part"] == "state_dict_ema"
    assert info.warnings == ("w.pth: the weights under state_dict_ema were read, not state_dict.",)
    # A stored number of the other weights of this very file is no answer.
    monkeypatch.setattr("evalsuite.models.plans._part_read", lambda path: None)
    assert weights_fingerprint(name) != info.fingerprint


def test_plain_files_say_nothing_and_keep_their_fingerprint(tmp_path: Path, state: State) -> None:
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    info = loaded(f"timm:test_resnet@{tmp_path / 'w.pth'}").info
    assert info.warnings == ()
    assert "warnings" not in info.model_dump()


def test_an_encoder_without_its_classifier(tmp_path: Path, state: State) -> None:
    encoder = {name: value for name, value in state.items() if not name.startswith("fc.")}
    torch.save({**encoder, "projector.0.weight": torch.zeros(4, 4), "mask_token": torch.zeros(1)}, tmp_path / "w.pth")
    model = loaded(f"timm:test_resnet@{tmp_path / 'w.pth'}")
    assert holds(model, encoder)
    assert model.info.details["checkpoint"] == {"left_out": ["mask_token", "projector"], "filled": ["fc"]}
    assert any("mask_token, projector" in said for said in model.info.warnings)


def test_a_head_of_several_layers_is_left_out(tmp_path: Path, state: State) -> None:
    encoder = {name: value for name, value in state.items() if not name.startswith("fc.")}
    torch.save({**encoder, "fc.0.weight": torch.zeros(4, 4), "fc.2.weight": torch.zeros(4, 4)}, tmp_path / "w.pth")
    assert holds(loaded(f"timm:test_resnet@{tmp_path / 'w.pth'}"), encoder)


def test_a_deeper_network_is_not_cut(tmp_path: Path) -> None:
    deeper = timm.create_model("test_vit", depth=8).state_dict()
    torch.save(deeper, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"has the unknown blocks\.6"):
        load_model(f"timm:test_vit@{tmp_path / 'w.pth'}")


def test_image_positions_are_not_stretched(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit", img_size=224).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"pos_embed.*another image or patch size"):
        load_model(f"timm:test_vit@{tmp_path / 'w.pth'}")


def test_names_of_another_release_of_timm_are_converted(tmp_path: Path) -> None:
    current = dict(timm.create_model("convnext_atto").state_dict())
    original = {  # as the authors of ConvNeXt name them
        name.replace("stem.", "downsample_layers.0.").replace("head.fc.", "head.").replace("head.norm.", "norm."): value
        for name, value in current.items()
        if not name.startswith("stages.")
    }
    converter = timm.models.convnext.checkpoint_filter_fn
    assert "stem.0.weight" in converter(dict(original), timm.create_model("convnext_atto"))
    for name, value in current.items():
        if name.startswith("stages."):
            _, stage, rest = name.split(".", 2)
            if rest.startswith("downsample."):
                original[f"downsample_layers.{stage}.{rest.removeprefix('downsample.')}"] = value
            else:
                rest = rest.replace("blocks.", "").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
                original[f"stages.{stage}.{rest}"] = value
    torch.save({"model": original}, tmp_path / "w.pth")
    model = loaded(f"timm:convnext_atto@{tmp_path / 'w.pth'}")
    assert all(torch.equal(model.module.state_dict()[name], value) for name, value in current.items())


def test_sets_that_fit_equally_are_not_guessed_at(tmp_path: Path, state: State, other: State) -> None:
    torch.save({**prefixed("left.", state), **prefixed("right.", other)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"2 sets of weights that fit equally well \(left\., right\.\)"):
        load_model(f"timm:test_resnet@{tmp_path / 'w.pth'}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS pointer"),
        (b"\n <!DOCTYPE html><html>Sign in</html>", "web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5"),
        (b"GGUF" + bytes(60), "GGUF"),
        (b"\x1f\x8b\x08" + bytes(60), "compressed"),
        (b"PK\x03\x04" + bytes(60), "damaged or cut short"),
        (b"\x80\x02cut", "damaged, or no file of torch.save"),
        (b"not a checkpoint", "neither safetensors nor"),
    ],
)
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_what_is_no_weights_is_named(content: bytes, said: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=said) as caught:
        load_model(f"timm:test_resnet@{tmp_path / name}")
    assert "weights_only=False" not in str(caught.value)
    assert str(caught.value).count("\n") < 3


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
def test_the_content_says_what_a_file_is_not_its_name(name: str, tmp_path: Path, state: State) -> None:
    (tmp_path / name).write_bytes(save({key: value.clone() for key, value in state.items()}))
    assert holds(loaded(f"timm:test_resnet@{tmp_path / name}"), state)
    torch.save(state, tmp_path / name)
    assert holds(loaded(f"timm:test_resnet@{tmp_path / name}"), state)


def test_a_torchscript_archive_is_converted_by_the_line_that_is_told(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"TorchScript.*torch\.jit\.load"):
        load_model(f"timm:test_resnet@{tmp_path / 'w.pt'}")


def test_what_needs_code_is_named(tmp_path: Path, state: State) -> None:
    torch.save({"state_dict": state, "ratio": Fraction(1, 2)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"needs Python code to load \(fractions\.Fraction\), which is refused"):
        read_checkpoint(tmp_path / "w.pt")


def test_both_shapes_are_named(tmp_path: Path, clip: State) -> None:
    wider = {**clip, "text_projection": torch.zeros(24, 12)}
    torch.save(wider, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"text_projection \(24 x 12 in the file, 16 x 12 in the network\)"):
        load_model(f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}")


@pytest.mark.parametrize("tokens", [32, 248])
def test_text_positions_are_not_stretched(tokens: int, tmp_path: Path, clip: State) -> None:
    torch.save({"state_dict": {**clip, "positional_embedding": torch.randn(tokens, 16)}}, tmp_path / "w.pt")
    name = f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}"
    with pytest.raises(ModelError, match=rf'texts of {tokens} tokens.*"context_length": {tokens}'):
        load_model(name)
    config = {**CLIP, "text_cfg": {**TEXT, "context_length": tokens}}  # the remedy that was told
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    model = loaded(name)
    assert model.tokenizer(["a"]).shape == (1, tokens)
    assert model.encode_texts(["a photo of a dog"]).shape == (1, 12)


@pytest.mark.parametrize("bias", [torch.tensor(-10.0), torch.tensor([-10.0])])
def test_a_bias_of_the_logits_is_kept(bias: torch.Tensor, tmp_path: Path, clip: State) -> None:
    torch.save({**clip, "logit_bias": bias}, tmp_path / "w.pt")
    model = loaded(f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}")
    assert model.module.logit_bias.item() == -10.0
    assert model.info.logit_bias == -10.0
    assert known_logits(f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}") == Logits(model.info.logit_scale, -10.0)


def test_weights_without_a_bias_have_none_in_a_network_that_has_one(tmp_path: Path, clip: State) -> None:
    torch.save(clip, tmp_path / "w.pt")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**CLIP, "init_logit_bias": -10}}))
    model = loaded(f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}")
    assert (model.module.logit_bias.item(), model.info.logit_bias) == (0.0, None)


def test_the_scale_of_the_logits_is_that_of_the_weights(tmp_path: Path, clip: State) -> None:
    for name in ("w.pt", "w.safetensors"):
        state = {**clip, "logit_scale": torch.tensor(3.0)}
        if name == "w.pt":
            torch.save(state, tmp_path / name)
        else:
            save_file({key: value.clone() for key, value in state.items()}, tmp_path / name)
        model = loaded(f"open_clip:ViT-B-32/{tmp_path / name}")
        assert model.info.logit_scale == pytest.approx(math.exp(3.0))
        assert known_logits(f"open_clip:ViT-B-32/{tmp_path / name}") == Logits(model.info.logit_scale)


def test_open_clip_checkpoints_are_unwrapped_too(tmp_path: Path, clip: State) -> None:
    for form in ("MAE", "DataParallel", "DDP of compiled", "averaged alone", "DeepSpeed", "Lightning"):
        torch.save(FORMS[form](clip, clip), tmp_path / "w.pt")
        model = loaded(f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}")
        assert torch.equal(model.module.visual.proj, clip["visual.proj"]), form


def test_the_configuration_next_to_the_weights_is_read(tmp_path: Path, clip: State) -> None:
    save_file({name: value.clone() for name, value in clip.items()}, tmp_path / "w.safetensors")
    settings = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}
    content = {"model_cfg": {**CLIP, "quick_gelu": True}, "preprocess_cfg": settings}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    name = f"open_clip:ViT-B-32/{tmp_path / 'w.safetensors'}"
    plan = make_plan(resolve(name))
    assert {key: plan.preprocessing[key] for key in settings} == settings
    info = loaded(name).info
    assert (info.activation, info.layers["penultimate"]) == ("quickgelu", 32)
    assert info.details["config"] == "open_clip_config.json"
    (tmp_path / "open_clip_config.json").write_text('{"a": 1e999, "model_cfg": {"vision_cfg": 3}}')
    with pytest.raises(ModelError, match=r"what it is cannot be told \(AttributeError.*configuration next to"):
        weights_fingerprint(name)
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"open_clip_config\.json, the configuration next to the weights, is not"):
        load_model(name)


def test_timm_s_configuration_next_to_the_weights_is_read(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "w.pth")
    name = f"timm:test_resnet@{tmp_path / 'w.pth'}"
    plain = loaded(name).info
    own = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "crop_pct": 1.0, "input_size": [3, 128, 128]}
    content = {"architecture": "test_resnet", "num_classes": 10, "pretrained_cfg": own}
    (tmp_path / "config.json").write_text(json.dumps(content))
    found = loaded(name).info
    assert found.input_size == 128
    assert "mean (0.5, 0.5, 0.5), std (0.25, 0.25, 0.25)" in found.preprocessing
    assert found.fingerprint != plain.fingerprint
    (tmp_path / "config.json").write_text(json.dumps({**content, "architecture": "resnet50"}))
    other = loaded(name).info
    assert other.fingerprint == plain.fingerprint
    assert "config.json next to it is of resnet50" in other.warnings[0]


def test_a_tag_says_how_a_checkpoint_was_trained(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"x")
    tagged = make_plan(resolve(f"open_clip:ViT-B-32/openai@{path}"))
    bare = make_plan(resolve(f"open_clip:ViT-B-32/{path}"))
    assert (tagged.quickgelu, tagged.warnings, tagged.place) == (True, (), path)
    assert tagged.architecture == make_plan(resolve("ViT-B/32")).architecture
    assert bare.quickgelu is False
    assert "open_clip:ViT-B-32/TAG@PATH" in bare.warnings[0]
    assert "QuickGELU as" in bare.warnings[0]
    assert make_plan(resolve(f"open_clip:RN50-quickgelu/{path}")).quickgelu
    with pytest.raises(UsageError, match="leave out"):
        resolve(f"open_clip:ViT-B-32/openai@{path}?quickgelu")
    with pytest.raises(UsageError, match="Did you mean openai"):
        make_plan(resolve(f"open_clip:ViT-B-32/opnai@{path}"))
    odd = tmp_path / "a@b.pt"
    odd.write_bytes(b"x")
    assert resolve(f"open_clip:ViT-B-32/{odd}").checkpoint == odd


def test_a_file_without_a_tag_is_prepared_as_the_published_weights_are(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"x")
    siglip = make_plan(resolve(f"open_clip:ViT-B-16-SigLIP/{path}"))
    assert siglip.preprocessing == make_plan(resolve("open_clip:ViT-B-16-SigLIP/webli")).preprocessing
    assert siglip.warnings == ()


def test_a_zip_whose_names_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.ones(3)}, path)
    content = path.read_bytes()
    place = content.rindex(b"data.pkl")  # in the directory at the end
    flags = content.rindex(b"PK\x01\x02", 0, place) + 8
    content = content[:flags] + b"\x00\x08" + content[flags + 2 : place] + b"\xe4" + content[place + 1 :]
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.pt: is damaged or cut short \('utf-8' codec"):
        read_checkpoint(path)
