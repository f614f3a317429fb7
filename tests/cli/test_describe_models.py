"""`describe` and `ls models` say what a model is, and find weights, without loading any."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import WarmCli


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "ViT-B/32",
            [
                "clip/vit-b-32",
                "QuickGELU",
                "context 77",
                "87.8 million",
                "mean (0.4815",
                "not on this machine",
                "penultimate 768, embedding 512, cls 768, avgpool 768, cls+avgpool 1536",
            ],
        ),
        (
            "open_clip:ViT-B-16-SigLIP/webli",
            [
                "context 64",
                "clean canonicalize",
                "squash",
                "timm/ViT-B-16-SigLIP",
                "penultimate 768, embedding 768, avgpool 768; of any module",
            ],
        ),
        ("open_clip:PE-Core-T-16-384/meta", ["penultimate 192, embedding 512", "trunk's own head", "context 32"]),
        ("timm:resnet18.a1_in1k", ["timm/resnet18.a1_in1k", "crop_pct 0.95", "penultimate 512, avgpool 512;"]),
        ("pocket", ["21.97 x cosine", "penultimate 64, embedding 64;", "32 x 32 bilinear", "context 24", "sha256:"]),
    ],
)
def test_models_are_described(cli: WarmCli, name: str, said: list[str]) -> None:
    done = cli("describe", name)
    assert done.returncode == 0, done.stderr
    for words in said:
        assert words in " ".join(done.stdout.split())


def test_a_checkpoint_is_described_with_what_is_doubtful(cli: WarmCli, tmp_path: Path) -> None:
    import torch

    torch.save({"logit_scale": torch.tensor(3.0)}, tmp_path / "w.pt")
    said = " ".join(cli("describe", f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}").stdout.split())
    assert "20.09 x cosine" in said and "open_clip:ViT-B-32/TAG@PATH" in said


def test_tasks_are_described_next_to_models_and_nonsense_is_refused(cli: WarmCli) -> None:
    done = cli("describe", "digits", "pixels")
    assert "# pixels" in done.stdout and "## On this machine" in done.stdout
    assert "'nonsense' is neither a model nor a task" in cli("describe", "nonsense").stderr


def test_patterns_are_looked_for_in_open_clip_and_timm(cli: WarmCli) -> None:
    found = cli("ls", "models", "B-16-siglip/w*", "vit_base_patch16_siglip_224.w*").stdout
    assert "open_clip:ViT-B-16-SigLIP/webli" in found and "timm:vit_base_patch16_siglip_224" in found
    assert "open_clip:" not in cli("ls", "models", "resnet/*", without=["torch"]).stdout.partition("A model is")[0]
