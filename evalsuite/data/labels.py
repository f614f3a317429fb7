"""Raw labels of a source to this project's class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import IGNORED, MultiLabel, RawLabel
from evalsuite.errors import DataError, SpecError
from evalsuite.registry import nearest
from evalsuite.tasks.label_maps import ByCode, LabelMap, check_label_map
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import shortened


@dataclass(frozen=True)
class _ClassMap:
    """Looks up the class index of a raw label.

    index: raw label as text (`by_name`: in its plain form) -> class index. rule: the map's name in the task file.
    """

    index: dict[str, int]
    rule: str
    positions: int | None = None

    def find(self, raw: str | int) -> int | None:
        if self.rule == "by_name":
            return self.index.get(plain_form(str(raw)))
        if self.positions is not None and isinstance(raw, str):
            # Text labels of archives and tables: "7" and "07" are the number 7.
            raw = raw.strip()
            return self.index.get(str(int(raw))) if raw.isdecimal() else None
        return self.index.get(str(raw))


def plain_form(name: str) -> str:
    """Return the letters and digits of a name in lower case: spellings that differ in the rest are one name."""
    return "".join(character for character in name.casefold() if character.isalnum())


def wants_names(labels: LabelMap, names: Sequence[str]) -> bool:
    """Say whether the map speaks of a source's class names rather than of its integers.

    A source that has both (a ClassLabel column, torchvision's `classes`) gives names to `by_key` and
    `by_name`, integers to `by_index`, and to `by_code` the names if any of the codes is one of them.
    """
    if labels in ("by_key", "by_name"):
        return True
    return isinstance(labels, ByCode) and not set(labels.by_code).isdisjoint(names)


def map_labels(
    task: TaskSpec, source: str, labels: LabelMap, raw: Sequence[RawLabel], ids: Sequence[str]
) -> NDArray[Any]:
    """Return (n,) int64 class indices, or (n, classes) int8 with 1, 0 and IGNORED for multi-label tasks.

    Raises SpecError for a map that does not fit the classes, DataError for a raw label without a class.
    """
    classes = _class_map(task, source, labels)
    if task.multilabel:
        return _matrix(task, source, classes, raw, ids)
    indices = np.empty(len(raw), np.int64)
    seen: dict[RawLabel, int] = {}
    for row, label in enumerate(raw):
        index = seen.get(label)
        if index is None:
            if isinstance(label, MultiLabel):
                raise DataError(
                    f"{_place(task, source)}: the sample {ids[row]!r} has a list of labels "
                    f"({', '.join(label.present)}), but the task is not `multilabel: true`."
                )
            index = seen[label] = _lookup(task, source, classes, label, ids[row])
        indices[row] = index
    return indices


def _matrix(
    task: TaskSpec, source: str, classes: _ClassMap, raw: Sequence[RawLabel], ids: Sequence[str]
) -> NDArray[np.int8]:
    matrix = np.zeros((len(raw), len(task.class_keys)), np.int8)
    for row, label in enumerate(raw):
        several = label if isinstance(label, MultiLabel) else MultiLabel((str(label),))
        for name in several.ignored:
            matrix[row, _lookup(task, source, classes, name, ids[row])] = IGNORED
        for name in several.present:
            matrix[row, _lookup(task, source, classes, name, ids[row])] = 1
    return matrix


def _class_map(task: TaskSpec, source: str, labels: LabelMap) -> _ClassMap:
    keys = task.class_keys
    position = {key: index for index, key in enumerate(keys)}
    check_label_map(labels, keys, _place(task, source))
    if labels == "by_key":
        return _ClassMap(position, "by_key")
    if labels == "by_name":
        return _ClassMap(_names_index(task, source), "by_name")
    if isinstance(labels, ByCode):
        return _ClassMap({raw: position[key] for raw, key in labels.by_code.items()}, "by_code")
    order = keys if labels.by_index == "classes" else labels.by_index
    return _ClassMap({str(row): position[key] for row, key in enumerate(order)}, "by_index", len(order))


def _names_index(task: TaskSpec, source: str) -> dict[str, int]:
    """Return the plain form of every key and name -> class index; SpecError where it stands for two classes."""
    index: dict[str, int] = {}
    for position, item in enumerate(task.class_list):
        for name in (item.key, *item.names):
            other = index.setdefault(plain_form(name), position)
            if other != position:
                raise SpecError(
                    f"{_place(task, source)}: `by_name` cannot tell the classes {task.class_keys[other]!r} and "
                    f"{item.key!r} apart: {name!r} is a name of both. Use `by_key` or `by_code`."
                )
    return index


def _lookup(task: TaskSpec, source: str, classes: _ClassMap, raw: str | int, sample: str) -> int:
    index = classes.find(raw)
    if index is not None:
        return index
    text = f"{_place(task, source)}: the label {raw!r} of the sample {sample!r} has no class. "
    if classes.positions is not None:
        raise DataError(text + f"`by_index` needs integers from 0 to {classes.positions - 1}.")
    if classes.rule == "by_key" and isinstance(raw, int):
        raise DataError(
            text + "The labels of this source are integers: say in what order with `labels: {by_index: [...]}` "
            "(or `by_index: classes` where it is the order of the task's classes)."
        )
    near = nearest(str(raw), classes.index)
    known = f"Nearest: {', '.join(near)}." if near else f"Known: {shortened(list(map(repr, classes.index)))}."
    what = {"by_code": "codes", "by_name": "class names"}.get(classes.rule, "class keys")
    raise DataError(text + f"It is none of the {len(classes.index)} {what}. {known}")


def _place(task: TaskSpec, source: str) -> str:
    return f"Task {task.name!r}, source {source}"
