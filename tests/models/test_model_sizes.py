"""The counted numbers of aliases.yaml, counted again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.model_sizes import count, rewrite
from evalsuite.models.aliases import ALIASES_FILE, aliases, read_aliases
from evalsuite.models.sizes import Size


@pytest.mark.parametrize("slug", ["clip/rn50", "clip/vit-b-32", "resnet/50", "efficientnet/b0", "bit-m/r50x1"])
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
    rewrite(copy, {"resnet/50": Size(224, 7, 0.5)})
    before, after = aliases(), read_aliases(copy)
    assert after["resnet/50"] == before["resnet/50"].model_copy(update={"parameters": 7, "gflops": 0.5})
    assert {slug: alias for slug, alias in after.items() if slug != "resnet/50"} == {
        slug: alias for slug, alias in before.items() if slug != "resnet/50"
    }
    changed = sum(
        a != b for a, b in zip(copy.read_text().split("\n"), ALIASES_FILE.read_text().split("\n"), strict=True)
    )
    assert changed == 2
