"""Is a model right as often as it is sure? Calibration errors, and the best single temperature. Arrays, no files.

Bins, error and temperature as in Guo et al. 2017 (arXiv:1706.04599), sections 2 and 4.2: bins of equal width, each open
at its lower end; a temperature divides all logits and is fitted by the likelihood of samples that were kept apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

from evalsuite.metrics import Labels, Scores

BINS = 15
"""Guo et al. 2017, table 1."""

ROWS_AT_A_TIME = 4096
"""Bounds the temporaries for 50,000 x 1,000 scores."""

FLOOR = float(np.finfo(np.float32).eps)
"""Probabilities below count as this: the resolution of stored scores, where scikit-learn's log_loss cuts them, too."""

SHARPEST = 1e4
"""Logits are multiplied with at most this over the mean gap of the best two: from there on a softmax is one and zeros.
Others may be out of reach: a class without a training image has no logit to speak of."""

Link = Literal["softmax", "sigmoid"]
"""How logits become probabilities: of one class among all, or of each class against the rest."""


@dataclass(frozen=True)
class Reliability:
    """What `reliability` finds, one value per bin.

    counts: samples; confidence, accuracy: their means, nan in an empty bin; error: the expected calibration error,
    the mean of |accuracy - confidence| over the bins by their samples. All but the counts are in [0, 1].
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


class Errors(TypedDict):
    """How far probabilities are from what happens; 0 is best.

    ece: the expected calibration error, in [0, 1]. nll: the mean negative log-likelihood of the labels, in nats; of a
    sigmoid, added up over the classes. brier: the mean squared distance of the probabilities from the label, in [0, 2]
    for a softmax.
    """

    ece: float
    nll: float
    brier: float


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Bin samples by confidence and compare it with the share that is right.

    confidence: (n,) in [0, 1], of the predicted class; right: (n,) whether that is the true one; at least one sample.
    """
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    number = np.searchsorted(inner_edges, confidence, side="left")
    counts = np.bincount(number, minlength=bins)
    mean_confidence, accuracy = np.full(bins, np.nan), np.full(bins, np.nan)
    there = counts > 0
    np.divide(np.bincount(number, confidence, bins), counts, out=mean_confidence, where=there)
    np.divide(np.bincount(number, right, bins), counts, out=accuracy, where=there)
    gaps = np.abs(accuracy - mean_confidence)[there]
    return Reliability(counts, mean_confidence, accuracy, float(gaps @ counts[there] / counts.sum()))


def confidence(logits: Scores, link: Link) -> NDArray[np.float64]:
    """Return the probability of the best class of each sample: (n,) in [0, 1]. logits: (n, C)."""
    parts = [probabilities(logits[span].astype(np.float64), link).max(axis=1) for span in _spans(len(logits))]
    return np.concatenate([np.empty(0), *parts])


def probabilities(logits: NDArray[np.float64], link: Link) -> NDArray[np.float64]:
    """Return the probabilities of logits (n, C)."""
    return np.asarray(expit(logits) if link == "sigmoid" else softmax(logits, axis=1))


def errors(logits: Scores, labels: Labels, link: Link, temperature: float = 1.0) -> Errors:
    """Return the calibration errors of logits (n, C), divided by a temperature, for labels (n,) in [0, C)."""
    sure, right, nll, brier = [], [], 0.0, 0.0
    for span in _spans(len(logits)):
        scaled, expected = logits[span] / np.float64(temperature), labels[span]
        found = probabilities(scaled, link)
        own = found[np.arange(len(expected)), expected]
        sure.append(found.max(axis=1))
        right.append(scaled.argmax(axis=1) == expected)
        nll += _negative_log_likelihood(scaled, expected, link)
        brier += float(np.square(found).sum() + len(own) - 2 * own.sum())
    ece = reliability(np.concatenate(sure), np.concatenate(right)).error
    return Errors(ece=ece, nll=nll / len(labels), brier=brier / len(labels))


def fit_temperature(logits: Scores, labels: Labels, link: Link) -> float | None:
    """Return the temperature that makes labels (n,) most likely, where logits (n, C) are divided by it.

    None where there is no best one: with every sample right, sharper is always better; with logits that are no better
    than chance, flatter is.
    """
    from scipy.optimize import brentq

    several = len(labels) and logits.shape[1] > 1
    gap = float(np.diff(np.partition(logits, -2, axis=1)[:, -2:]).mean()) if several else 0.0
    if gap == 0:
        return None
    low, high = (float(np.log(factor / gap)) for factor in (1 / SHARPEST, SHARPEST))

    def slope(exponent: float) -> float:
        return _slope(logits, labels, link, float(np.exp(exponent)))

    if slope(low) >= 0 or slope(high) <= 0:
        return None
    return float(np.exp(-brentq(slope, low, high, xtol=1e-9)))


def _slope(logits: Scores, labels: Labels, link: Link, sharpness: float) -> float:
    """Return how the mean negative log-likelihood changes with what the logits are multiplied with."""
    total = 0.0
    for span in _spans(len(logits)):
        part, expected = logits[span].astype(np.float64), labels[span]
        own = part[np.arange(len(part)), expected].sum()
        total += float((probabilities(part * sharpness, link) * part).sum() - own)
    return total / len(labels)


def _negative_log_likelihood(logits: NDArray[np.float64], labels: Labels, link: Link) -> float:
    own = np.arange(len(labels)), labels
    if link == "softmax":
        return -float(np.maximum(log_softmax(logits, axis=1)[own], np.log(FLOOR)).sum())
    # log(1 - p) of every class, and log p in its place for the true one: the two differ by the logit.
    return float(np.logaddexp(0, logits).sum() - logits[own].sum())


def _spans(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_A_TIME) for start in range(0, count, ROWS_AT_A_TIME))
