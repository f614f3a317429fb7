"""Prove that a task file fits the data on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import IGNORED, Fold, Pool, Split, TaskData
from evalsuite.data.splits import check_sizes
from evalsuite.errors import EvalsuiteError
from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. state: `ok`, `failed`, or `skipped` with the reason in `text`."""

    name: str
    state: str
    text: str = ""


def check_definition(task: TaskSpec) -> Iterator[Check]:
    """Check what the files alone can tell; the schema was checked when they were read."""
    yield Check("classes", "ok", f"{len(task.class_list)} classes, {len(task.prompt_spec.templates)} templates")
    yield Check("metric", "ok", task.metric)
    for number, source in enumerate(task.sources, start=1):
        if not source.verified:
            yield Check("sources", "ok", f"source {number} ({source.kind}) has not been verified by anybody yet")


def check_data(task: TaskSpec, data: TaskData) -> Iterator[Check]:
    """Check sizes, labels, and that one image of each split and class decodes."""
    try:
        folds = data.folds()
    except EvalsuiteError as error:
        yield Check("splits", "failed", str(error))
        return
    counts = ", ".join(f"{name} {len(split)}" for name, split in _splits(folds[0]).items())
    yield Check("splits", "ok", counts + (f", {len(folds)} folds" if len(folds) > 1 else ""))
    yield _check_sizes(task, folds)
    for name, split in _splits(folds[0]).items():
        pool = data.open_pool(split.pool)
        yield _check_labels(task, name, pool, split)
        yield _check_images(name, pool, split)


def _check_sizes(task: TaskSpec, folds: tuple[Fold, ...]) -> Check:
    try:
        check_sizes(task, folds)
    except EvalsuiteError as error:
        return Check("sizes", "failed", str(error))
    stated = task.sizes.test is not None
    return Check("sizes", "ok", "as the task file says" if stated else "the task file states none")


def _splits(fold: Fold) -> Mapping[str, Split]:
    named = {"train": fold.train, "val": fold.val, "test": fold.test}
    return {name: split for name, split in named.items() if split is not None}


def _check_labels(task: TaskSpec, name: str, pool: Pool, split: Split) -> Check:
    labels = pool.labels[split.rows]
    if task.multilabel:
        wrong = ~np.isin(labels, (0, 1, IGNORED))
        present = np.flatnonzero((labels == 1).any(axis=0))
    else:
        wrong = (labels < 0) | (labels >= len(task.class_list))
        present = np.unique(labels)
    if wrong.any():
        return Check(f"{name} labels", "failed", f"{int(wrong.sum())} labels are out of range")
    absent = [key for index, key in enumerate(task.class_keys) if index not in set(present.tolist())]
    if absent:
        shown = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        return Check(f"{name} labels", "failed", f"no sample of {len(absent)} classes: {shown}")
    return Check(f"{name} labels", "ok", f"all {len(task.class_list)} classes")


def _check_images(name: str, pool: Pool, split: Split) -> Check:
    rows = _one_of_each_class(pool.labels[split.rows], split.rows)
    problems = []
    for row in rows:
        try:
            pool.read(row)
        except EvalsuiteError as error:
            problems.append(str(error))
    if problems:
        return Check(f"{name} images", "failed", problems[0])
    return Check(f"{name} images", "ok", f"{len(rows)} decoded, one of each class")


def _one_of_each_class(labels: NDArray[Any], rows: NDArray[np.int64]) -> list[int]:
    if labels.ndim == 2:
        firsts = [int(np.flatnonzero(column == 1)[0]) for column in labels.T if (column == 1).any()]
    else:
        firsts = np.unique(labels, return_index=True)[1].tolist()
    return sorted({int(rows[first]) for first in firsts})
