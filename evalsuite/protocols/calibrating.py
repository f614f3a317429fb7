"""How well a protocol's scores are calibrated, as they are and after one temperature.

Logits are the model's own where it has a scale and a bias (zero-shot): with a bias it was trained with a sigmoid, and
is read by one. The temperature is fitted on scores of validation samples that the fit has not seen, and used on the
test split. For one label per image only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from evalsuite.calibration import BINS, FLOOR, Errors, Link, errors, fit_temperature
from evalsuite.metrics import Scores
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome, ScoreKind

if TYPE_CHECKING:
    from evalsuite.tasks.spec import TaskSpec


class Calibration(TypedDict):
    """The calibration of a result, each figure the mean over folds.

    before: of the scores as they are. after: with the temperatures, one for each fold; none where a fold has no
    validation scores, or none that say which temperature is best: all are right, or no better than chance.
    validation: samples that the temperatures were fitted on, over all folds.
    """

    bins: int
    validation: int
    before: Errors
    after: Errors | None
    temperatures: list[float]


def own_logits(
    protocol: EvaluationProtocol, kind: ScoreKind, scores: Scores, details: Mapping[str, Any]
) -> tuple[Scores, Link]:
    """Return stored scores (n, C) as the model's logits, and how these become probabilities. details: of the record."""
    if kind == "probabilities":
        return np.log(np.maximum(scores, FLOOR)), "softmax"
    if kind == "binary_logits":
        return scores, "sigmoid"
    bias = protocol.bias(details)
    return scores * (protocol.temperature(details) or 1.0) + bias, "sigmoid" if bias else "softmax"


def calibrated(protocol: EvaluationProtocol, task: TaskSpec, outcome: Outcome) -> Calibration | None:
    """Return the calibration of an outcome; None for several labels per image, and where scores mean nothing known."""
    kind = protocol.scores
    if not task.one_label or kind is None or not outcome.folds:
        return None

    def logits(fold: FoldScores) -> tuple[Scores, Link]:
        return own_logits(protocol, kind, fold.scores, outcome.details)

    def measured(fold: FoldScores, temperature: float = 1.0) -> Errors:
        found, link = logits(fold)
        return errors(found, fold.labels, link, temperature)

    fitted: list[float] = []
    for fold in outcome.validation:
        found, link = logits(fold)
        temperature = fit_temperature(found, fold.labels, link)
        fitted += [] if temperature is None else [temperature]
    complete = len(fitted) == len(outcome.folds)
    after = [measured(*pair) for pair in zip(outcome.folds, fitted, strict=True)] if complete else []
    return Calibration(
        bins=BINS,
        validation=sum(len(fold.ids) for fold in outcome.validation),
        before=_mean([measured(fold) for fold in outcome.folds]),
        after=_mean(after) if after else None,
        temperatures=fitted if complete else [],
    )


def _mean(found: Sequence[Errors]) -> Errors:
    ece, nll, brier = np.array([[one["ece"], one["nll"], one["brier"]] for one in found]).mean(axis=0)
    return Errors(ece=float(ece), nll=float(nll), brier=float(brier))
