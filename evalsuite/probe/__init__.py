"""Linear probes: logistic regression on frozen features, and the search for its regularisation.

Pure tensors: nothing here knows of datasets, files or models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evalsuite.probe.solver import Prepared, Solution, Targets, solve
from evalsuite.probe.sweep import LAMBDAS, SweepResult, Trial, refit, sweep

if TYPE_CHECKING:
    from evalsuite.probe.estimator import LogisticProbe

__all__ = [
    "LAMBDAS", "LogisticProbe", "Prepared", "Solution", "SweepResult", "Targets", "Trial", "refit", "solve", "sweep",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # The estimator needs scikit-learn, whose import takes longer than many a probe.
    if name != "LogisticProbe":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from evalsuite.probe.estimator import LogisticProbe

    return LogisticProbe
