"""The shipped tasks next to table 9 of the paper: what differs is a known error of it, and the task file says so."""

from __future__ import annotations

import pytest

from evalsuite.results.library import Library
from evalsuite.tasks import TaskIndex
from evalsuite.tasks.spec import TaskSpec

TABLE = {task.task: task for paper in Library().papers for task in paper.tasks}

CLASSES = {"food101": 101, "fer2013": 7}
"""Classes where table 9 is wrong."""

TRAIN = {"fer2013": 32298, "country211": 42200}
"""Training images (train and val together, but for RESISC45) where table 9 is wrong."""

TEST = {"fer2013": 3589, "ucf101": 3783, "caltech101": 6084}
"""Test images where table 9 is wrong, or where the data that is available differs."""

METRICS = {
    "accuracy": "accuracy",
    "mean_per_class": "mean_per_class_recall",
    "11_point_map": "map_11_point",
    "roc_auc": "roc_auc",
    "mean_top1_top5": "mean_top1_top5",
}


def first(size: int | list[int] | None) -> int:
    """Return a size, that of the first fold, or nothing."""
    return (size[0] if isinstance(size, list) else size) or 0


@pytest.fixture(params=sorted(TABLE))
def task(request: pytest.FixtureRequest) -> TaskSpec:
    """One of the 27 tasks."""
    return TaskIndex().load(request.param)


def test_classes_and_metric(task: TaskSpec) -> None:
    row = TABLE[task.name]
    assert len(task.class_list) == CLASSES.get(task.name, row.classes)
    assert task.metric == METRICS[row.metric]


def test_sizes(task: TaskSpec) -> None:
    row, sizes = TABLE[task.name], task.sizes
    fitted = first(sizes.train) + (first(sizes.val) if task.refit == "train+val" else 0)
    assert fitted == TRAIN.get(task.name, row.train_size)
    assert first(sizes.test) == TEST.get(task.name, row.test_size)


def test_errors_of_the_table_are_told(task: TaskSpec) -> None:
    row = TABLE[task.name]
    for known, printed in ((CLASSES, row.classes), (TRAIN, row.train_size), (TEST, row.test_size)):
        if task.name in known:
            assert f"{printed:,}" in task.notes and "able 9" in task.notes


def test_only_what_cannot_be_exact_is_not() -> None:
    levels = {name: TaskIndex().load(name).split_fidelity.level for name in TABLE}
    approximate = {"birdsnap", "caltech101", "eurosat", "resisc45", "kinetics700", "clevr_counts"}
    assert {name for name, level in levels.items() if level == "approximate"} == approximate
    assert {name for name, level in levels.items() if level == "convention"} == {"sun397", "dtd", "gtsrb", "fer2013"}
    inexact = {name for name in TABLE if not TaskIndex().load(name).sizes.exact}
    assert inexact == {"birdsnap", "kinetics700"}
