"""Prove that a task file fits the data on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import IGNORED, Fold, Pool, Split, TaskData
from evalsuite.data.download.prober import Prober
from evalsuite.data.drawing import strata
from evalsuite.data.opening import data_state, open_task
from evalsuite.data.place import DataPlace
from evalsuite.data.sources import sources_of
from evalsuite.data.sources.base import Source
from evalsuite.data.splits import check_sizes
from evalsuite.errors import EvalsuiteError
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import counted, shortened

_NO_SAMPLE = "no sample of"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. state: `ok`, `failed`, or `skipped` with the reason in `text`."""

    name: str
    state: str
    text: str = ""


def check_task(task: TaskSpec, place: DataPlace, prober: Prober, *, must_be_there: bool = False) -> Iterator[Check]:
    """Check a task: its definition, whether its sources are there or could be fetched, and the data that is there.

    must_be_there: data that is neither here nor known where to fetch is a failure, as of a path that is written wrong.
    """
    yield from check_definition(task)
    yield from check_sources(task, place, prober)
    state = data_state(task, place)
    if state.state != "ready":
        text = f"{state.state}: {state.missing}".rstrip(": ")
        lost = must_be_there and not any(source.can_be_fetched for source in sources_of(task, place))
        yield Check("data", "failed" if state.state == "partial" or lost else "skipped", text)
        return
    try:
        data = open_task(task, place)
        yield Check("data", "ok", data.source)
        yield from check_data(data)
    except EvalsuiteError as error:
        yield Check("data", "failed", str(error))


def check_definition(task: TaskSpec) -> Iterator[Check]:
    """Check what the files alone can tell; the schema was checked when they were read."""
    prompts = counted(len(task.prompt_spec.templates), "template")
    yield Check("classes", "ok", f"{counted(len(task.class_list), 'class')}, {prompts}")
    yield from _shared_names(task)
    yield Check("metric", "ok", task.metric)
    for number, source in enumerate(task.sources, start=1):
        if not source.verified:
            yield Check("sources", "ok", f"source {number} ({source.kind}) has not been verified by anybody yet")


def check_sources(task: TaskSpec, place: DataPlace, prober: Prober) -> Iterator[Check]:
    """Say of each source whether it is ready, and unless offline whether it could be fetched.

    A dead link is a failure only where no other source of the task is ready or reachable.
    """
    sources = sources_of(task, place)
    asked = [_look_at(source, prober) for source in sources]
    alive = any(state == "ok" for state, _ in asked)
    for number, (source, (state, text)) in enumerate(zip(sources, asked, strict=True), start=1):
        shown = "ok" if state == "failed" and alive else state
        yield Check(f"source {number}", shown, f"{source.title}: {text}")


def _look_at(source: Source[Any], prober: Prober) -> tuple[str, str]:
    """Return the state of a check and its text."""
    if source.state().state == "ready":
        return "ok", "ready"
    if not source.can_be_fetched:
        return "skipped", "not there; it is available by hand only"
    if source.place.offline:
        return "skipped", "not there; not asked for, because offline"
    answer = source.reachable(prober)
    return {"reachable": "ok", "dead": "failed"}.get(answer.state, "skipped"), answer.text or answer.state


def check_data(data: TaskData) -> Iterator[Check]:
    """Check sizes, the labels of every fold, and that one image of each split and class of the first one decodes."""
    try:
        folds = data.folds()
    except EvalsuiteError as error:
        yield Check("splits", "failed", str(error))
        return
    splits = [fold.splits for fold in folds]
    counts = ", ".join(f"{name} {len(split)}" for name, split in splits[0].items())
    yield Check("splits", "ok", counts + (f", {len(folds)} folds" if len(folds) > 1 else ""))
    yield _check_sizes(data.task, folds)
    for name, split in splits[0].items():
        if not data.task.captions:
            yield _check_labels(data.task, name, [named[name] for named in splits], data.open_pool)
        yield _check_images(name, data.open_pool(split.pool), split, data.task)
    for pool in dict.fromkeys(split.pool for split in splits[0].values()):
        for warning in data.open_pool(pool).warnings:
            yield Check(f"pool {pool}", "skipped", warning)


