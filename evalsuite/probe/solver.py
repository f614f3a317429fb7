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
from evalsuite.probe.lbfgs import Minimum, Options, minimise
from evalsuite.probe.objective import Design, Objective, working_dtype
from evalsuite.probe.preconditioner import Preconditioner, Spectrum
from evalsuite.probe.reduction import Reduction, reduce_targets
from evalsuite.probe.row_space import RowSpace

FLOOR_PER_ROW = 1e-3
"""Suboptimality is (F - F*) / max(F*, 1e-3 N): on separable rows F* itself is close to zero."""

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


@dataclass(frozen=True)
class Solution:
    """The minima for L lambdas, C classes and D features; one entry a lambda everywhere.

    weights: (L, C, D) float64; intercepts: (L, C) float64; a class without training rows has zero weights and
    the intercept `reduction.ABSENT_INTERCEPT`. With two classes, multinomial weights are -w/2 and w/2.
    objective: the sum F, penalty included; iterations: of the slowest class for one_vs_rest; gradient_norm:
    Euclidean, of F; gap: the estimate of (F - F*) / max(F*, 1e-3 N) at the end, which can be up to about a
    hundred times too low; converged: whether that estimate, safety included, passed the tolerance.
    mean (D,): of the rows fitted; spectrum: of the rows the first of a chain of warm starts saw, reused by the
    next, or None after a fit in the space of its rows (`row_space.py`).
    """

    lambdas: tuple[float, ...]
    weights: Tensor
    intercepts: Tensor
    objective: tuple[float, ...]
    iterations: tuple[int, ...]
    gradient_norm: tuple[float, ...]
    gap: tuple[float, ...]
    converged: tuple[bool, ...]
    mean: Tensor
    spectrum: Spectrum | None

    def logits(self, index: int, features: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return W x + b of lambda number `index`: (n, C), in the precision of the solver's products.

        features: (n, D) on the solution's device; rows: (m,) int64 to look at only some of them, in that order.
        """
        dtype = working_dtype(features)
        design = Design(features, rows, self.mean, dtype)
        weights, intercepts = self.weights[index], self.intercepts[index]
        shifted = (intercepts + weights @ self.mean).to(dtype)
        transposed = weights.to(dtype).T
        logits = torch.empty(len(design), len(intercepts), dtype=dtype, device=features.device)
        with exact_products():
            for span, x in design.chunks(columns=len(intercepts)):
                logits[span] = torch.addmm(shifted, x, transposed)
        return logits

    def select(self, index: int | slice) -> Solution:
        """Return the solution of lambda number `index` alone, or of a range of them."""
        one = index if isinstance(index, slice) else slice(index, index + 1 or None)
        return replace(
            self,
            lambdas=self.lambdas[one],
            weights=self.weights[one],
            intercepts=self.intercepts[one],
            objective=self.objective[one],
            iterations=self.iterations[one],
            gradient_norm=self.gradient_norm[one],
            gap=self.gap[one],
            converged=self.converged[one],
        )

    def replaced(self, index: int, other: Solution) -> Solution:
        """Return this solution with lambda number `index` taken from another one, which has it alone."""
        return self.select(slice(0, index)).joined(other).joined(self.select(slice(index + 1, None)))

    def joined(self, other: Solution) -> Solution:
        """Return this solution with the lambdas of another one, of the same classes and features, appended."""
        return replace(
            self,
            lambdas=self.lambdas + other.lambdas,
            weights=torch.cat([self.weights, other.weights]),
            intercepts=torch.cat([self.intercepts, other.intercepts]),
            objective=self.objective + other.objective,
            iterations=self.iterations + other.iterations,
            gradient_norm=self.gradient_norm + other.gradient_norm,
            gap=self.gap + other.gap,
            converged=self.converged + other.converged,
        )


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
    _check(features, targets, lambdas, tolerance, max_iterations, rows)
    with torch.no_grad(), exact_products():
        design = Design.of(features, rows)
        reduction = _reduction(targets, rows, features.device)
        if len(design) >= design.dim:
            spectrum = warm_start.spectrum if warm_start is not None else None
            spectrum = spectrum or Spectrum.of(design)
            found = _solve(design, reduction, lambdas, tolerance, max_iterations, warm_start, spectrum)
            return _finished(found, design, reduction, tolerance, max_iterations)
        space = RowSpace.of(design)
        warm = None if warm_start is None else _into(space, warm_start)
        found = _solve(space.design, reduction, lambdas, tolerance, max_iterations, warm, space.spectrum)
        return _out_of(space, found)


def _solve(
    design: Design,
    reduction: Reduction,
    lambdas: Sequence[float],
    tolerance: float,
    max_iterations: int,
    warm_start: Solution | None,
    spectrum: Spectrum,
) -> Solution:
    strengths = torch.tensor(lambdas, dtype=torch.float64, device=design.mean.device)
    start = _start(reduction, strengths, warm_start, design)
    bound = _Bound(reduction.objective(design, strengths), spectrum)
    options = Options(
        tolerance=tolerance,
        max_iterations=max_iterations,
        floors=[FLOOR_PER_ROW * count for count in reduction.counts().tolist()] * len(lambdas),
        noise=ROUNDING[design.dtype],
    )
    minimum = minimise(bound, start.flatten(1), options)
    return _solution(lambdas, reduction, minimum, design.mean, spectrum)


def _finished(found: Solution, design: Design, reduction: Reduction, tolerance: float, max_iterations: int) -> Solution:
    """Go on in float64 with the lambdas at which rounding of float32 products ended the search.

    Large features and few errors make large logits, whose rounding exceeds what is left to gain. The others
    stay as they are: float64 products cost twice as much on a CPU, and far more on most GPUs.
    """
    if design.dtype == torch.float64 or found.spectrum is None:
        return found
    exact = replace(design, dtype=torch.float64)
    for index, iterations in enumerate(found.iterations):
        if not found.converged[index] and iterations < max_iterations:
            start = found.select(index)
            left = max_iterations - iterations
            more = _solve(exact, reduction, start.lambdas, tolerance, left, start, found.spectrum)
            found = found.replaced(index, replace(more, iterations=(iterations + more.iterations[0],)))
    return found


def _into(space: RowSpace, warm: Solution) -> Solution:
    """Return a warm start in the coordinates of the space, whose rows have mean zero."""
    intercepts = warm.intercepts + warm.weights @ space.mean
    return replace(warm, weights=warm.weights @ space.basis, intercepts=intercepts)


def _out_of(space: RowSpace, found: Solution) -> Solution:
    """Return a solution in the coordinates of the features."""
    weights = found.weights @ space.basis.T
    intercepts = found.intercepts - weights @ space.mean
    return replace(found, weights=weights, intercepts=intercepts, mean=space.mean, spectrum=None)


class _Bound:
    """An objective and its preconditioner as `lbfgs.minimise` wants them: with flat parameters."""

    def __init__(self, objective: Objective, spectrum: Spectrum) -> None:
        self._objective = objective
        penalties, n_logits = objective.penalties, objective.n_logits
        curvatures = torch.eye(n_logits, dtype=torch.float64, device=penalties.device)
        self._preconditioner = Preconditioner(
            spectrum, penalties, len(objective.design), curvatures.repeat(len(penalties), 1, 1)
        )

    def evaluate(self, ids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = self._objective.evaluate(ids, self._shaped(points))
        return values, gradients.flatten(1)

    def precondition(self, ids: Tensor, gradients: Tensor) -> Tensor:
        return self._preconditioner.apply(ids, self._shaped(gradients)).flatten(1)

    def refresh(self, ids: Tensor, points: Tensor) -> None:
        self._preconditioner.update(ids, self._objective.curvature(ids, self._shaped(points)))

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), self._objective.n_logits, self._objective.design.dim + 1)


def _reduction(targets: Targets, rows: Tensor | None, device: torch.device) -> Reduction:
    values = targets.values.to(device)
    if rows is not None:
        values = values[rows]
    return reduce_targets(targets.kind, values, targets.n_classes)


def _start(reduction: Reduction, lambdas: Tensor, warm: Solution | None, design: Design) -> Tensor:
    """Return the starting theta (P, K, D + 1): zero weights and the classes' log odds, or the warm start."""
    if warm is None:
        weights = torch.zeros(len(lambdas), reduction.n_classes, design.dim, dtype=torch.float64)
        weights = weights.to(lambdas.device)
        intercepts = torch.full_like(weights[:, :, 0], -math.inf)
        return reduction.pack(weights, intercepts)
    if warm.weights.shape[1:] != (reduction.n_classes, design.dim):
        raise EvalsuiteError(
            f"The warm start has {warm.weights.shape[1]} classes of {warm.weights.shape[2]} features; "
            f"this fit has {reduction.n_classes} classes of {design.dim} features."
        )
    weights, intercepts = _interpolate(warm, lambdas)
    return reduction.pack(weights, intercepts + weights @ design.mean)


def _interpolate(warm: Solution, lambdas: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights and intercepts at the lambdas, linear in log lambda between the nearest known ones."""
    order = sorted(range(len(warm.lambdas)), key=lambda i: warm.lambdas[i])
    known = torch.tensor([warm.lambdas[i] for i in order], dtype=torch.float64, device=lambdas.device).log()
    index = torch.tensor(order, device=lambdas.device)
    wanted = lambdas.log().clamp(known[0], known[-1])
    above = torch.searchsorted(known, wanted).clamp(max=len(order) - 1)
    below = (above - 1).clamp(min=0)
    width = (known[above] - known[below]).clamp(min=torch.finfo(torch.float64).tiny)
    share = ((wanted - known[below]) / width).clamp(0, 1)
    low, high = index[below], index[above]
    weights = torch.lerp(warm.weights[low], warm.weights[high], share[:, None, None])
    return weights, torch.lerp(warm.intercepts[low], warm.intercepts[high], share[:, None])


def _solution(
    lambdas: Sequence[float], reduction: Reduction, minimum: Minimum, mean: Tensor, spectrum: Spectrum
) -> Solution:
    """Translate minima back to classes and fold the problems of each lambda into one entry."""
    n, per = len(lambdas), reduction.n_problems
    groups = [slice(i * per, (i + 1) * per) for i in range(n)]
    theta = minimum.points.view(n * per, reduction.n_logits, len(mean) + 1)
    weights, intercepts = reduction.unpack(theta, n)
    return Solution(
        lambdas=tuple(float(value) for value in lambdas),
        weights=weights,
        intercepts=intercepts - weights @ mean,
        objective=tuple(math.fsum(minimum.values[group]) for group in groups),
        iterations=tuple(max(minimum.iterations[group], default=0) for group in groups),
        gradient_norm=tuple(math.hypot(*minimum.gradient_norms[group]) for group in groups),
        gap=tuple(max(minimum.gaps[group], default=0.0) for group in groups),
        converged=tuple(all(minimum.converged[group]) for group in groups),
        mean=mean,
        spectrum=spectrum,
    )


def _check(
    features: Tensor,
    targets: Targets,
    lambdas: Sequence[float],
    tolerance: float,
    max_iterations: int,
    rows: Tensor | None,
) -> None:
    """Refuse inputs that do not fit together; the values of the features are checked by `Design.of`."""
    if features.ndim != 2 or not features.is_floating_point() or 0 in features.shape:
        raise EvalsuiteError(
            f"Features must be a floating-point matrix (rows, dimensions); got shape {tuple(features.shape)} "
            f"of {features.dtype}."
        )
    if not lambdas or not all(math.isfinite(value) and value > 0 for value in lambdas):
        raise EvalsuiteError(f"Every lambda must be a positive number; got {list(lambdas)}.")
    if not tolerance > 0 or max_iterations < 1:
        raise EvalsuiteError(
            f"The tolerance must be positive and max_iterations at least 1; got {tolerance} and {max_iterations}."
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
