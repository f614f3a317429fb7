"""Raw labels of a source to this project's class indices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import IGNORED, MultiLabel, RawLabel, RawPool
from evalsuite.data.sharing import chosen_rows
from evalsuite.errors import DataError, SpecError
from evalsuite.metrics import METRICS
from evalsuite.registry import nearest
from evalsuite.tasks.label_maps import ByCode, ByIndex, LabelMap, check_label_map
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import composed, counted, shortened

_WHOLE = re.compile(r"\s*(\d+)(\.0*)?\s*")


def plain_form(name: str) -> str:
    """Return the letters and digits of a name in lower case: spellings that differ in the rest are one name."""
    return "".join(character for character in composed(name).casefold() if character.isalnum())


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
    classes = _class_map(task, f"Task {task.name!r}, source {source}", labels)
    any_is_right = METRICS.get(task.metric).any_label and any(isinstance(label, MultiLabel) for label in raw)
    if task.multilabel or any_is_right:
        matrix = np.zeros((len(raw), len(task.class_keys)), np.int8)
        labelled = [label if isinstance(label, MultiLabel) else MultiLabel((str(label),)) for label in raw]
        for row, several in enumerate(_without_vectors(labelled, classes, ids)):
            for names, value in ((several.ignored, IGNORED), (several.present, 1)):
                for name in names:
                    matrix[row, classes.find(name, ids[row])] = value
        return matrix
    indices = np.empty(len(raw), np.int64)
    seen: dict[RawLabel, int] = {}
    for row, label in enumerate(raw):
        index = seen.get(label)
        if index is None:
            if isinstance(label, MultiLabel):
                raise DataError(
                    f"{classes.place}: the sample {ids[row]!r} has a list of labels "
                    f"({', '.join(label.present)}), but the task is not `multilabel: true`."
                )
            index = seen[label] = classes.find(label, ids[row])
        indices[row] = index
    return indices


def check_sets(task: TaskSpec, place: str, labels: NDArray[Any], ids: Sequence[str]) -> None:
    """Raise DataError where a sample of a task of label sets has none of a set, or several. labels: (n, classes)."""
    for name, keys in task.bias.sets.items() if task.bias and labels.ndim == 2 else ():
        counts = labels[:, [task.class_keys.index(key) for key in keys]].sum(axis=1)
        if len(wrong := np.flatnonzero(counts != 1)):
            number = "no" if counts[wrong[0]] == 0 else "more than one"
            raise DataError(f"{place}: the sample {ids[wrong[0]]!r} has {number} label of the set {name!r}.")


def with_class(task: TaskSpec, source: str, labels: LabelMap, raw: RawPool) -> RawPool:
    """Return a pool without the samples whose label is no class; DataError where none is left."""
    classes = _class_map(task, f"Task {task.name!r}, source {source}", labels)
    known = {label: isinstance(label, MultiLabel) or classes.knows(label) for label in set(raw.labels)}
    rows = np.array([row for row, label in enumerate(raw.labels) if known[label]], np.int64)
    if len(rows) == 0 and len(raw.ids):
        raise DataError(f"{classes.place}: no sample has a label that is a class, such as {raw.labels[0]!r}.")
    return chosen_rows(raw, rows)


def check_names(task: TaskSpec, source: str, labels: LabelMap, names: Sequence[str]) -> None:
    """Hold `by_index`, or numbers in `by_code`, against what the data call their labels; names of nobody say nothing.

    Raises DataError where a label is called like another class than the map says.
    """
    if isinstance(labels, ByIndex):
        rule, order = "by_index", task.class_keys if labels.by_index == "classes" else labels.by_index
        mapped = {str(number): key for number, key in enumerate(order)}
    elif isinstance(labels, ByCode) and not wants_names(labels, names):
        rule, mapped = "by_code", labels.by_code
    else:
        return
    called: dict[str, set[str]] = {}
    for item in task.class_list:
        for name in (item.key, *item.names):
            called.setdefault(plain_form(name), set()).add(item.key)
    known = [(number, name, mapped[str(number)]) for number, name in enumerate(names) if str(number) in mapped]
    wrong = [(number, name, key) for number, name, key in known if key not in called.get(plain_form(name), {key})]
    if wrong:
        number, name, key = wrong[0]
        raise DataError(
            f"Task {task.name!r}, source {source}: the data call the label {number} {name!r}, `{rule}` calls it "
            f"{key!r} ({counted(len(wrong), 'label')} of {len(mapped)} differ so). The order is not that of the data: "
            "correct it, or use `labels: by_name`."
        )


def _without_vectors(labels: Sequence[MultiLabel], classes: _ClassMap, ids: Sequence[str]) -> Sequence[MultiLabel]:
    """Return the labels; of samples that all have a vector of 0 and 1, a place per class, the numbers of the ones.

    DataError where such a vector has another length, may be read in two ways, or has other values.
    """
    values = {part for label in labels for part in label.present}
    numbers = {part: str(int(match[1])) for part in values if (match := _WHOLE.fullmatch(part))}
    if any(label.ignored for label in labels) or len(numbers) < len(values):
        return labels
    lengths, count = {len(label.present) for label in labels}, len(set(classes.index.values()))
    length, one_length = max(lengths, default=0), len(lengths - {0}) == 1
    if len(lengths) == 1 and {*numbers.values()} <= {"0", "1"} and (length > 2 or length == count == 2):
        if classes.rule != "by_index" or length != count or count == 2:
            raise DataError(
                f"{classes.place}: each sample has {length} labels, all of them 0 or 1. If they are vectors, each "
                f"needs a place for each of the {counted(count, 'class')}, more than two, and "
                "`labels: {by_index: [...]}`, the classes in their order; else give the numbers of the classes that "
                "are there."
            )
        ones = {part for part, number in numbers.items() if number == "1"}
        return [MultiLabel(tuple(str(k) for k, part in enumerate(label.present) if part in ones)) for label in labels]
    # Classes that are there are not named twice: these numbers are places of a vector that nobody can read.
    if count > 2 and one_length and (length == count or len({*numbers.values()}) <= 2):
        twice = next((row for row, label in enumerate(labels) if len({*label.present}) < len(label.present)), None)
        if twice is not None:
            raise DataError(
                f"{classes.place}: the sample {ids[twice]!r} has a label twice: "
                f"{shortened(labels[twice].present, 5)}. Numbers of classes are not named twice, and a vector has a 0 "
                f"or a 1 for each of the {counted(count, 'class')}, in every sample."
            )
    return labels


@dataclass(frozen=True)
class _ClassMap:
    """Looks up the class index of a raw label.

    place: task and source, for messages. index: raw label as text (`by_name`: in its plain form) -> class index.
    """

    place: str
    rule: Literal["by_key", "by_name", "by_code", "by_index"]
    index: dict[str, int]

    def knows(self, raw: str | int) -> bool:
        return self._plain(raw) in self.index

    def find(self, raw: str | int, sample: str) -> int:
        text = self._plain(raw)
        if text not in self.index:
            problem = self._why_unknown(raw)
            raise DataError(f"{self.place}: the label {raw!r} of the sample {sample!r} has no class. {problem}")
        return self.index[text]

    def _plain(self, raw: str | int) -> str:
        text = composed(str(raw))
        if self.rule == "by_name":
            text = plain_form(text)
        elif self.rule == "by_index" and (number := _WHOLE.fullmatch(text)):
            text = str(int(number[1]))  # labels of archives and tables are text: "7", "07" and "7.0" are the number 7
        return text

    def _why_unknown(self, raw: str | int) -> str:
        if self.rule == "by_index":
            return f"`by_index` needs integers from 0 to {len(self.index) - 1}."
        if self.rule == "by_key" and isinstance(raw, int):
            return (
                "The labels of this source are integers: say in what order with `labels: {by_index: [...]}` "
                "(or `by_index: classes` where it is the order of the task's classes)."
            )
        near = nearest(str(raw), self.index)
        known = f"Nearest: {', '.join(near)}." if near else f"Known: {shortened(list(map(repr, self.index)))}."
        what = {"by_code": "codes", "by_name": "class names"}.get(self.rule, "class keys")
        return f"It is none of the {len(self.index)} {what}. {known}"


def _class_map(task: TaskSpec, place: str, labels: LabelMap) -> _ClassMap:
    keys = task.class_keys
    check_label_map(labels, keys, place)
    position = {key: index for index, key in enumerate(keys)}
    if labels == "by_key":
        return _ClassMap(place, "by_key", position)
    if isinstance(labels, ByCode):
        return _ClassMap(place, "by_code", {composed(raw): position[key] for raw, key in labels.by_code.items()})
    if isinstance(labels, ByIndex):
        order = keys if labels.by_index == "classes" else labels.by_index
        return _ClassMap(place, "by_index", {str(row): position[key] for row, key in enumerate(order)})
    index: dict[str, int] = {}
    for number, item in enumerate(task.class_list):
        for name in (item.key, *item.names):
            other = index.setdefault(plain_form(name), number)
            if other != number:
                raise SpecError(
                    f"{place}: `by_name` cannot tell the classes {keys[other]!r} and {item.key!r} apart: "
                    f"{name!r} is a name of both. Use `by_key` or `by_code`."
                )
    return _ClassMap(place, "by_name", index)
