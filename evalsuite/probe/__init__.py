"""Linear probes: logistic regression on frozen features, and the search for its regularisation.

Pure tensors: nothing here knows of datasets, files or models.
"""

from __future__ import annotations

from evalsuite.probe.solution import Solution
from evalsuite.probe.solver import Targets, solve
from evalsuite.probe.sweep import LAMBDAS, SweepResult, Trial, refit, sweep

__all__ = ["LAMBDAS", "Solution", "SweepResult", "Targets", "Trial", "refit", "solve", "sweep"]
