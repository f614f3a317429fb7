"""Is a model right as often as it is sure? Confidences, reliability, expected calibration error. Arrays, no files.

Bins and error as in Guo et al. 2017 (arXiv:1706.04599), section 2: equal widths, each bin open at its lower end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.metrics import Scores
from evalsuite.protocols import PROTOCOLS

BINS = 15
"""Guo et al. 2017, table 1."""

ROWS_AT_A_TIME = 4096
"""Bounds the temporaries for 50,000 x 1,000 scores."""


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


def confidences(
    protocol: str, multilabel: bool, scores: Scores, details: Mapping[str, Any] | None = None
) -> NDArray[np.float64] | None:
    """Return how sure a model is of its best class, (n,) in [0, 1]; None where nobody said what its scores mean.

    scores: (n, C) as the protocol stores them; it says what they mean. details: of the record, for the scale of logits.
    """
    if protocol not in PROTOCOLS:
        return None
    kind = PROTOCOLS.get(protocol).multilabel_scores if multilabel else PROTOCOLS.get(protocol).scores
    if kind is None:
        return None
    parts = [scores[start : start + ROWS_AT_A_TIME] for start in range(0, len(scores), ROWS_AT_A_TIME)]
    if kind == "logits":
        temperature = PROTOCOLS.get(protocol)().temperature(details or {}) or 1.0
        return np.concatenate([_best_softmax(part.astype(np.float64) * temperature) for part in parts])
    highest = np.concatenate([part.max(axis=1).astype(np.float64) for part in parts])
    return highest if kind == "probabilities" else 1 / (1 + np.exp(-highest))


def _best_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))
