"""Data that contradict themselves: a warning in the record and the report where a number may be right."""

from __future__ import annotations

import re
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
    said = re.compile("(test|training) sample|byte for byte")
    return {result.protocol: [text for text in result.warnings if said.search(text)] for result in results}


def test_images_to_train_on_and_to_test_on(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "data")
    assert warnings(tmp_path / "whole", task) == {"zero_shot": [], "linear_probe": []}
    for number in range(2):
        shutil.copy(tmp_path / f"data/train/red/00{number}.png", tmp_path / f"data/test/green/00{number}.png")
    said = "2 of 9 test images are images to train on, too, byte for byte."
    twice = "2 images are there before with another label, byte for byte."
    assert warnings(tmp_path / "doubled", task) == {"zero_shot": [], "linear_probe": [twice, said]}
    table, _ = load_numbers([tmp_path / "doubled/out"])
    page = report_page(build_leaderboard(table))
    assert f"pocket (linear_probe, measured): {said}" in page


def test_validation_images_to_train_on_and_images_with_two_labels(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "data")
    for key in ("red", "green"):
        shutil.copytree(tmp_path / f"data/test/{key}", tmp_path / f"data/val/{key}")
        shutil.copy(tmp_path / f"data/train/{key}/000.png", tmp_path / f"data/val/{key}/000.png")
        shutil.rmtree(tmp_path / f"data/test/{key}")
        shutil.copytree(tmp_path / f"data/train/{key}", tmp_path / f"data/test/{key}")
    shutil.copy(tmp_path / "data/test/blue/001.png", tmp_path / "data/test/red/blue.png")
    text = task.read_text("utf-8").replace("test: test}}", "test: test, val: val}}\nsplits: {val: val}")
    task.write_text(text.replace("test: 9", "test: 16"), "utf-8")
    twice = "1 image is there before with another label, byte for byte."
    assert warnings(tmp_path, task, protocols="zero_shot,prototype") == {
        "zero_shot": [twice],
        "prototype": [
            twice,
            "12 of 16 test images are images to train on, too, byte for byte.",
            "2 of 6 validation images are images to train on, too, byte for byte.",
        ],
    }


def test_a_class_without_training_samples(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "data")
    shutil.rmtree(tmp_path / "data/train/blue")
    task.write_text(task.read_text("utf-8").replace("train: 18", "train: 12"), "utf-8")
    found = warnings(tmp_path, task, protocols="linear_probe,few_shot,knn,prototype")
    said = "no training sample is of 1 class: blue."
    assert [[text.partition(": ")[2] for text in texts] for texts in found.values()] == [[said]] * 4


def test_a_class_without_test_samples(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "data")
    shutil.rmtree(tmp_path / "data/test/blue")
    task.write_text(task.read_text("utf-8").replace("test: 9", "test: 6"), "utf-8")
    said = ["no test sample is of 1 class of 3: blue."]
    assert warnings(tmp_path, task) == {"zero_shot": said, "linear_probe": said}
    assert warnings(tmp_path, task, limit=4, protocols="zero_shot") == {"zero_shot": []}
