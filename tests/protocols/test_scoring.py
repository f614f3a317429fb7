"""From the scores of folds to the numbers of a record, held against a calculation by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evalsuite.metrics import RECALLS
from evalsuite.protocols.base import FoldScores
from evalsuite.protocols.scoring import further_metrics, main_metric
from evalsuite.stats import clopper_pearson
from evalsuite.tasks import TaskSpec, load_task_file


def make_task(folder: Path, classes: int, further: str = "") -> TaskSpec:
    """Return a task of so many classes."""
    (folder / "t.yaml").write_text(
        f"title: t\nclasses: {[f'c{number}' for number in range(classes)]}\nprompts: {{templates: ['{{}}']}}\n"
        f"sources: [{{kind: folder, path: ., pools: {{train: train, test: test}}}}]\n{further}"
    )
    return load_task_file(folder / "t.yaml")


def fold(hits: int, n: int, classes: int) -> FoldScores:
    """Return scores of which the first `hits` are right; of the others the true class comes second."""
    labels = np.arange(n) % classes
    scores = np.zeros((n, classes), np.float32)
    scores[np.arange(n), labels] = 1
    scores[np.arange(hits, n), (labels[hits:] + 1) % classes] = 2
    return FoldScores(scores, labels, [str(row) for row in range(n)])


def test_one_fold_has_its_own_interval_and_no_list_of_folds(tmp_path: Path) -> None:
    found = main_metric(make_task(tmp_path, 3), [fold(9, 12, 3)], seed=0)
    assert (found.name, found.value, found.n, found.folds) == ("accuracy", 0.75, 12, None)
    assert found.interval == clopper_pearson(9, 12) and found.interval.method == "clopper-pearson"


def test_several_folds_are_averaged_with_their_intervals(tmp_path: Path) -> None:
    found = main_metric(make_task(tmp_path, 3), [fold(9, 12, 3), fold(3, 6, 3)], seed=0)
    assert (found.value, found.n, found.folds) == (0.625, 18, [0.75, 0.5])
    parts = [clopper_pearson(9, 12), clopper_pearson(3, 6)]
    assert found.interval is not None
    assert found.interval.low == pytest.approx(np.mean([part.low for part in parts]))
    assert found.interval.high == pytest.approx(np.mean([part.high for part in parts]))
    assert (found.interval.level, found.interval.method) == (0.995, "clopper-pearson, mean over folds")


@pytest.mark.parametrize(
    ("classes", "names"), [(5, {"top1", "mean_per_class_recall"}), (6, {"top1", "top5", "mean_per_class_recall"})]
)
def test_top5_is_told_of_more_than_five_classes(tmp_path: Path, classes: int, names: set[str]) -> None:
    found = further_metrics(
        make_task(tmp_path, classes), [fold(classes, 2 * classes, classes), fold(0, classes, classes)]
    )
    assert found.keys() == names
    assert found["top1"] == pytest.approx(0.25) and found["mean_per_class_recall"] == pytest.approx(0.25)
    assert found.get("top5", 1.0) == 1.0


@pytest.mark.parametrize("further", ["metric: map_11_point\nmultilabel: true\n", "metric: any_label_accuracy\n"])
def test_several_labels_have_no_further_metrics(tmp_path: Path, further: str) -> None:
    assert further_metrics(make_task(tmp_path, 3, further), [fold(3, 6, 3)]) == {}


def test_recalls_of_captions_are_averaged_over_images_and_folds(tmp_path: Path) -> None:
    task = make_task(tmp_path, 3).model_copy(update={"captions": 2})
    first = np.zeros((3, len(RECALLS)), np.float32)
    first[:2], first[2, -1] = 1, 1
    second = np.ones((4, len(RECALLS)), np.float32)
    found = further_metrics(task, [FoldScores(scores, np.zeros(len(scores)), ["a"]) for scores in (first, second)])
    wanted = [(2 / 3 + 1) / 2] * (len(RECALLS) - 1) + [1.0]
    assert found == pytest.approx(dict(zip(RECALLS, wanted, strict=True)), rel=1e-12)  # not those of float32
