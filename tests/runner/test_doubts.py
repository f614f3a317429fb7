"""Data that contradict themselves: a warning in the record and the report where a number may be right."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import evalsuite
from evalsuite.report.html.page import report_page
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.library import load_numbers
from tests.datasets import write_folder_task


def warnings(folder: Path, task: Path, **options: Any) -> dict[str, list[str]]:
    """Evaluate pixels and pocket; return the warnings of each record that speak of the data."""
    stores = {"output": folder / "out", "cache_dir": folder / "cache"}
    results = evalsuite.evaluate("pocket", str(task), **stores, **options)
    return {
        result.protocol: [text for text in result.warnings if "test sample" in text or "byte for byte" in text]
        for result in results
    }


def test_images_to_train_on_and_to_test_on(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "data")
    assert warnings(tmp_path / "whole", task) == {"zero_shot": [], "linear_probe": []}
    for number in range(2):
        shutil.copy(tmp_path / f"data/train/red/00{number}.png", tmp_path / f"data/test/green/00{number}.png")
    said = "2 of 9 test images are images to train on, too, byte for byte."
    assert warnings(tmp_path / "doubled", task) == {"zero_shot": [], "linear_probe": [said]}
    table, _ = load_numbers([tmp_path / "doubled/out"])
    page = report_page(build_leaderboard(table))
    assert f"pocket (linear_probe, measured): {said}" in page


def test_a_class_without_test_samples(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "data")
    shutil.rmtree(tmp_path / "data/test/blue")
    task.write_text(task.read_text("utf-8").replace("test: 9", "test: 6"), "utf-8")
    said = ["no test sample is of 1 class of 3: blue."]
    assert warnings(tmp_path, task) == {"zero_shot": said, "linear_probe": said}
    assert warnings(tmp_path, task, limit=4, protocols="zero_shot") == {"zero_shot": []}
