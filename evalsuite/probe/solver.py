"""L2-regularised logistic regression on frozen features: the one interface behind which the solver lives.

    minimise  sum_n loss(W x_n + b, y_n) + lambda / 2 |W|^2        (scikit-learn's objective, lambda = 1 / C)

for several lambdas at once, on the features' device. The method is full-batch L-BFGS with a strong Wolfe line
search (`lbfgs.py`) and a preconditioner (`preconditioner.py`). Parameters, line search and sums are float64;
matrix products are float32, or float64 for float64 features. Nothing is random: equal inputs give equal bits
on the same machine with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from evalsuite.errors import EvalsuiteError
from evalsuite.precision import exact_products
from evalsuite.probe.bound import Bound
from evalsuite.probe.lbfgs import Minimum, Options, minimise
from evalsuite.probe.objective import Design
from evalsuite.probe.preconditioner import Spectrum
from evalsuite.probe.reduction import Reduction, reduce_targets
from evalsuite.probe.solution import Solution, interpolate
from evalsuite.probe.space import Space

FLOOR_PER_ROW = 1e-3
"""Suboptimality is (F - F*) / max(F*, 1e-3 N): on separable rows F* itself is close to zero."""

COLD_TAIL = 2
"""So many of the smallest lambdas of a cold batch start from the next larger one's solution instead of from zero:
as lambda falls the solution hardly moves, but in the directions in which it moves it is hard to find."""

NEARLY_SEPARATED = 0.05
"""Except where F is below this share of its value at zero weights: there the weights grow without end as lambda
falls, and a start from zero is as near."""

ROUNDING = {torch.float32: 6e-8, torch.float64: 1e-14}
"""Relative rounding of F by the precision of the products, measured on sums of 10^3 to 10^5 losses."""


@dataclass(frozen=True)
class Targets:
    """What the features are to predict.

    multinomial: values (n,) int64, class indices in [0, n_classes);
    one_vs_rest: values (n, n_classes) int8, 1 / 0 / -1 for yes / no / ignored in that class's problem.
    """

    kind: Literal["multinomial", "one_vs_rest"]
    values: Tensor
    n_classes: int


def solve(
    features: Tensor,
    targets: Targets,
    lambdas: Sequence[float],
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    warm_start: Solution | None = None,
    rows: Tensor | None = None,
) -> Solution:
    """Fit one logistic regression a lambda, all in one batch.

    features: (n, D) floating point, every value finite; targets: for those n rows; lambdas: L positive numbers;
    rows: (N,) int64 to train on some rows only, without a copy of the features; tolerance: on
    (F - F*) / max(F*, 1e-3 N); max_iterations: 1,000 is the paper's (appendix A.3). A warm start is
    interpolated in log lambda; it may come from other rows, with classes this one lacks or the reverse.
    Raises EvalsuiteError for inputs that cannot be fitted; problems that hit the limit are returned as they
    are, with converged False.
    """
    _check_stop(lambdas, tolerance, max_iterations)
    return Prepared(features, targets, rows).solve(lambdas, tolerance, max_iterations, warm_start)


class Prepared:
    """Rows and targets in the coordinates they are fitted in, for several calls of `solve`; see there."""

    def __init__(self, features: Tensor, targets: Targets, rows: Tensor | None = None) -> None:
        _check(features, targets, rows)
        with torch.no_grad(), exact_products():
            self._design = Design.of(features, rows)
            self._reduction = _reduction(targets, rows, features.device)
            self._space = Space.of(self._design)

    def solve(
        self,
        lambdas: Sequence[float],
        tolerance: float = 1e-6,
        max_iterations: int = 1000,
        warm_start: Solution | None = None,
    ) -> Solution:
        """Fit one logistic regression a lambda, all in one batch."""
        _check_stop(lambdas, tolerance, max_iterations)
        with torch.no_grad(), exact_products():
            if warm_start is None and len(lambdas) > COLD_TAIL + 1:
                return self._cold(lambdas, tolerance, max_iterations)
            return self._finished(
                self._run(self._space, lambdas, tolerance, max_iterations, warm_start), tolerance, max_iterations
            )

    def _cold(self, lambdas: Sequence[float], tolerance: float, max_iterations: int) -> Solution:
        """Fit the large lambdas from zero in one batch; the smallest, one after the other, from the next larger."""
        order = sorted(range(len(lambdas)), key=lambda i: -lambdas[i])
        head, tail = order[:-COLD_TAIL], order[-COLD_TAIL:]
        found = self._run(self._space, [lambdas[i] for i in head], tolerance, max_iterations, None)
        found = self._finished(found, tolerance, max_iterations)
        nothing_known = sum(self._reduction.counts().tolist()) * math.log(max(2, self._reduction.n_logits))
        if found.objective[-1] < NEARLY_SEPARATED * nothing_known:
            rest = self._run(self._space, [lambdas[i] for i in tail], tolerance, max_iterations, None)
            found = found.joined(self._finished(rest, tolerance, max_iterations))
        else:
            for i in tail:
                found = found.joined(self.solve([lambdas[i]], tolerance, max_iterations, found))
        return found.reordered([order.index(i) for i in range(len(lambdas))])

    def _finished(self, found: Solution, tolerance: float, max_iterations: int) -> Solution:
        """Go on in float64 with the lambdas at which rounding of float32 products ended the search.

        Large features and few errors make large logits, whose rounding exceeds what is left to gain. The others
        stay as they are: float64 products cost twice as much on a CPU, and far more on most GPUs.
        """
        if self._space.design.dtype == torch.float64:
            return found
        spectrum = Spectrum(self._space.spectrum.values, self._space.basis)
        design = replace(self._design, dtype=torch.float64)
        exact = Space(None, design.mean, design, spectrum)
        for index, iterations in enumerate(found.iterations):
            if not found.converged[index] and iterations < max_iterations:
                start = found.select(index)
                more = self._run(exact, start.lambdas, tolerance, max_iterations - iterations, start)
                iterations, evaluations = iterations + more.iterations[0], start.evaluations[0] + more.evaluations[0]
                found = found.replaced(index, replace(more, iterations=(iterations,), evaluations=(evaluations,)))
        return found

    def _run(
        self,
        space: Space,
        lambdas: Sequence[float],
        tolerance: float,
        max_iterations: int,
        warm_start: Solution | None,
    ) -> Solution:
        reduction, design = self._reduction, space.design
        strengths = torch.tensor(lambdas, dtype=torch.float64, device=space.mean.device)
        start = _start(reduction, strengths, warm_start, space)
        plain = [False] * len(lambdas) if warm_start is None else [warm_start.nearest_plain(value) for value in lambdas]
        options = Options(
            tolerance=tolerance,
            max_iterations=max_iterations,
            floors=[FLOOR_PER_ROW * count for count in reduction.counts().tolist()] * len(lambdas),
            noise=ROUNDING[design.dtype],
            plain=[one for one in plain for _ in range(reduction.n_problems)],
            race=warm_start is None,
        )
        bound = Bound(reduction.objective(design, strengths), space.spectrum)
        return _solution(lambdas, reduction, minimise(bound, start.flatten(1), options), space)


def _reduction(targets: Targets, rows: Tensor | None, device: torch.device) -> Reduction:
    values = targets.values.to(device)
    if rows is not None:
        values = values[rows]
    return reduce_targets(targets.kind, values, targets.n_classes)


def _start(reduction: Reduction, lambdas: Tensor, warm: Solution | None, space: Space) -> Tensor:
    """Return the starting theta (P, K, r + 1): zero weights and the classes' log odds, or the warm start."""
    if warm is None:
        weights = torch.zeros(len(lambdas), reduction.n_classes, space.design.dim, dtype=torch.float64)
        weights = weights.to(lambdas.device)
        intercepts = torch.full_like(weights[:, :, 0], -math.inf)
        return reduction.pack(weights, intercepts)
    dim = len(space.mean)
    if warm.weights.shape[1:] != (reduction.n_classes, dim):
        raise EvalsuiteError(
            f"The warm start has {warm.weights.shape[1]} classes of {warm.weights.shape[2]} features; "
            f"this fit has {reduction.n_classes} classes of {dim} features."
        )
    return reduction.pack(*space.into(*interpolate(warm, lambdas)))


