"""The same weights under several names share features; results stored under an older name are found."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

import evalsuite
from evalsuite.models.names import file_label, resolve
from evalsuite.records import Result
from evalsuite.results.store import file_slug


def probe(name: str, folder: Path, **more: object) -> Result:
    found = evalsuite.evaluate(
        name, "digits", "linear_probe", output=folder / "out", cache_dir=folder / "cache", limit=40, **more
    )
    (result,) = found
    assert result.error is None, result.error
    return result


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "run-1" / "checkpoints" / "epoch_1.pth"
    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path


def test_two_names_of_the_same_weights_are_encoded_once(tmp_path: Path, weights: Path) -> None:
    copy = tmp_path / "copy.pth"
    copy.write_bytes(weights.read_bytes())
    first = probe(f"timm:test_resnet@{weights}", tmp_path)
    second = probe(f"timm:test_resnet@{copy}", tmp_path)
    assert first.model_fingerprint == second.model_fingerprint
    assert first.timings.images_encoded > 0
    assert second.timings.images_encoded == 0
    assert second.model_info is not None
    assert (second.model, second.model_info.slug) == ("timm/test_resnet-copy",) * 2
    assert second.model_info.name == f"timm:test_resnet@{copy}"
    assert first.metric is not None and second.metric is not None
    assert first.metric.value == second.metric.value


def test_results_under_an_older_slug_are_still_the_answer(tmp_path: Path, weights: Path) -> None:
    name = f"timm:test_resnet@{weights}"
    resolved = resolve(name)
    assert (resolved.slug, resolved.former_slug) == ("timm/test_resnet-run-1-epoch_1", "timm/test_resnet-epoch_1")
    written = probe(name, tmp_path)
    (folder,) = (tmp_path / "out").glob("timm-*")
    former = folder.with_name(folder.name.replace(file_slug(resolved.slug), file_slug("timm/test_resnet-epoch_1")))
    folder.rename(former)
    again = probe(name, tmp_path)
    assert again.provenance == written.provenance  # the stored record itself


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("logs/run-1/checkpoints/epoch_1.pt", "run-1-epoch_1"),
        ("logs/run-2/checkpoints/epoch_1.pt", "run-2-epoch_1"),
        ("run/best.ckpt", "run-best"),
        ("run/checkpoint-1000.pt", "run-checkpoint-1000"),
        ("run/pytorch_model.bin", "run-pytorch_model"),
        ("lightning_logs/version_3/checkpoints/last.ckpt", "version_3-last"),
        ("run/tuned.pt", "tuned"),
        ("last.pt", "last"),
    ],
)
def test_what_every_training_calls_its_files_is_told_apart_by_the_folder(path: str, label: str) -> None:
    assert file_label(Path(path)) == label


def test_an_architecture_with_quickgelu_in_its_name_is_the_model_of_the_tag() -> None:
    one, other = resolve("open_clip:ViT-B-32-quickgelu/openai"), resolve("ViT-B/32")
    assert (one.slug, one.target, one.alias) == (other.slug, other.target, other.alias)
