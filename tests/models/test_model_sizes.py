"""The counted numbers of aliases.yaml, counted again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.model_sizes import count, rewrite
from evalsuite.features.verifying import damaged_notes
from evalsuite.models import pocket, sizes
from evalsuite.models.aliases import ALIASES_FILE, aliases, read_aliases
from evalsuite.models.loading import sized
from evalsuite.models.names import resolve
from evalsuite.models.pocket import load_pocket
from evalsuite.models.skeletons import ImageSide, Skeleton
from tests.models.tiny_transformers import save_text_model
from tests.processes import WarmCli


@pytest.mark.parametrize(
    "slug", ["clip/rn50", "clip/vit-b-32", "resnet/50", "efficientnet/b0", "bit-m/r50x1", "vit/b-32"]
)
def test_the_file_holds_what_is_counted(slug: str) -> None:
    alias = aliases()[slug]
    counted = count(alias)
    assert counted.parameters == alias.parameters
    assert counted.gflops == pytest.approx(alias.gflops, rel=1e-3)


def test_the_counts_are_those_of_the_literature() -> None:
    # ViT-B/32: 4.41 G multiply-adds; ResNet-50: 4.09 G (He et al. and torchvision's table), classifier aside.
    assert aliases()["clip/vit-b-32"].gflops == pytest.approx(2 * 4.41, rel=0.01)
    assert aliases()["resnet/50"].gflops == pytest.approx(2 * 4.09, rel=0.01)
    assert aliases()["resnet/50"].parameters == 25_557_032 - 2_049_000  # torchvision's table less its classifier


def test_rewriting_changes_the_counts_and_nothing_else(tmp_path: Path) -> None:
    copy = tmp_path / "aliases.yaml"
    copy.write_text(ALIASES_FILE.read_text())
    rewrite(copy, {"resnet/50": sizes.Size(224, 7, 0.5)})
    before, after = aliases(), read_aliases(copy)
    assert after["resnet/50"] == before["resnet/50"].model_copy(update={"parameters": 7, "gflops": 0.5})
    assert {slug: alias for slug, alias in after.items() if slug != "resnet/50"} == {
        slug: alias for slug, alias in before.items() if slug != "resnet/50"
    }
    changed = sum(
        a != b for a, b in zip(copy.read_text().split("\n"), ALIASES_FILE.read_text().split("\n"), strict=True)
    )
    assert changed == 2


def test_pocket_s_numbers_are_those_that_are_counted() -> None:
    tower = copy.deepcopy(load_pocket().module.visual).to("meta")
    counted = sizes.count(Skeleton(ImageSide(tower), (3, 32, 32)))
    assert (counted.parameters, counted.gflops) == (pocket.PARAMETERS, pocket.GFLOPS)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("timm:test_vit.r160_in1k", None),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", sizes.Size(224, 87_849_216, 8.818)),
        ("torchvision:resnet18", sizes.Size(224, 11_689_512 - 513_000, 3.628)),  # torchvision's table: 1.814 G
    ],
)
def test_any_model_is_counted_and_remembered(
    name: str, size: sizes.Size | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sizes.model_size(resolve(name), tmp_path)
    assert found is not None
    if size is not None:
        assert (found.input_size, found.parameters) == (size.input_size, size.parameters)
        assert found.gflops == pytest.approx(size.gflops, rel=1e-3)
    monkeypatch.setattr(sizes, "count", lambda *_: pytest.fail("it was counted again"))
    assert sizes.model_size(resolve(name), tmp_path) == found
    (remembered,) = (tmp_path / sizes.FOLDER).iterdir()
    remembered.write_text("{")
    monkeypatch.undo()
    assert sizes.model_size(resolve(name), tmp_path) == found  # damaged: counted again


def test_other_tags_and_sizes_are_other_entries(tmp_path: Path) -> None:
    own = resolve("timm:test_efficientnet.r160_in1k")
    whole, small = sizes.model_size(own, tmp_path), sizes.model_size(sized(own, 80), tmp_path)
    assert whole is not None and small is not None
    one, two = (tmp_path / sizes.FOLDER).iterdir()
    swapped = one.read_text(), two.read_text()
    for path, text in zip((two, one), swapped, strict=True):
        path.write_text(text)
    assert list(damaged_notes(tmp_path)) and sizes.counted_before(own, tmp_path) is None  # not that of the other
    one.write_text(swapped[0].replace(str(whole.parameters), str(whole.parameters + 1)))
    assert len(list(damaged_notes(tmp_path))) == 2 and sizes.model_size(own, tmp_path) == whole
    assert whole.parameters == small.parameters
    assert whole.gflops == pytest.approx(4 * small.gflops, rel=0.1)


def test_a_model_whose_code_decides_is_not_counted(tmp_path: Path) -> None:
    assert sizes.model_size(resolve("hf:org/name"), tmp_path) is None
    assert sizes.known_size(resolve("timm:no_such_model"), tmp_path) is None


def test_transformers_without_its_text_encoder(tmp_path: Path) -> None:
    reference = save_text_model("clip", tmp_path)
    found = sizes.model_size(resolve(f"hf:{tmp_path}"))
    assert found is not None
    vision = sum(value.numel() for value in reference.vision_model.parameters())
    assert (found.input_size, found.parameters) == (32, vision + 16 * 8)
    assert found.gflops >= 0


def test_a_list_of_published_weights_has_their_sizes(cli: WarmCli, tmp_path: Path) -> None:
    def listed(*options: str, without: Sequence[str] = ()) -> list[str]:
        done = cli("ls", "models", "test_vit.*", *options, "--cache-dir", tmp_path, without=without)
        (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("timm:test_vit.")]
        assert ("--count does it" in done.stdout) == (row[2] == "-")
        return row

    assert listed()[1:4] == ["160", "-", "-"]  # what takes seconds is done where it is asked for
    row = listed("--count")
    assert row[1] == "160"
    assert 0.2 < float(row[2]) < 0.5
    assert float(row[3]) >= 0
    assert listed(without=["timm", "open_clip", "torchvision"]) == row  # all of it is remembered