def _solution(lambdas: Sequence[float], reduction: Reduction, minimum: Minimum, space: Space) -> Solution:
    """Translate minima back to classes and features, and fold the problems of each lambda into one entry."""
    n, per = len(lambdas), reduction.n_problems
    groups = [slice(i * per, (i + 1) * per) for i in range(n)]
    theta = minimum.points.view(n * per, reduction.n_logits, space.design.dim + 1)
    weights, intercepts = space.out_of(*reduction.unpack(theta, n))
    return Solution(
        lambdas=tuple(float(value) for value in lambdas),
        weights=weights,
        intercepts=intercepts,
        objective=tuple(math.fsum(minimum.values[group]) for group in groups),
        iterations=tuple(max(minimum.iterations[group], default=0) for group in groups),
        gradient_norm=tuple(math.hypot(*minimum.gradient_norms[group]) for group in groups),
        gap=tuple(max(minimum.gaps[group], default=0.0) for group in groups),
        converged=tuple(all(minimum.converged[group]) for group in groups),
        evaluations=tuple(sum(minimum.evaluations[group]) for group in groups),
        plain=tuple(any(minimum.plain[group]) for group in groups),
        mean=space.mean,
    )


def _check_stop(lambdas: Sequence[float], tolerance: float, max_iterations: int) -> None:
    if not lambdas or not all(math.isfinite(value) and value > 0 for value in lambdas):
        raise EvalsuiteError(f"Every lambda must be a positive number; got {list(lambdas)}.")
    if not tolerance > 0 or max_iterations < 1:
        raise EvalsuiteError(
            f"The tolerance must be positive and max_iterations at least 1; got {tolerance} and {max_iterations}."
        )


