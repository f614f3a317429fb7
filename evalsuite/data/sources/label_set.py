"""One of several labels of the images of another task."""

from __future__ import annotations

import numpy as np

from evalsuite.data.base import DataState, RawPool
from evalsuite.data.opening import data_state, open_other, with_test_split
from evalsuite.data.sharing import images_of
from evalsuite.data.sources.base import Source
from evalsuite.errors import DataError, SpecError
from evalsuite.tasks.borrowed import Borrowed
from evalsuite.tasks.loading import load_other_task
from evalsuite.tasks.sources import LabelSetSpec
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import shortened


class LabelSetSource(Source[LabelSetSpec]):
    """The images of another task; the label of each is the one of its labels that is a class of this task."""

    @property
    def title(self) -> str:
        """Name the source in a message."""
        return f"label_set of {self.spec.task}"

    @property
    def where(self) -> str:
        """Say where the data is looked for, in Markdown."""
        return f"the images and labels of the task `{self.spec.task}`"

    def look(self) -> DataState:
        """Say whether the images of the other task are there."""
        other = self._other()
        found = data_state(other, self.place)
        if found.state == "ready":
            return found
        needs = f"needs the images of the task {other.name}"
        if found.state == "partial":
            return DataState("partial", f"{needs}. {found.missing}", found.brief)
        return DataState("absent", f"{needs}: `evalsuite describe {other.name}` says how to get them.")

    def describe(self) -> list[str]:
        """Say whose images these are, in lines of Markdown."""
        other = f"[{self.spec.task}]({self.spec.task}.md)"
        return [
            f"the images of the task {other}, encoded once for both; see there how to get them",
            "label: the one of the labels of an image that is a class of this task",
            *([self.spec.note.strip()] if self.spec.note else []),
        ]

    def open(self, pool: str) -> RawPool:
        """Return the images of a pool, each with its label; ids are those of the other task."""
        borrowed = Borrowed(task=self.spec.task, pool=pool)
        other, images = open_other(self.task, borrowed, self.place, self._other())
        strange = sorted(set(self.task.class_keys) - set(other.class_keys))
        if strange or images.labels.ndim != 2:
            problem = f"has no classes {shortened(strange, 5)}" if strange else "has one label for each image"
            raise SpecError(f"Task {self.task.name!r}: the task {other.name!r} {problem}.")
        keys = np.array(self.task.class_keys)
        own = images.labels[:, [other.class_keys.index(key) for key in keys]] == 1
        wrong = np.flatnonzero(own.sum(axis=1) != 1)
        if len(wrong):
            found = ", ".join(keys[own[wrong[0]]]) or "none"
            raise DataError(
                f"Task {self.task.name!r}: the image {images.ids[wrong[0]]!r} must have one of these labels, and has "
                f"{found}: {shortened(list(keys))}."
            )
        return images_of(other.name, images, keys[own.argmax(axis=1)].tolist())

    def _other(self) -> TaskSpec:
        """Return the other task; where only the test split is asked for, with that alone."""
        other = load_other_task(self.task, self.spec.task)
        return with_test_split(other) if list(self.spec.pools) == self.task.splits.names[-1:] else other
