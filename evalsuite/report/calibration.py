"""How sure is a model of its answers? Confidences from stored scores. Arrays, no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.calibration import Reliability, confidence, reliability
from evalsuite.metrics import Scores
from evalsuite.protocols import PROTOCOLS
from evalsuite.protocols.calibrating import own_logits

__all__ = ["Reliability", "confidences", "reliability"]


def confidences(
    protocol: str, multilabel: bool, scores: Scores, details: Mapping[str, Any] | None = None
) -> NDArray[np.float64] | None:
    """Return how sure a model is of its best class, (n,) in [0, 1]; None where nobody said what its scores mean.

    scores: (n, C) as the protocol stores them; it says what they mean. details: of the record, for the scale of logits.
    """
    if protocol not in PROTOCOLS:
        return None
    described = PROTOCOLS.get(protocol)()
    kind = described.multilabel_scores if multilabel else described.scores
    if kind is None:
        return None
    if kind == "probabilities":
        return np.asarray(scores.max(axis=1).astype(np.float64))
    return confidence(*own_logits(described, kind, scores, details or {}))