def _check(features: Tensor, targets: Targets, rows: Tensor | None) -> None:
    """Refuse inputs that do not fit together; the values of the features are checked by `Design.of`."""
    if features.ndim != 2 or not features.is_floating_point() or 0 in features.shape:
        raise EvalsuiteError(
            f"Features must be a floating-point matrix (rows, dimensions); got shape {tuple(features.shape)} "
            f"of {features.dtype}."
        )
    if rows is not None and (rows.ndim != 1 or rows.dtype != torch.int64):
        raise EvalsuiteError(f"Rows must be a vector of int64 indices; got {tuple(rows.shape)} of {rows.dtype}.")
    if rows is not None and len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(features):
        raise EvalsuiteError(f"Rows must lie in [0, {len(features)}); got {int(rows.min())} to {int(rows.max())}.")
    _check_targets(targets, len(features))


def _check_targets(targets: Targets, n_rows: int) -> None:
    values = targets.values
    expected: tuple[int, ...]
    if targets.kind == "multinomial":
        expected, dtype, low, high = (n_rows,), torch.int64, 0, targets.n_classes - 1
    elif targets.kind == "one_vs_rest":
        expected, dtype, low, high = (n_rows, targets.n_classes), torch.int8, -1, 1
    else:
        raise EvalsuiteError(f"Targets are 'multinomial' or 'one_vs_rest', not {targets.kind!r}.")
    if tuple(values.shape) != expected or values.dtype != dtype:
        raise EvalsuiteError(
            f"{targets.kind} targets for these features must be {expected} of {dtype}; got "
            f"{tuple(values.shape)} of {values.dtype}."
        )
    if values.numel() and not low <= int(values.min()) <= int(values.max()) <= high:
        raise EvalsuiteError(
            f"{targets.kind} targets must lie in [{low}, {high}]; got {int(values.min())} to {int(values.max())}."
        )
