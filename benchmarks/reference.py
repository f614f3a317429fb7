"""Tight float64 solutions: what both sides' suboptimality is measured against.

They come from the project's own solver, in float64 and to a tolerance far below what is asked of either side, but are
not taken on trust: each carries the Newton decrement at its end (`objective.newton_decrement`, which shares no code
with the solver), and where one of the compared fits has a lower F, that is F*. They are kept next to the problem's
files, whose folder is named by their digest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.objective import newton_decrement, objective, suboptimality
from benchmarks.ours import arrays, recorded, targets_of, top1
from benchmarks.stored import load
from evalsuite.probe import Prepared, Solution, sweep

TOLERANCE = 1e-10
REFIT_TOLERANCE = 1e-12
MAX_ITERATIONS = 20_000


@dataclass(frozen=True)
class Reference:
    """F* of a fit, and how far above the true minimum it may be, as a relative suboptimality."""

    value: float
    gap: float


@dataclass(frozen=True)
class Search:
    """The same search with tight fits: the lambda it chose, its plateau, and the scores it saw."""

    best: float
    plateau: tuple[float, float]
    scores: dict[float, float]


def search(path: Path, exhaustive: bool) -> Search:
    """Search lambda by tight fits, along the paper's path or over all 97 points."""
    kept = path / ("search-full.json" if exhaustive else "search.json")
    if not kept.is_file():
        problem = load(path)
        rows = torch.arange(len(problem.labels))
        targets = targets_of(problem)
        validation_rows = rows[problem.n_fit :]
        with recorded() as fits:
            found = sweep(
                torch.from_numpy(problem.features).double(),
                targets,
                fit_rows=rows[: problem.n_fit],
                validation_rows=validation_rows,
                score=top1(targets.values[validation_rows]),
                grid="full" if exhaustive else "parametric",
                tolerance=TOLERANCE,
                max_iterations=MAX_ITERATIONS,
            )
        for value, fit in fits.items():
            _write(_file(path, value, whole=False), fit)
        scores = {repr(trial["lambda"]): trial["score"] for trial in found.tried}
        kept.write_text(json.dumps({"best": found.best_lambda, "plateau": found.plateau, "scores": scores}))
    content = json.loads(kept.read_text())
    low, high = content["plateau"]
    return Search(content["best"], (low, high), {float(key): score for key, score in content["scores"].items()})


def reference(path: Path, lambda_: float, whole: bool) -> Reference:
    """Return the reference for one lambda, on the train rows or on all."""
    weights, intercepts, gap = _solved(path, lambda_, whole)
    return Reference(objective(*load(path).rows(whole), lambda_, weights, intercepts), gap)


def reference_value(path: Path, lambda_: float) -> float:
    """Return F* for one lambda on the train rows, without its Newton decrement."""
    file = _file(path, lambda_, whole=False)
    if not file.is_file():
        _write(file, _solve(path, lambda_, whole=False))
    with np.load(file) as content:
        return objective(*load(path).rows(whole=False), lambda_, content["weights"], content["intercepts"])


def parameters(path: Path, lambda_: float, whole: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return its weights (C, D) and intercepts (C,)."""
    weights, intercepts, _ = _solved(path, lambda_, whole)
    return weights, intercepts


def _solved(path: Path, lambda_: float, whole: bool) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    file = _file(path, lambda_, whole)
    if not file.is_file():
        _write(file, _solve(path, lambda_, whole))
    with np.load(file) as content:
        weights, intercepts, gap = content["weights"], content["intercepts"], float(content["gap"])
    if np.isnan(gap):
        gap = _gap(path, lambda_, whole, weights, intercepts)
        np.savez(file, weights=weights, intercepts=intercepts, gap=gap)
    return weights, intercepts, gap


def _solve(path: Path, lambda_: float, whole: bool) -> Solution:
    problem = load(path)
    x, y = problem.features, problem.rows(whole)[1]
    prepared = Prepared(torch.from_numpy(x).double(), targets_of(problem), torch.arange(len(y)))
    return prepared.solve([lambda_], REFIT_TOLERANCE if whole else TOLERANCE, MAX_ITERATIONS)


def _gap(
    path: Path, lambda_: float, whole: bool, weights: NDArray[np.float64], intercepts: NDArray[np.float64]
) -> float:
    x, y = load(path).rows(whole)
    best = objective(x, y, lambda_, weights, intercepts)
    return suboptimality(best + newton_decrement(x, y, lambda_, weights, intercepts), best, len(y))


def _file(path: Path, lambda_: float, whole: bool) -> Path:
    return path / f"{'all' if whole else 'train'}-{lambda_:.6e}.npz"


def _write(file: Path, fit: Solution) -> None:
    weights, intercepts = arrays(fit)
    np.savez(file, weights=weights, intercepts=intercepts, gap=np.nan)
