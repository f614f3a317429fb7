"""What is recorded of a run and of each sample, and doubts about the data."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import evalsuite
from evalsuite.data.base import Fold, Split
from evalsuite.protocols.base import FoldScores, Outcome
from evalsuite.protocols.linear_probe import ProbeOptions
from evalsuite.results.heads import HeadClass, HeadDescription, read_head
from evalsuite.results.samples import read_samples
from evalsuite.runner.doubts import images_on_both_sides, untested_classes
from evalsuite.runner.fingerprints import in_json
from evalsuite.runner.recording import samples_table
from evalsuite.tasks import TaskSpec
from tests.datasets import write_folder_task
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


def test_a_record_says_all_that_was_asked_for_and_found(tmp_path: Path) -> None:
    path = write_folder_task(tmp_path / "data")
    path.write_text(path.read_text() + "max_unreadable: 1\n")
    (tmp_path / "data/train/red/000.png").write_bytes(b"no image")
    stores = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    (result,) = evalsuite.evaluate("pixels", str(path), "linear_probe", seed=3, save_head=True, device="cpu", **stores)
    assert (result.status, result.model, result.task, result.protocol) == ("ok", "pixels", "shapes", "linear_probe")
    assert result.options == {**in_json(asdict(ProbeOptions())), "seed": 3} and result.changed_options == {"seed": 3}

    assert result.metric.n == 9 and "top1" in result.metrics
    data, info = result.data, result.model_info
    assert data.pools.keys() == {"train", "test"} and len({*data.pools.values(), data.content}) == 3
    assert data.unreadable == {"train": ["red/000.png"]} and data.task_file == str(path)
    assert (data.sizes["train"] + data.sizes["val"], data.sizes["test"]) == (17, 9)
    assert (data.source, data.split_fidelity.level, data.resolved["source"]) == ("folder", "convention", "folder")

    assert (info.slug, info.backend, result.model_fingerprint) == ("pixels", "pixels", info.fingerprint)
    assert result.run_key and result.fingerprint and result.details["calibration"]["validation"] == data.sizes["val"]
    made, taken = result.provenance, result.timings
    assert (made.seed, made.precision, made.device) == (3, "fp32", "cpu")
    assert made.packages["torch"] == version("torch") and made.evalsuite == evalsuite.__version__
    assert taken.images_encoded == 26 and taken.images_per_second == taken.images_encoded / taken.image_pass.total
    assert taken.total == pytest.approx(taken.load + taken.images + taken.text + taken.fit)

    record = min((tmp_path / "out").rglob("shapes.linear_probe*.json"), key=lambda path: len(path.name))
    stored = read_head(record)
    assert stored.head.weights.shape == (3, 3 * 32 * 32)
    assert stored.described == HeadDescription(
        task="shapes", protocol="linear_probe",
        classes=[HeadClass(key=key, names=[key]) for key in ("red", "green", "blue")],
        multilabel=False, layer="penultimate", dim=3 * 32 * 32, model="pixels", model_name="pixels",
        model_fingerprint=info.fingerprint, preprocessing=info.preprocessing, precision="fp32", folds=1,
        fingerprint=result.fingerprint, sha256=stored.described.sha256,
    )  # fmt: skip
