"""What of the data contradicts itself, although a number can be computed: warnings for the record."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from evalsuite.data.base import Fold, Split
from evalsuite.protocols.base import EvaluationProtocol, Outcome
from evalsuite.runner.tasks import TaskSession, rows_by_pool
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import brief, counted, shortened

Digests = Callable[[Split], Iterable[str]]
"""The sha256 of each image of a split, "" where nobody knows it."""


def doubts_about(
    session: TaskSession, protocol: EvaluationProtocol, outcome: Outcome, digests: Digests, *, limited: bool
) -> list[str]:
    """Return what of the data contradicts itself, although there is a number. limited: only a part of it was used."""
    found = [] if limited else untested_classes(session.task, outcome)
    found += labelled_twice(session, protocol, digests)
    return found + (images_on_both_sides(session.folds(training=True), digests) if protocol.needs_training else [])


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


def labelled_twice(session: TaskSession, protocol: EvaluationProtocol, digests: Digests) -> list[str]:
    """Count the images that are there again, byte for byte, with another label (or other captions)."""
    labels: dict[str, Hashable] = {}
    count = 0
    for name, rows in rows_by_pool(session.splits(protocol)).items():
        pool = session.pool(name)
        known = pool.captions or [label.tobytes() for label in pool.labels]
        for row, digest in zip(rows, digests(Split(name, np.array(rows, np.int64))), strict=True):
            count += digest != "" and labels.setdefault(digest, known[row]) != known[row]
    verb = "is" if count == 1 else "are"
    return [f"{counted(count, 'image')} {verb} there before with another label, byte for byte."] if count else []


def images_on_both_sides(folds: Sequence[Fold], digests: Digests) -> list[str]:
    """Count the test images that are also images to train on, byte for byte, and the validation images that are."""
    found = []
    for name, what in (("test", "test image"), ("val", "validation image")):
        common = total = 0
        for fold in folds:
            others = [split for other, split in fold.splits.items() if other not in ("test", name)]
            seen = {digest for split in others for digest in digests(split)} - {""}
            held = [digest for digest in digests(fold.splits[name]) if digest] if name in fold.splits else []
            common += sum(digest in seen for digest in held)
            total += len(held)
        if common:
            verb = "is an image" if common == 1 else "are images"
            found.append(f"{common:,} of {counted(total, what)} {verb} to train on, too, byte for byte.")
    return found


def cut_prompts(texts: Sequence[str], cut: Sequence[int]) -> list[str]:
    """Warn of prompts whose end is cut off, even where they still differ."""
    if not cut:
        return []
    are = "is" if len(cut) == 1 else "are"
    return [
        f"{counted(len(cut), 'prompt')} of {len(texts):,} {are} longer than the text encoder reads, and the end is cut "
        f"off: {brief(texts[cut[0]], letters=150)!r}."
    ]
