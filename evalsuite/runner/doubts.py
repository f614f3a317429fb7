"""What of the data contradicts itself, although a number can be computed: warnings for the record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from evalsuite.data.base import Fold, Split
from evalsuite.protocols.base import Outcome
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import brief, counted, shortened


def untested_classes(task: TaskSpec, outcome: Outcome) -> list[str]:
    """Name the classes of which no test sample is (several labels: for which none is positive)."""
    found: set[int] = set()
    for fold in outcome.folds:
        found.update(
            np.flatnonzero((fold.labels == 1).any(axis=0)) if fold.labels.ndim == 2 else np.unique(fold.labels)
        )
    absent = [key for index, key in enumerate(task.class_keys) if index not in found]
    if not absent:
        return []
    return [f"no test sample is of {counted(len(absent), 'class')} of {len(task.class_keys)}: {shortened(absent)}."]


def images_on_both_sides(folds: Sequence[Fold], digests: Callable[[Split], Iterable[str]]) -> list[str]:
    """Count the test images that are also training images, byte for byte. digests: the sha256 of a split's images."""
    common = total = 0
    for fold in folds:
        seen = {digest for split in (fold.train, fold.val) if split is not None for digest in digests(split)}
        tested = list(digests(fold.test))
        common += sum(digest in seen for digest in tested)
        total += len(tested)
    if not common:
        return []
    verb = "is an image" if common == 1 else "are images"
    return [f"{common:,} of {counted(total, 'test image')} {verb} to train on, too, byte for byte."]


def cut_prompts(texts: Sequence[str], cut: Sequence[int]) -> list[str]:
    """Warn of prompts whose end is cut off, even where they still differ."""
    if not cut:
        return []
    are = "is" if len(cut) == 1 else "are"
    return [
        f"{counted(len(cut), 'prompt')} of {len(texts):,} {are} longer than the text encoder reads, and the end is cut "
        f"off: {brief(texts[cut[0]], letters=150)!r}."
    ]
