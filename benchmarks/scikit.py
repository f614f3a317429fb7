"""scikit-learn's side of the benchmark, in a process of its own: one fit at a time."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from benchmarks.objective import objective, suboptimality
from benchmarks.stored import load

MAX_ITERATIONS = 1_000
"""The paper's limit."""

TIGHT = 1e-6
TRIAL_ITERATIONS = 20


@dataclass(frozen=True)
class Fit:
    """One fit: its lambda, wall time in seconds, iterations, and F in float64."""

    lambda_: float
    seconds: float
    iterations: int
    value: float


def faster_threads(path: Path) -> int:
    """Return whether 1 or 2 threads are faster, by the best of two short fits each, in turn."""
    problem = load(path)
    x, y = problem.rows(whole=False)
    seconds: dict[int, float] = {1: float("inf"), 2: float("inf")}
    for threads in (1, 2, 1, 2):
        started = time.perf_counter()
        _fit(x, y, 1.0, threads, max_iter=TRIAL_ITERATIONS)
        seconds[threads] = min(seconds[threads], time.perf_counter() - started)
    return min(seconds, key=lambda threads: seconds[threads])


def default_fit(path: Path, lambda_: float, whole: bool, threads: int) -> Fit:
    """Fit as scikit-learn ships, but for the paper's limit of iterations."""
    x, y = load(path).rows(whole)
    started = time.perf_counter()
    model = _fit(x, y, lambda_, threads)
    seconds = time.perf_counter() - started
    weights, intercepts = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    return Fit(lambda_, seconds, int(model.n_iter_[0]), objective(x, y, lambda_, weights, intercepts))


def tight_fit(path: Path, lambda_: float, whole: bool, threads: int, best: float) -> Fit:
    """Fit until it stalls or hits the limit, and return where it first was within 1e-6 of `best`, else the end.

    Its iterates and their times are kept while it runs, and judged afterwards: that costs it a copy of the
    parameters an iteration, and no time otherwise.
    """
    x, y = load(path).rows(whole)
    points: list[NDArray[np.float32]] = []
    times: list[float] = []
    minimise = scipy.optimize.minimize

    def keep(point: NDArray[np.float64]) -> None:
        times.append(time.perf_counter())
        points.append(point.astype(np.float32))

    def kept(*args: Any, **options: Any) -> Any:
        return minimise(*args, **{**options, "callback": keep})

    with mock.patch.object(scipy.optimize, "minimize", kept):
        started = time.perf_counter()
        _fit(x, y, lambda_, threads, tol=1e-12)
        ended = time.perf_counter()

    def value(index: int) -> float:
        theta = points[index].astype(np.float64).reshape(-1, x.shape[1] + 1, order="F")
        return objective(x, y, lambda_, theta[:, :-1].copy(), theta[:, -1].copy())

    last = len(points) - 1
    if suboptimality(value(last), best, len(y)) > TIGHT:
        return Fit(lambda_, ended - started, len(points), value(last))
    low, high = -1, last  # the values fall, so that the first good one is found by halving
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suboptimality(value(middle), best, len(y)) <= TIGHT else (middle, high)
    return Fit(lambda_, times[high] - started, high + 1, value(high))


def _fit(x: NDArray[Any], y: NDArray[np.int64], lambda_: float, threads: int, **options: Any) -> LogisticRegression:
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # how far it got is what the suboptimality says
        return LogisticRegression(C=1 / lambda_, **{"max_iter": MAX_ITERATIONS, **options}).fit(x, y)