def _check_sizes(task: TaskSpec, folds: tuple[Fold, ...]) -> Check:
    """Compare the splits with the sizes that the task file states; `exact: false` says that they may differ."""
    named = {name: getattr(task.sizes, name) for name in folds[0].splits}
    stated = {name: size for name, size in named.items() if size is not None}
    if not stated:
        return Check("sizes", "ok", "the task file states none")
    if not task.sizes.exact:
        here = {name: sorted({len(fold.splits[name]) for fold in folds}) for name in stated}
        both = (f"{name} {', '.join(map(str, here[name]))} here, {_listed(stated[name])} there" for name in stated)
        return Check("sizes", "skipped", f"not compared, because the task file says `exact: false`: {'; '.join(both)}")
    try:
        check_sizes(task, folds)
    except EvalsuiteError as error:
        return Check("sizes", "failed", str(error))
    silent = [name for name in named if name not in stated]
    return Check(
        "sizes", "ok", "as the task file says" + (f", which states none of {', '.join(silent)}" if silent else "")
    )


def _listed(size: int | list[int]) -> str:
    return str(size) if isinstance(size, int) else ", ".join(map(str, size))


def _shared_names(task: TaskSpec) -> Iterator[Check]:
    """Tell of class names that stand for two classes: no text can tell these apart."""
    keys: dict[str, list[str]] = {}
    for item in task.class_list:
        for name in dict.fromkeys(item.names):
            keys.setdefault(name, []).append(item.key)
    for name, sharing in keys.items():
        if len(sharing) > 1:
            count = "two" if len(sharing) == 2 else str(len(sharing))
            yield Check("class names", "ok", f'the name "{name}" stands for {count} classes: {", ".join(sharing)}')


def _check_labels(task: TaskSpec, name: str, splits: Sequence[Split], open_pool: Callable[[str], Pool]) -> Check:
    """Check the labels of one split in every fold; a split that serves several folds is looked at once."""
    different = {(split.pool, split.rows.tobytes()): number for number, split in reversed([*enumerate(splits)])}
    for number in sorted(different.values()):
        split = splits[number]
        problem = _wrong_labels(task, open_pool(split.pool).labels[split.rows])
        if problem and not task.sizes.exact and problem.startswith(_NO_SAMPLE):
            return Check(f"{name} labels", "ok", f"{problem}; the task file says that its data is not complete")
        if problem:
            where = f"fold {number}: " if len(different) > 1 else ""
            return Check(f"{name} labels", "failed", f"{where}{problem}")
    each = f", in each of {len(different)} folds" if len(different) > 1 else ""
    return Check(f"{name} labels", "ok", f"all {counted(len(task.class_list), 'class')}{each}")


def _wrong_labels(task: TaskSpec, labels: NDArray[Any]) -> str:
    """Say what is wrong with the labels of a split, "" if nothing is."""
    if labels.ndim == 2:
        wrong = ~np.isin(labels, (0, 1, IGNORED))
        present = np.flatnonzero((labels == 1).any(axis=0))
    else:
        wrong = (labels < 0) | (labels >= len(task.class_list))
        present = np.unique(labels)
    if wrong.any():
        return f"{counted(int(wrong.sum()), 'label')} out of range"
    found = set(present.tolist())
    absent = [key for index, key in enumerate(task.class_keys) if index not in found]
    return f"{_NO_SAMPLE} {counted(len(absent), 'class')}: {shortened(absent)}" if absent else ""


def _check_images(name: str, pool: Pool, split: Split, task: TaskSpec) -> Check:
    """Decode one image of each class; where one cannot be, the next is tried, as long as so many are `allowed`."""
    allowed, total, shown = task.max_unreadable, len(task.class_list), 0
    decoded: set[int] = set()
    problems: dict[int, str] = {}
    for rows in _rows_of_classes(pool.labels, split.rows):
        for row in rows.tolist():
            if row not in decoded and row not in problems:
                try:
                    pool.read(row)
                    decoded.add(row)
                except EvalsuiteError as error:
                    problems[row] = str(error)
            shown += row in decoded
            if row in decoded or len(problems) > allowed:
                break
        if len(problems) > allowed:
            return Check(f"{name} images", "failed", next(iter(problems.values())))
    if shown < total:
        text = f"{len(decoded)} decoded, for {shown} of {counted(total, 'class')}"
    elif len(decoded) < total:
        text = f"{len(decoded)} decoded, in which all {counted(total, 'class')} are"
    else:
        text = f"{len(decoded)} decoded, one of each class"
    if problems:
        text += f"; {len(problems)} could not be read, of {allowed} that are allowed: {next(iter(problems.values()))}"
    return Check(f"{name} images", "ok", text)


def _rows_of_classes(labels: NDArray[Any], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of each class that has any."""
    if labels.ndim == 2:
        return [rows[column == 1] for column in labels[rows].T if (column == 1).any()]
    return [of_class for _, of_class in strata(labels, rows)]
