"""What is recorded of each sample, and doubts about the data, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from evalsuite.data.base import Fold, Split
from evalsuite.protocols.base import FoldScores, Outcome
from evalsuite.results.samples import read_samples
from evalsuite.runner.doubts import images_on_both_sides, untested_classes
from evalsuite.runner.recording import samples_table
from evalsuite.tasks import TaskSpec
from tests.problems import make_task

CLASSES = ("a", "b", "c", "d", "e", "f")
SCORES = np.array([[9, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 9], [1, 9, 8, 7, 6, 5]], np.float32)


def made(task: TaskSpec, labels: np.ndarray, folder: Path) -> tuple[Any, Any]:
    """Return the table of two folds, the second one in reverse, as rows and as it is read back."""
    ids = ["x", "y", "z"]
    folds = [FoldScores(SCORES, labels, ids), FoldScores(SCORES[::-1], labels[::-1], ids[::-1])]
    table = samples_table(task, Outcome(folds, {"test": 3}))
    pq.write_table(table, folder / "s.parquet")
    return table.to_pylist(), read_samples(folder / "s.parquet", scores=True)


def test_a_row_has_the_sample_its_label_and_what_was_predicted(tmp_path: Path) -> None:
    rows, read = made(make_task(tmp_path, CLASSES), np.array([0, 4, 2]), tmp_path)
    assert [(row["sample"], row["fold"], row["label"], row["prediction"]) for row in rows] == [
        ("x", 0, "a", "a"), ("y", 0, "e", "f"), ("z", 0, "c", "b"), ("z", 1, "c", "b"), ("y", 1, "e", "f"),
        ("x", 1, "a", "a"),
    ]  # fmt: skip
    assert rows[0]["top5"] == ["a", "f", "e", "d", "c"] and rows[2]["top5"] == ["b", "c", "d", "e", "f"]
    assert rows[1]["scores"] == SCORES[1].tolist()
    for fold in (0, 1):
        part = read.folds == fold
        np.testing.assert_array_equal(read.scores[part], SCORES)
        assert read.labels[part].tolist() == [0, 4, 2] and read.predictions[part].tolist() == [0, 5, 1]
    assert read.classes == CLASSES


def test_several_labels_are_listed_apart_from_those_that_do_not_count(tmp_path: Path) -> None:
    labels = np.array([[1, 0, -1, 0, 0, 1], [0, 0, 0, 0, 0, 0], [-1, 1, 0, 0, 0, 0]], np.int8)
    task = make_task(tmp_path, CLASSES, metric="map_11_point", multilabel="true")
    rows, read = made(task, labels, tmp_path)
    assert [(row["label"], row["ignored"]) for row in rows[:3]] == [(["a", "f"], ["c"]), ([], []), (["b"], ["a"])]
    np.testing.assert_array_equal(read.labels, np.concatenate([labels, labels]))


def test_where_any_label_is_right_a_row_has_the_predicted_one_or_else_the_first(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0]], np.int8)
    rows, _ = made(make_task(tmp_path, CLASSES, metric="any_label_accuracy"), labels, tmp_path)
    assert [(row["label"], row["prediction"]) for row in rows[:3]] == [("a", "a"), ("b", "f"), ("b", "b")]


def test_images_of_every_fold_are_looked_for_in_train_and_in_validation() -> None:
    bytes_of = {"train": "abc", "val": "de", "test": "xad", "again": "yzd"}

    def split(pool: str) -> Split:
        return Split(pool, np.arange(len(bytes_of[pool])))

    def said(*folds: Fold) -> list[str]:
        return images_on_both_sides(folds, lambda split: bytes_of[split.pool])

    first = Fold(split("train"), split("val"), split("test"))
    assert said(first) == ["2 of 3 test images are images to train on, too, byte for byte."]
    assert said(first, Fold(split("train"), split("val"), split("again")))[0].startswith("3 of 6 test images are")
    assert said(Fold(split("train"), None, split("test")))[0].startswith("1 of 3 test images is an image to train on")
    assert said(Fold(split("train"), None, split("again"))) == []


@pytest.mark.parametrize(
    ("labels", "absent"),
    [
        ([np.array([0, 1]), np.array([2, 2])], []),
        ([np.array([0, 1])], ["no test sample is of 1 class of 3: c."]),
        ([np.array([[1, 0, -1], [1, 1, 0]])], ["no test sample is of 1 class of 3: c."]),
        ([np.array([[0, 0, 1], [1, 1, 0]])], []),
    ],
)
def test_classes_of_which_no_test_sample_is_are_named(
    tmp_path: Path, labels: list[np.ndarray], absent: list[str]
) -> None:
    folds = [FoldScores(np.zeros((len(one), 3), np.float32), one, ["x"] * len(one)) for one in labels]
    assert untested_classes(make_task(tmp_path), Outcome(folds, {})) == absent
