"""Names as people type them who come from other tools: each works or says in a line or two what to write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from evalsuite.errors import UsageError
from evalsuite.models.names import known_names, open_clip_architectures, resolve
from evalsuite.models.spellings import paired, with_weights
from tests.processes import WarmCli


@pytest.mark.parametrize(
    ("typed", "backend", "target"),
    [
        ("ViT-B-32,openai", "open_clip", "ViT-B-32/openai"),
        ("ViT-B-32/openai", "open_clip", "ViT-B-32/openai"),
        ("ViT-B-32:openai", "open_clip", "ViT-B-32/openai"),
        ("ViT-B-32:laion2b_s34b_b79k", "open_clip", "ViT-B-32/laion2b_s34b_b79k"),
        ("openclip:ViT-B-32/openai", "open_clip", "ViT-B-32/openai"),
        ("OpenCLIP:ViT-B-32/laion2b_e16", "open_clip", "ViT-B-32/laion2b_e16"),
        ("open-clip:ViT-B-32/laion2b_e16", "open_clip", "ViT-B-32/laion2b_e16"),
        ("clip:ViT-B/32", "open_clip", "ViT-B-32/openai"),
        ("ViT-L/14@336", "open_clip", "ViT-L-14-336/openai"),
        ("openai/clip-vit-base-patch32", "open_clip", "ViT-B-32/openai"),
        ("openai/clip-vit-base-patch16", "open_clip", "ViT-B-16/openai"),
        ("openai/clip-vit-large-patch14-336", "open_clip", "ViT-L-14-336/openai"),
        ("hf-hub:openai/clip-vit-large-patch14", "open_clip", "ViT-L-14/openai"),
        ("hf:openai/clip-vit-large-patch14", "hf", "openai/clip-vit-large-patch14"),
        ("hf:facebook/dinov2-base@main", "hf", "facebook/dinov2-base@main"),
        ("https://huggingface.co/openai/clip-vit-large-patch14", "open_clip", "ViT-L-14/openai"),
        ("google/siglip-base-patch16-224", "open_clip", "ViT-B-16-SigLIP/webli"),
        ("google/siglip-large-patch16-384", "open_clip", "ViT-L-16-SigLIP-384/webli"),
        ("google/siglip-so400m-patch14-384", "open_clip", "ViT-SO400M-14-SigLIP-384/webli"),
        ("hf-hub:timm/ViT-B-16-SigLIP", "open_clip", "ViT-B-16-SigLIP/webli"),
        ("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip", "ViT-B-32/laion2b_s34b_b79k"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip", "ViT-B-32/laion2b_s34b_b79k"),
        ("facebook/dinov2-base", "timm", "vit_base_patch14_dinov2.lvd142m"),
        ("facebook/dinov2-with-registers-small", "timm", "vit_small_patch14_reg4_dinov2.lvd142m"),
        ("dinov2_vitl14", "timm", "vit_large_patch14_dinov2.lvd142m"),
        ("dinov2_vitb14_reg", "timm", "vit_base_patch14_reg4_dinov2.lvd142m"),
        ("timm/resnet50.tv_in1k", "timm", "resnet50.tv_in1k"),
        ("timm:hf-hub:timm/resnet50.tv_in1k", "timm", "resnet50.tv_in1k"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm", "resnet18.a1_in1k"),
        ("hf_hub:timm/resnet18.a1_in1k", "timm", "resnet18.a1_in1k"),
        ("hf-hub:somebody/something", "hub", "somebody/something"),
        ("open_clip:hf-hub:somebody/something", "open_clip", "somebody/something"),
        ("timm:hf-hub:somebody/something", "timm", "somebody/something"),
        ("https://huggingface.co/somebody/something", "hub", "somebody/something"),
        ("torchvision:resnet50", "torchvision", "resnet50"),
        ("torchvision:resnet50.IMAGENET1K_V2", "torchvision", "resnet50.IMAGENET1K_V2"),
    ],
)
def test_names_of_other_tools(typed: str, backend: str, target: str) -> None:
    resolved = resolve(typed)
    assert (resolved.name, resolved.backend, resolved.target) == (typed, backend, target)


def test_the_other_spelling_is_the_same_model() -> None:
    assert {resolve(name).slug for name in ("ViT-B-32,openai", "openai/clip-vit-base-patch32", "ViT-B/32")} == {
        "clip/vit-b-32"
    }


def test_every_target_of_a_spelling_exists() -> None:
    import open_clip
    import timm

    known = {f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained()} | set(timm.list_pretrained())
    (table,) = (mark.args[1] for mark in test_names_of_other_tools.pytestmark)  # type: ignore[attr-defined]
    named = [(backend, target) for typed, backend, target in table if "somebody" not in typed]
    assert {target for backend, target in named if backend in ("open_clip", "timm")} <= known


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("my.pt", ["open_clip:ARCH/TAG@my.pt", "timm:NAME@my.pt"]),
        ("runs/epoch_5.safetensors", ["timm:NAME@runs/epoch_5.safetensors"]),
        ("model.onnx", [".onnx files are not read", "my_model.py:factory"]),
        ("model.engine", [".engine files are not read"]),
        ("microsoft/swin-tiny-patch4-window7-224", ["hf:microsoft/swin-tiny-patch4-window7-224 (transformers)"]),
        ("simclrv2/r50x1", ["a row of the paper's table 10", "TensorFlow"]),
        ("torchvision:resnet50@", ["torchvision:NAME@PATH"]),
        ("features:nowhere", ["features:DIR", "no folder"]),
        ("ViT-B-32", ["open_clip:ViT-B-32/TAG"]),
    ],
)
def test_refusals_say_what_to_write(typed: str, said: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(typed)
    for words in said:
        assert words in str(caught.value)
    if typed != "ViT-B-32":
        assert len(str(caught.value).splitlines()) <= 3


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="It is a folder"):
        resolve(str(tmp_path))


def test_a_comma_between_architecture_and_weights_parts_no_models() -> None:
    def joined(*names: str) -> list[str]:
        return paired(names, open_clip_architectures(), known_names())

    assert joined("ViT-B-32", "openai", "pocket") == ["ViT-B-32,openai", "pocket"]
    assert joined("pocket", "ViT-B-32", "laion2b_e16", "RN50") == ["pocket", "ViT-B-32,laion2b_e16", "RN50"]
    assert joined("RN50", "pixels") == ["RN50", "pixels"]


def test_architecture_and_weights_given_apart() -> None:
    assert with_weights(["ViT-B-32", "ViT-B/16"], ["openai", "my.pt"]) == [
        "open_clip:ViT-B-32/openai",
        "open_clip:ViT-B-16/my.pt",
    ]
    assert with_weights(["open_clip:RN50", "timm:resnet50"], ["cc12m", "tv_in1k"]) == [
        "open_clip:RN50/cc12m",
        "timm:resnet50.tv_in1k",
    ]
    with pytest.raises(UsageError, match="one for each model"):
        with_weights(["ViT-B-32"], ["openai", "cc12m"])


def test_the_command_takes_both(cli: WarmCli, tmp_path: Path) -> None:
    def models(*given: str) -> str:
        options = ("-t", "digits", "--offline", "--dry-run", "-o", tmp_path / "o", "--cache-dir", tmp_path / "c")
        done: subprocess.CompletedProcess[str] = cli("run", *given, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "clip/vit-b-32" in models("--model", "ViT-B-32,openai")
    assert "clip/vit-b-32" in models("--model", "ViT-B-32", "--pretrained", "openai")
