"""The project's side of the benchmark, in a process of its own: whole sweeps as they ship, and what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks.objective import objective, probabilities
from benchmarks.problems import Problem
from benchmarks.stored import load
from evalsuite.probe import Prepared, Solution, Targets, refit, solve, sweep

STATUS = Path("/proc/self/status")
SQUARE = 2_048
"""Side of the matrices whose product measures the machine's rate."""


@dataclass(frozen=True)
class Sweep:
    """One sweep and its refit. seconds: wall time; evaluations: passes over the rows, of the sweep and of the refit."""

    seconds: float
    lambdas: tuple[float, ...]
    best: float
    evaluations: tuple[int, int]
    converged: bool
    peak_bytes: int | None


@dataclass(frozen=True)
class Found:
    """F in float64 of every fit of the last sweep, by lambda, and of the refit."""

    values: dict[float, float]
    refit: float


@dataclass
class _Last:
    fits: dict[float, Solution]
    final: Solution


_last: list[_Last] = []
"""The last sweep; `judge` looks at its fits."""


def warm_up() -> None:
    """Fit something tiny: what libraries set up on their first call is not the solver's."""
    torch.manual_seed(0)
    solve(torch.randn(64, 8), Targets("multinomial", torch.arange(64) % 4, 4), [1.0, 10.0])


def run(path: Path) -> Sweep:
    """Time the paper's search and the final fit; scores are top-1 accuracies of the validation rows."""
    before = _memory("VmRSS") if load.cache_info().currsize == 0 else None
    problem = load(path)
    features, targets = torch.from_numpy(problem.features), targets_of(problem)
    rows = torch.arange(len(features))
    fit_rows, validation_rows = rows[: problem.n_fit], rows[problem.n_fit :]
    started = time.perf_counter()
    with recorded() as fits:
        result = sweep(
            features,
            targets,
            fit_rows=fit_rows,
            validation_rows=validation_rows,
            score=top1(targets.values[validation_rows]),
        )
    final = refit(features, targets, result.best_lambda, warm_start=result.solution)
    seconds = time.perf_counter() - started
    peak = None if before is None else _memory("VmHWM")
    tried = {trial["lambda"]: trial["converged"] for trial in result.tried}
    _last[:] = [_Last(fits, final)]
    return Sweep(
        seconds,
        tuple(tried),
        result.best_lambda,
        (sum(fit.evaluations[0] for fit in fits.values()), final.evaluations[0]),
        all(tried.values()) and final.converged[0],
        None if before is None or peak is None else peak - before,
    )


def judge(path: Path) -> Found:
    """Return F of the fits of the last sweep, computed apart from the solver."""
    problem, last = load(path), _last[0]
    x, y = problem.rows(whole=False)
    values = {value: objective(x, y, value, *arrays(fit)) for value, fit in last.fits.items()}
    return Found(values, objective(*problem.rows(whole=True), last.final.lambdas[0], *arrays(last.final)))


def probability_difference(path: Path, weights: Any, intercepts: Any) -> float:
    """Return the largest difference of a probability, over all rows, between the last refit and a reference."""
    features = load(path).features
    ours, theirs = probabilities(features, *arrays(_last[0].final)), probabilities(features, weights, intercepts)
    return float(np.abs(ours - theirs).max())


def product_rate() -> float:
    """Return the float32 matrix products' rate in operations per second, with as many threads as the solver uses."""
    a, b = torch.ones(SQUARE, SQUARE), torch.ones(SQUARE, SQUARE)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * SQUARE**3 / min(seconds)


@contextmanager
def recorded() -> Iterator[dict[float, Solution]]:
    """Keep every fit by its lambda: a sweep returns the best one only."""
    fits: dict[float, Solution] = {}
    plain = Prepared.solve

    def keeping(self: Prepared, *args: Any, **options: Any) -> Solution:
        found = plain(self, *args, **options)
        fits.update({value: found.select(index) for index, value in enumerate(found.lambdas)})
        return found

    with mock.patch.object(Prepared, "solve", keeping):
        yield fits


def targets_of(problem: Problem) -> Targets:
    """Return the labels as the solver takes them."""
    return Targets("multinomial", torch.from_numpy(problem.labels), problem.n_classes)


def top1(labels: Tensor) -> Callable[[Tensor], float]:
    """Return the accuracy of logits as a function."""
    return lambda logits: float((logits.argmax(dim=1) == labels).double().mean())


def arrays(fit: Solution) -> tuple[Any, Any]:
    """Return weights (C, D) and intercepts (C,) of a solution for one lambda."""
    return fit.weights[0].numpy(), fit.intercepts[0].numpy()


def _memory(field: str) -> int | None:
    """Return VmRSS (now) or VmHWM (at most so far) of this process in bytes; None where the system does not say."""
    if not STATUS.is_file():
        return None
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1_024
