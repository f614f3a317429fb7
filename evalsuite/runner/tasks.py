"""A task during a run: its data is opened once and shared by all models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from evalsuite.data.base import Fold, Pool, Split, TaskData
from evalsuite.data.drawing import hold_out, stratified_limit
from evalsuite.data.fetching import fetch_task
from evalsuite.data.opening import open_task
from evalsuite.data.place import DataPlace
from evalsuite.data.splits import check_sizes
from evalsuite.errors import DataError, DataMissingError, EvalsuiteError
from evalsuite.features.freshness import samples_digest
from evalsuite.options import RunOptions
from evalsuite.protocols import EvaluationProtocol
from evalsuite.protocols.training import HOLD_OUT_FRACTION
from evalsuite.tasks.spec import TaskSpec

NOT_IN_FINGERPRINT = {
    "title", "sources", "prompts", "tags", "licence", "homepage", "citation", "notes", "split_fidelity", "sizes",
    "subset", "borrows", "captions",
}  # fmt: skip
"""Fields of a task that change no number: sources, also other tasks, count through the samples and labels they give."""


class TaskSession:
    """One task of a run."""

    def __init__(self, task: TaskSpec, options: RunOptions, place: DataPlace) -> None:
        self.task = task
        self._options = options
        self._place = place
        self._folds: dict[bool, tuple[Fold, ...] | EvalsuiteError] = {}
        self.incomplete: DataError | DataMissingError | None = None

    @cached_property
    def data(self) -> TaskData:
        """Open the source and its test split; DataMissingError says what is not there.

        With `download`, it is fetched first. Where only the test split is there, `incomplete` is the error of
        what needs the others.
        """
        try:
            if self._options.download:
                fetch_task(self.task, self._place)
            return self._opened(test_only=False)
        except (DataMissingError, DataError) as error:
            try:
                opened = self._opened(test_only=True)
            except EvalsuiteError:
                raise error from None
            self.incomplete = error
            return opened

    def _opened(self, *, test_only: bool) -> TaskData:
        data = open_task(self.task, self._place, test_only=test_only)
        data.folds(test_only=True)
        return data

    def folds(self, *, training: bool) -> tuple[Fold, ...]:
        """Return the splits, checked against the sizes of the task file, with `--limit` applied.

        Without `training`, those to train on are empty, and nothing of them is opened. A failure is remembered for the
        next model.
        """
        if training not in self._folds:
            try:
                self._folds[training] = self._resolved(training)
            except EvalsuiteError as error:
                self._folds[training] = error
        found = self._folds[training]
        if isinstance(found, EvalsuiteError):
            raise found
        return found

    def _resolved(self, training: bool) -> tuple[Fold, ...]:
        if training:
            self.folds(training=False)  # what is wrong with it is wrong with all, and is not tried twice
        if training and self.incomplete is not None:
            raise self.incomplete
        folds = self.data.folds(test_only=not training)
        check_sizes(self.data.task, folds, *([] if training else [("test",)]))
        limit = self._options.limit
        return folds if limit is None else tuple(self._limited(fold, limit) for fold in folds)

    def splits(self, protocol: EvaluationProtocol) -> list[Split]:
        """Return the splits that a protocol reads."""
        return protocol.splits(self.folds(training=protocol.needs_training))

    def to_encode(self, protocol: EvaluationProtocol) -> list[Split]:
        """Return the splits whose images a protocol needs: those that decide its number, and those to calibrate by."""
        return [*self.splits(protocol), *self.validation(protocol)]

    def validation(self, protocol: EvaluationProtocol) -> list[Split]:
        """Return samples to fit a temperature on for each test split of a protocol that does not train, where asked.

        They are the validation split, or what other protocols hold out of train.
        """
        if protocol.needs_training or not self._options.calibrate or not self.task.one_label:
            return []
        first: dict[tuple[str, bytes], Fold] = {}
        for fold in self.folds(training=True):
            first.setdefault((fold.test.pool, fold.test.rows.tobytes()), fold)
        return [fold.val or self._held_out(fold.train) for fold in first.values()]

    def _held_out(self, train: Split) -> Split:
        pool = self.pool(train.pool)
        ids = [pool.ids[row] for row in train.rows]
        groups = None if pool.groups is None else [pool.groups[row] for row in train.rows]
        held = hold_out(ids, pool.labels[train.rows], groups, HOLD_OUT_FRACTION, self._options.seed)[1]
        return Split(train.pool, train.rows[held])

    def _limited(self, fold: Fold, limit: int) -> Fold:
        train, test = (self._limited_split(split, limit) for split in (fold.train, fold.test))
        return Fold(train, fold.val and self._limited_split(fold.val, limit), test)

    def _limited_split(self, split: Split, limit: int) -> Split:
        labels = self.pool(split.pool).labels[split.rows]
        return Split(split.pool, split.rows[stratified_limit(labels, limit, self._options.seed)])

    def pool(self, name: str) -> Pool:
        """Return a pool, indexed on first use."""
        return self.data.open_pool(name)

    def stored_as(self, pool: str) -> tuple[str, str, str]:
        """Return the task, the pool and the fingerprint that features are stored under: another task's, where it is."""
        opened = self.pool(pool)
        owner = opened.owner
        return (owner.task, owner.pool, owner.fingerprint) if owner else (self.task.name, pool, opened.fingerprint)

    @property
    def logs_samples(self) -> bool:
        """Whether predictions are stored: what predicts no classes of the task has none."""
        return self._options.log_samples and self.task.classifies

    def definition(self, protocol: EvaluationProtocol) -> dict[str, object]:
        """Return what of the task file can change a number: rules, classes; templates and names where it reads them."""
        rules = self.data.task.model_dump(mode="json", exclude=NOT_IN_FINGERPRINT | self._usual())
        if not protocol.needs_text:
            return {**rules, "classes": self.task.class_keys}
        task = protocol.prompted(self.task)
        names = [item.model_dump() for item in task.class_list]
        return {**rules, "classes": names, "templates": task.prompt_spec.templates}

    def _usual(self) -> set[str]:
        """Return what the task file leaves as it is of the bounds of images and of `bias`: these decide no number."""
        fields, names = type(self.task).model_fields, ("max_pixels", "max_aspect", "bias")
        return {name for name in names if getattr(self.data.task, name) == fields[name].default}

    def group_digests(self) -> list[str]:
        """Return fingerprints of the groups that a hold-out of training samples keeps together, if there are any."""
        training = [fold.train for fold in self.folds(training=True) if fold.val is None]
        grouped = [(self.pool(split.pool).groups, split.rows) for split in training]
        named = [[groups[row] for row in rows] for groups, rows in grouped if groups is not None]
        return [hashlib.sha256("\0".join(names).encode()).hexdigest() for names in named]

    def split_digest(self, split: Split) -> str:
        """Return a fingerprint of the samples and labels of a split."""
        pool = self.pool(split.pool)
        ids = [pool.ids[row] for row in split.rows]
        digest = hashlib.sha256(pool.fingerprint.encode())
        digest.update(samples_digest(ids, pool.sizes[split.rows].tolist()).encode())
        digest.update(self._answers(split))
        return digest.hexdigest()

    def labels_digest(self, protocol: EvaluationProtocol) -> str:
        """Return a fingerprint of the classes, and of the labels of the test samples, whatever else they are of."""
        digest = hashlib.sha256(json.dumps(self.task.class_keys).encode())
        for fold in self.folds(training=protocol.needs_training):
            digest.update(self._answers(fold.test))
        return digest.hexdigest()

    def _answers(self, split: Split) -> bytes:
        """Return the labels of a split, and its captions where it has some."""
        pool = self.pool(split.pool)
        labels = np.ascontiguousarray(pool.labels[split.rows]).tobytes()
        if pool.captions is None:
            return labels
        return labels + json.dumps([pool.captions[row] for row in split.rows]).encode()


def rows_by_pool(splits: Iterable[Split]) -> Mapping[str, Sequence[int]]:
    """Return, for each pool, the rows that any of the splits needs, ascending."""
    rows: dict[str, set[int]] = {}
    for split in splits:
        rows.setdefault(split.pool, set()).update(int(row) for row in split.rows)
    return {pool: sorted(found) for pool, found in rows.items()}
