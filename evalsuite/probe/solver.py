"""L2-regularised logistic regression on frozen features: the one interface behind which the solver lives.

    minimise  sum_n loss(W x_n + b, y_n) + lambda / 2 |W|^2        (scikit-learn's objective, lambda = 1 / C)

for several lambdas at once, on the features' device. The method is full-batch L-BFGS with a strong Wolfe line
search (`optimiser/`) and a preconditioner (`preconditioner/`). Parameters, line search and sums are float64;
matrix products are float32, or float64 for float64 features. Nothing is left to chance (the one sketch of random
numbers is seeded): equal inputs give equal bits on the same machine with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from evalsuite.errors import EvalsuiteError
from evalsuite.precision import exact_products
from evalsuite.probe.mechanisms import ALL, Mechanisms
from evalsuite.probe.objective import Design, Objective
from evalsuite.probe.optimiser.lbfgs import Minimum, Options, minimise, passes
from evalsuite.probe.preconditioner.kronecker import Spectrum
from evalsuite.probe.preconditioner.problem import PreconditionedProblem
from evalsuite.probe.reduction import Reduction, reduce_targets
from evalsuite.probe.solution import Solution
from evalsuite.probe.space import Space
from evalsuite.probe.warm_start import WarmStarts
from evalsuite.threads import threads_for

FLOOR_PER_ROW = 1e-3
"""Suboptimality is (F - F*) / max(F*, 1e-3 N): on separable rows F* itself is close to zero."""

LINK = 30.0
"""Ratio of lambdas above which the next fit waits for the last one, to start from it: the paper's search begins with
steps of 100, whose solutions differ far more than those of its later steps."""

EXACT_BELOW = 1e-7
"""A fit in float32 that is asked for less than this is checked once in float64: rounding of large logits moves the
minimum itself, and a search in float32 cannot see it."""

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
    """Fit one logistic regression for each lambda.

    features: (n, D) floating point, every value finite; targets: for those n rows; lambdas: L positive numbers;
    rows: (N,) int64 to train on some rows only, without a copy of the features; tolerance: on
    (F - F*) / max(F*, 1e-3 N); max_iterations: 1,000 is the paper's (appendix A.3). A warm start
    may have other lambdas and come from other rows, with classes this one lacks or the reverse.
    Raises EvalsuiteError for inputs that cannot be fitted; problems that hit the limit are returned as they
    are, with converged False.
    """
    _check_stop(lambdas, tolerance, max_iterations)
    return Prepared(features, targets, rows).solve(lambdas, tolerance, max_iterations, warm_start)


class Prepared:
    """Rows and targets in the coordinates they are fitted in, for several calls of `solve`; see there."""

    def __init__(
        self, features: Tensor, targets: Targets, rows: Tensor | None = None, mechanisms: Mechanisms = ALL
    ) -> None:
        _check(features, targets, rows)
        self._mechanisms = mechanisms
        with torch.no_grad(), exact_products(), threads_for(features.numel()):
            self._design = Design.of(features, rows)
            self._reduction = _reduction(targets, rows, features.device)
            self._space = Space.of(self._design)
            self._warm = WarmStarts(self._reduction, self._space, mechanisms)
        width = self._reduction.n_problems * self._reduction.n_logits
        self._operations = 4.0 * len(self._design) * self._space.design.dim * width

    def solve(
        self,
        lambdas: Sequence[float],
        tolerance: float = 1e-6,
        max_iterations: int = 1000,
        warm_start: Solution | None = None,
    ) -> Solution:
        """Fit one logistic regression for each lambda; start from what earlier calls found, and from a warm start."""
        _check_stop(lambdas, tolerance, max_iterations)
        with torch.no_grad(), exact_products(), threads_for(self._operations):
            if warm_start is not None:
                self._warm.remember(self._checked(warm_start), ours=False)
            chain, rest = ([], list(lambdas)) if self._warm else _chain(lambdas)
            found = [self._fit([value], tolerance, max_iterations) for value in chain]
            if rest:
                found.append(self._fit(rest, tolerance, max_iterations))
            joined = reduce(Solution.joined, found)
            return joined.reordered([joined.lambdas.index(value) for value in lambdas])

    def _checked(self, warm_start: Solution) -> Solution:
        shape, dim = warm_start.weights.shape[1:], len(self._space.mean)
        if shape != (self._reduction.n_classes, dim):
            raise EvalsuiteError(
                f"The warm start has {shape[0]} classes of {shape[1]} features; "
                f"this fit has {self._reduction.n_classes} classes of {dim} features."
            )
        return warm_start

    def _fit(self, lambdas: list[float], tolerance: float, max_iterations: int) -> Solution:
        """Fit some lambdas in one batch and remember what was found."""
        objective = self._objective(self._space, lambdas)
        start = self._warm.start(objective, lambdas)
        bound = PreconditionedProblem(objective, self._space.spectrum, self._warm.blocks(lambdas), self._mechanisms)
        options = self._options(self._space, lambdas, tolerance, max_iterations)
        minimum = minimise(bound, start.flatten(1), options)
        found = self._solution(lambdas, minimum, self._space)
        if self._space.design.dtype != torch.float64:
            for index in range(len(lambdas)):
                found = self._finished(found, index, tolerance, max_iterations)
        self._warm.remember(found)
        self._warm.keep(lambdas, bound.blocks)
        return found

    def _finished(self, found: Solution, index: int, tolerance: float, max_iterations: int) -> Solution:
        """Go on in float64 with a lambda where rounding of float32 products ended the search, or misled it.

        Large features and few errors make large logits, whose rounding exceeds what is left to gain. The others
        stay as they are: float64 products cost twice as much on a CPU, and far more on most GPUs.
        """
        done = found.iterations[index]
        if done >= max_iterations or (found.converged[index] and tolerance >= EXACT_BELOW):
            return found
        start = found.select(index)
        spectrum = Spectrum(self._space.spectrum.values, self._space.basis)
        design = replace(self._design, dtype=torch.float64)
        space = Space(None, design.mean, design, spectrum)
        objective = self._objective(space, start.lambdas)
        point = self._reduction.pack(*space.from_features(start.weights, start.intercepts)).flatten(1)
        options = self._options(space, start.lambdas, tolerance, max_iterations - done)
        bound = PreconditionedProblem(objective, spectrum, mechanisms=self._mechanisms)
        if start.converged[0] and passes(bound, point, options):
            return found
        more = self._solution(start.lambdas, minimise(bound, point, options), space)
        iterations, evaluations = done + more.iterations[0], start.evaluations[0] + more.evaluations[0]
        return found.replaced(index, replace(more, iterations=(iterations,), evaluations=(evaluations,)))

    def _objective(self, space: Space, lambdas: Sequence[float]) -> Objective:
        strengths = torch.tensor(lambdas, dtype=torch.float64, device=space.mean.device)
        return self._reduction.objective(space.design, strengths)

    def _options(self, space: Space, lambdas: Sequence[float], tolerance: float, max_iterations: int) -> Options:
        floors = [FLOOR_PER_ROW * count for count in self._reduction.counts().tolist()] * len(lambdas)
        return Options(tolerance, max_iterations, floors, noise=ROUNDING[space.design.dtype])

    def _solution(self, lambdas: Sequence[float], minimum: Minimum, space: Space) -> Solution:
        """Translate minima back to classes and features, and fold the problems of each lambda into one entry."""
        n, per = len(lambdas), self._reduction.n_problems
        groups = [slice(i * per, (i + 1) * per) for i in range(n)]
        theta = minimum.points.view(n * per, self._reduction.n_logits, space.design.dim + 1)
        weights, intercepts = space.to_features(*self._reduction.unpack(theta, n))
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
            mean=space.mean,
        )


def _chain(lambdas: Sequence[float]) -> tuple[list[float], list[float]]:
    """Split lambdas into those that are fitted one after the other, from large to small, and the rest.

    The first are LINK apart at least; between them the others then have solutions on either side.
    """
    chain: list[float] = []
    for value in sorted(lambdas, reverse=True):
        if not chain or value * LINK <= chain[-1]:
            chain.append(value)
    return chain, [value for value in lambdas if value not in chain]


def _reduction(targets: Targets, rows: Tensor | None, device: torch.device) -> Reduction:
    values = targets.values.to(device)
    if rows is not None:
        values = values[rows]
    return reduce_targets(targets.kind, values, targets.n_classes)


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
