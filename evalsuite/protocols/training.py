"""Protocols that learn from labelled samples: what a choice is made with, and what the final fit may use.

A choice (of lambda, k, ...) is made by the validation split, or by a tenth of train where the task has none:
stratified, by group where samples belong together, at least one sample per class. What was chosen is then fitted on
train and validation, or on train alone where the task says so.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evalsuite.data.drawing import Rows, hold_out
from evalsuite.errors import DataError
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Head, Outcome, ProtocolInput, Samples, size_of
from evalsuite.text import counted, shortened

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from evalsuite.data.base import Fold, Split

HOLD_OUT_FRACTION = 0.1


@dataclass(frozen=True)
class Labelled:
    """Training and validation samples of a fold as one block.

    fit, val: the rows that a choice is made with and by; final: those of the final fit, None: all. official: whether
    the task has a validation split.
    """

    samples: Samples
    fit: Rows
    val: Rows
    final: Rows | None
    official: bool

    @property
    def final_labels(self) -> NDArray[Any]:
        """The labels of the final fit."""
        return self.samples.labels if self.final is None else self.samples.labels[self.final]

    def scores(self, values: NDArray[np.float32]) -> FoldScores:
        """Return scores (n, classes) of the validation rows with their labels."""
        return FoldScores(values, self.samples.labels[self.val], [self.samples.ids[row] for row in self.val])


@dataclass(frozen=True)
class FoldResult:
    """What a protocol found in a fold. sizes: of train, validation and test; head: what was fitted, where it is linear;
    the others as in `Outcome`."""

    scores: FoldScores
    validation: FoldScores
    details: Mapping[str, Any]
    sizes: tuple[int, int, int]
    warnings: list[str]
    head: Head | None = None


class TrainedSplits(EvaluationProtocol):
    """A protocol that reads every split."""

    needs_training = True

    def splits(self, folds: Sequence[Fold]) -> list[Split]:
        """Return every split of every fold."""
        return [split for fold in folds for split in (fold.train, fold.val, fold.test) if split is not None]


class TrainedProtocol(TrainedSplits):
    """A protocol that chooses, fits and scores once for each fold; the details of its record are `folds`."""

    def run(self, given: ProtocolInput) -> Outcome:
        """Choose, fit, and score the test split, for each fold."""
        results = [self.run_fold(given, number) for number in range(len(given.folds))]
        train, val, test = zip(*(result.sizes for result in results), strict=True)
        return Outcome(
            folds=[result.scores for result in results],
            sizes={"train": size_of(train), "val": size_of(val), "test": size_of(test)},
            details={"folds": [result.details for result in results]},
            warnings=[warning for result in results for warning in result.warnings],
            validation=[result.validation for result in results],
            heads=[result.head for result in results if result.head is not None],
        )

    @abstractmethod
    def run_fold(self, given: ProtocolInput, number: int) -> FoldResult:
        """Choose, fit and score one fold."""


def labelled(given: ProtocolInput, fold: Fold, layer: str) -> Labelled:
    """Read the training and validation samples of a fold.

    DataError where nothing can be held out, and for samples of which any of several labels is right.
    """
    import torch

    train = _one_each(given, given.read(fold.train, layer))
    if fold.val is None:
        fit, val = hold_out(train.ids, train.labels, train.groups, fraction=HOLD_OUT_FRACTION, seed=given.seed)
        # A held-out tenth was taken from train, so it always belongs to the fit.
        return Labelled(train, fit, val, None, official=False)
    val_samples = _one_each(given, given.read(fold.val, layer))
    both = Samples(
        features=torch.cat([train.features, val_samples.features]),
        labels=np.concatenate([train.labels, val_samples.labels]),
        ids=train.ids + val_samples.ids,
    )
    rows = np.arange(len(both.ids))
    fit, val = rows[: len(train.ids)], rows[len(train.ids) :]
    return Labelled(both, fit, val, None if given.task.refit == "train+val" else fit, official=True)


def _one_each(given: ProtocolInput, samples: Samples) -> Samples:
    """Return samples to learn from; a metric of any right label is for tests, and no fit here knows what to do."""
    if samples.labels.ndim == 2 and not given.task.multilabel:
        raise DataError(
            f"The training images of the task {given.task.name!r} have sets of labels, of which any is right: nothing "
            "can be fitted to them. Train on images with one label each, of another task, by `borrows`."
        )
    return samples


def as_tensor(rows: NDArray[Any], given: ProtocolInput) -> torch.Tensor:
    """Return rows or labels on the device."""
    import torch

    return torch.from_numpy(rows).to(given.device)


def absent_classes(given: ProtocolInput, labels: NDArray[Any], what: str) -> list[str]:
    """Name the classes without a training sample (several labels: without a positive one)."""
    found = set(np.flatnonzero((labels == 1).any(axis=0)) if given.task.multilabel else np.unique(labels))
    absent = [key for index, key in enumerate(given.task.class_keys) if index not in found]
    if not absent:
        return []
    return [f"{what}: no training sample is of {counted(len(absent), 'class')}: {shortened(absent)}."]
