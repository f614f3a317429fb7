"""`--decoder`: part of what a number is stored under, and in its record."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import evalsuite
from evalsuite.models.pocket import load_pocket
from evalsuite.records import Result
from tests.datasets import write_folder_task


def test_results_of_two_decoders_are_two_and_say_so(tmp_path: Path) -> None:
    task = str(write_folder_task(tmp_path / "shapes"))

    def measured(**options: str) -> Result:
        (found,) = evalsuite.evaluate(
            load_pocket(), task, "zero_shot", output=tmp_path / "out", cache_dir=tmp_path / "cache", **options
        )
        return found

    plain, same, other = measured(), measured(decoder="pillow"), measured(decoder="torchvision")
    assert plain.run_key == same.run_key and same.timings == plain.timings
    assert plain.provenance.decoder == f"pillow {version('pillow')}" and not plain.changed_options
    assert other.run_key != plain.run_key and other.timings.images_encoded == 9
    assert other.provenance.decoder == f"torchvision {version('torchvision')}"
    assert other.changed_options == {"decoder": "torchvision"}
    assert len(list((tmp_path / "out").rglob("*.json"))) == 2
