"""Which classes a model mixes up: confusion counts, recalls, pairs. Arrays only, no files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pair:
    """Samples of class `truth` that were taken for class `said`: how many, and which share of the class."""

    truth: int
    said: int
    count: int
    share: float


def confusion_counts(truth: NDArray[np.integer], said: NDArray[np.integer], n_classes: int) -> NDArray[np.int64]:
    """Return (n_classes, n_classes) counts: one row per true class, one column per predicted one.

    truth, said: (n,) class indices. The same as scikit-learn's `confusion_matrix`.
    """
    cells = truth.astype(np.int64) * n_classes + said
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def recalls(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of each class that was recognised, nan for a class without a sample."""
    totals = counts.sum(axis=1)
    found = np.full(len(counts), np.nan)
    np.divide(counts.diagonal(), totals, out=found, where=totals > 0)
    return found


def most_confused(counts: NDArray[np.int64], limit: int) -> list[Pair]:
    """Return the pairs of classes with most mistakes, at most `limit`; ties in the order of the classes."""
    mistakes = counts - np.diag(counts.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[:limit]
    totals = counts.sum(axis=1)
    pairs = [(int(cell) // len(counts), int(cell) % len(counts)) for cell in order]
    return [
        Pair(truth, said, int(mistakes[truth, said]), float(mistakes[truth, said] / totals[truth]))
        for truth, said in pairs
        if mistakes[truth, said] > 0
    ]


def worst(values: NDArray[np.float64], limit: int) -> list[int]:
    """Return the indices of the lowest values, at most `limit`, lowest first; nan is no value."""
    order = np.argsort(values, kind="stable")
    return [int(index) for index in order[:limit] if not np.isnan(values[index])]
