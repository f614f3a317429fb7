"""Classify a person's images: by a probe that a run has kept, or zero-shot by the names of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalsuite.applied.pictures import LOOSE, Encoded, encode, open_images
from evalsuite.calibration import Link, probabilities
from evalsuite.columns import Column, as_table
from evalsuite.errors import UsageError
from evalsuite.models.base import EMBEDDING
from evalsuite.options import RunOptions
from evalsuite.protocols.zero_shot import SCORE_SCALE, class_prompts, class_weights, image_logits
from evalsuite.report.escaping import frame_to_csv, to_json_text
from evalsuite.results.heads import StoredHead, check_fits
from evalsuite.runner.base import Reporter
from evalsuite.runner.models import ModelSession
from evalsuite.tasks.loading import SIMPLE_TEMPLATE
from evalsuite.tasks.spec import TaskClass

SHOWN = 3
"""Classes of each image in a table."""


@dataclass(frozen=True)
class Classes:
    """What images are told apart by, zero-shot."""

    classes: Sequence[TaskClass]
    templates: Sequence[str] = (SIMPLE_TEMPLATE,)


@dataclass(frozen=True)
class Predictions:
    """Probabilities (n, C) of the classes for images; unreadable: those that were left out, with why."""

    images: list[str]
    classes: list[str]
    probabilities: NDArray[np.float64]
    unreadable: tuple[str, ...] = ()

    def to_csv(self) -> str:
        """Return a line for each image: its best class, how sure that is, and the probability of every class."""
        import pandas as pd

        best = self.probabilities.argmax(axis=1)
        sure = self.probabilities.max(axis=1)
        columns = [self.images, [self.classes[column] for column in best], sure, *self.probabilities.T]
        names = ["image", "prediction", "probability", *self.classes]
        frame = pd.DataFrame(dict(enumerate(columns))).set_axis(names, axis=1)
        return frame_to_csv(frame, float_format="%.6f")

    def to_json(self) -> str:
        """Return a list of images, each with its best class and the probability of every class."""
        found = [
            {
                "image": image,
                "prediction": self.classes[int(row.argmax())],
                "probabilities": dict(zip(self.classes, map(float, row), strict=True)),
            }
            for image, row in zip(self.images, self.probabilities, strict=True)
        ]
        return to_json_text(found)

    def to_table(self, width: int | None = None) -> str:
        """Return a table for people: the best classes of each image with their probabilities in percent.

        width: of the terminal; None: as wide as it gets.
        """
        rows = []
        for image, row in zip(self.images, self.probabilities, strict=True):
            best = np.argsort(-row, kind="stable")[:SHOWN]
            others = ", ".join(f"{self.classes[column]} {100 * row[column]:.1f}" for column in best[1:])
            rows.append([image, self.classes[best[0]], f"{100 * row[best[0]]:.1f}", others])
        columns = [Column("image", wraps=True), Column("class"), Column("%", right=True), Column("then", wraps=True)]
        return as_table(columns, rows, width) + "\n"


def predict(
    session: ModelSession, paths: Sequence[Path], by: StoredHead | Classes, options: RunOptions, reporter: Reporter
) -> Predictions:
    """Classify the images in files and folders; they are encoded once and stored.

    UsageError where there is no image, a head is not of this model, or zero-shot has no text encoder.
    """
    pool = open_images(paths)
    if isinstance(by, StoredHead):
        check_fits(by, session.info(), session.further_layer)
    elif not session.has_text():
        raise UsageError(f"The model {session.name!r} has no text encoder: give --head, a probe that `run` kept.")
    encoded = encode(session, LOOSE, pool, range(len(pool)), options, reporter)
    logits, link = _by_head(encoded, by) if isinstance(by, StoredHead) else _by_names(session, encoded, by)
    names = by.described.classes if isinstance(by, StoredHead) else by.classes
    images = [pool.ids[row] for row in encoded.rows]
    return Predictions(images, [item.key for item in names], probabilities(logits, link), encoded.unreadable)


def _by_head(encoded: Encoded, stored: StoredHead) -> tuple[NDArray[np.float64], Link]:
    features = encoded.read(stored.described.layer).double().numpy()
    head = stored.head
    return features @ head.weights.T + head.intercepts, "sigmoid" if stored.described.multilabel else "softmax"


def _by_names(session: ModelSession, encoded: Encoded, by: Classes) -> tuple[NDArray[np.float64], Link]:
    texts, owners = class_prompts(by.classes, by.templates)
    weights = class_weights(session.embed_texts(texts).embedding, owners, len(by.classes)).to(session.device)
    own = session.logits()
    scores = image_logits(encoded.read(EMBEDDING), weights, session.device).double().numpy()
    return scores * (own.scale / SCORE_SCALE) + own.bias, "sigmoid" if own.bias else "softmax"
