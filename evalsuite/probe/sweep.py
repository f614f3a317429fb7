"""The choice of lambda: the parametric binary search of the CLIP paper, appendix A.3, on validation rows.

The grid has 97 points 10^(-6 + i/8), i = 0 .. 96, eight per decade. The search tries every 16th point
(10^-6, 10^-4 .. 10^6), then halves the step around the best point so far, until neighbouring points of the
grid have been compared: 7 + 2 + 2 + 2 + 2 = 15 fits. The paper does not say what to do where points tie. Here they
are a plateau: the search goes on at both of its ends and in its middle, which takes a few fits more, and takes the
middle. It is far from any worse lambda, while an end of the grid may be a fit of little but the shares of the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypedDict

from torch import Tensor

from evalsuite.errors import EvalsuiteError
from evalsuite.probe.solver import Prepared, Solution, Targets

LAMBDAS = tuple(10.0 ** (-6 + i / 8) for i in range(97))
"""Appendix A.3: 96 logarithmic steps between 10^-6 and 10^6."""

STEPS = (16, 8, 4, 2, 1)
"""Distance between neighbours on the grid in each round, from 7 points over 12 decades to 8 per decade."""

Grid = Literal["parametric", "full"]

Trial = TypedDict(
    "Trial",
    {
        "lambda": float,
        "score": float,
        "objective": float,
        "iterations": int,
        "gradient_norm": float,
        "converged": bool,
    },
)
"""One fit of the sweep, ready for a JSON record."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    best_lambda: the middle of the plateau; plateau: its ends, the smallest and the largest of neighbouring lambdas
    that share the highest score; tried: every fit, by rising lambda; solution: the fit at best_lambda, which also
    warms the refit.
    """

    best_lambda: float
    plateau: tuple[float, float]
    tried: list[Trial]
    solution: Solution


def sweep(
    features: Tensor,
    targets: Targets,
    *,
    fit_rows: Tensor,
    validation_rows: Tensor,
    score: Callable[[Tensor], float],
    grid: Grid = "parametric",
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    on_round: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Fit on some rows, score on others, and return the best lambda.

    features: (n, D) and targets for all of them; fit_rows, validation_rows: int64 indices, used without a copy;
    score: takes the logits (len(validation_rows), C) in the order of validation_rows, higher is better;
    grid: "parametric" is the paper's search, "full" tries all 97 points;
    on_round: called with (rounds done, rounds in all) after each round.
    """
    if grid not in ("parametric", "full"):
        raise EvalsuiteError(f"The grid of a sweep is 'parametric' or 'full', not {grid!r}.")
    if len(validation_rows) == 0:
        raise EvalsuiteError("A sweep needs at least one validation row, and there is none.")
    problem = Prepared(features, targets, fit_rows)
    scores: dict[int, float] = {}
    fits: dict[int, Solution] = {}

    def fit(points: list[int]) -> None:
        for point in sorted(points, reverse=True):  # a fit starts from those of larger lambdas
            found = fits[point] = problem.solve([LAMBDAS[point]], tolerance, max_iterations)
            scores[point] = float(score(found.logits(0, features, validation_rows)))
            if math.isnan(scores[point]):
                raise EvalsuiteError(f"The validation score at lambda = {LAMBDAS[point]:g} is not a number.")

    for done, step in enumerate(STEPS, start=1):
        fit(_next_points(scores, step, grid))
        if on_round is not None:
            on_round(done, len(STEPS))
    while middle := _next_points(scores, 0, grid):  # where it proves worse, the plateau was two
        fit(middle)
    first, best, last = best_plateau(scores)
    tried = [_trial(fits[point], scores[point]) for point in sorted(scores)]
    return SweepResult(LAMBDAS[best], (LAMBDAS[first], LAMBDAS[last]), tried, fits[best])


def refit(
    features: Tensor,
    targets: Targets,
    best_lambda: float,
    *,
    rows: Tensor | None = None,
    warm_start: Solution | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
) -> Solution:
    """Fit the chosen lambda on train + validation rows, with the same lambda on the sum of the losses.

    The tolerance is tighter than a sweep's, because the test set is scored with this fit: at 1e-6 single
    probabilities can still be 5e-3 off.
    """
    return Prepared(features, targets, rows).solve([best_lambda], tolerance, max_iterations, warm_start)


def best_plateau(scores: dict[int, float]) -> tuple[int, int, int]:
    """Return the first, middle and last grid index of the plateau: points with the highest score, none worse between.

    Of several plateaus the widest counts, of equally wide ones that of the larger lambdas; a middle between two
    points is the larger lambda.
    """
    best = max(scores.values())
    runs = [list(points) for ties, points in groupby(sorted(scores), lambda point: scores[point] == best) if ties]
    _, first, last = max((run[-1] - run[0], run[0], run[-1]) for run in runs)
    return first, (first + last + 1) // 2, last


def _next_points(scores: dict[int, float], step: int, grid: Grid) -> list[int]:
    """Return the grid indices to try in the round of this step; step 0: the middle of the plateau."""
    if not scores or (grid == "full" and step):
        wanted = list(range(0, len(LAMBDAS), step))
    else:
        first, middle, last = best_plateau(scores)
        wanted = [point for point in (first - step, middle, last + step) if 0 <= point < len(LAMBDAS)]
    return [point for point in wanted if point not in scores]


def _trial(fit: Solution, score: float) -> Trial:
    return {
        "lambda": fit.lambdas[0],
        "score": score,
        "objective": fit.objective[0],
        "iterations": fit.iterations[0],
        "gradient_norm": fit.gradient_norm[0],
        "converged": fit.converged[0],
    }
