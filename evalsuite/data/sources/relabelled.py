"""New labels for the images of another task."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from evalsuite.data.base import DataState, MultiLabel, PoolOrigin, RawPool
from evalsuite.data.opening import data_state, open_other
from evalsuite.data.sharing import chosen_rows, images_of
from evalsuite.data.sources.base import Source
from evalsuite.errors import DataError, DataMissingError
from evalsuite.hashing import file_sha256
from evalsuite.reading import read_text
from evalsuite.tasks.loading import load_other_task
from evalsuite.tasks.sources import RelabelledSpec


class RelabelledSource(Source[RelabelledSpec]):
    """The images of a pool of another task, with the labels of a file."""

    @property
    def title(self) -> str:
        """Name the source in a message."""
        return f"relabelled {self.spec.of.task}"

    @property
    def where(self) -> str:
        """Say where the data is looked for, in Markdown."""
        return (
            f"`{self.spec.path or self.task.name}/{self.spec.file}`, for the images of the task `{self.spec.of.task}`"
        )

    def look(self) -> DataState:
        """Say whether the labels are there, and the images of the other task."""
        file, other = self.folder / self.spec.file, load_other_task(self.task, self.spec.of.task)
        images = data_state(other, self.place)
        if not file.is_file():
            return DataState("absent", f"needs {file}, and the images of the task {other.name}.")
        if images.state != "ready":
            return DataState("partial", f"needs the images of the task {other.name}: {images.brief or images.state}")
        return DataState("ready")

    def open(self, pool: str) -> RawPool:
        """Return the images that have a label; their ids are those of the other task."""
        spec, file = self.spec, self.folder / self.spec.file
        other, images = open_other(self.task, spec.of, self.place)
        numbers = [int(text) - spec.first for text in self.found_in_paths("number", spec.number, images.ids)]
        labels = self._labels()
        beyond = [sample for sample, number in zip(images.ids, numbers, strict=True) if not 0 <= number < len(labels)]
        if beyond:
            raise DataError(f"{file} has labels for {len(labels)} images, and none for {beyond[0]!r}.")
        if len(set(numbers)) != len(labels) or len(numbers) != len(labels):
            raise DataError(
                f"{file} has labels for {len(labels)} images, and the pool {spec.of.pool!r} of {other.name} has "
                f"{len(numbers)}, of {len(set(numbers))} numbers: one of them is not whole, or of another edition."
            )
        raw = images_of(other.name, images, [labels[number] for number in numbers])
        rows = np.array([row for row, number in enumerate(numbers) if labels[number].present], np.int64)
        origin = PoolOrigin(files={spec.file: file_sha256(file, self.place.cache_dir)})
        return replace(chosen_rows(raw, rows), origin=origin)

    def _labels(self) -> list[MultiLabel]:
        file = self.folder / self.spec.file
        if not file.is_file():
            raise DataMissingError(f"{self.title}: the file of the labels is missing: {file}.")
        try:
            listed: Any = json.loads(read_text(file))
        except ValueError as error:
            raise DataError(f"{file} is no JSON file: {error}.") from error
        if not isinstance(listed, list) or not all(isinstance(entry, list) for entry in listed):
            raise DataError(f"{file} must be a list with the list of labels of each image.")
        return [MultiLabel(tuple(map(str, entry))) for entry in listed]
