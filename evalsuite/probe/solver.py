"""L2-regularised logistic regression on frozen features: the one interface behind which the solver lives.

    minimise  sum_n loss(W x_n + b, y_n) + lambda / 2 |W|^2        (scikit-learn's objective, lambda = 1 / C)

for several lambdas, one after the other, on the features' device. The method is full-batch L-BFGS with a strong Wolfe
line search (`optimiser/`) and a preconditioner (`preconditioner/`). Parameters, line search and sums are float64;
matrix products are float32, or float64 for float64 features. Nothing is left to chance (the one sketch of random
numbers is seeded): equal inputs give equal bits on the same machine with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor

from evalsuite.errors import EvalsuiteError
from evalsuite.precision import exact_products
from evalsuite.probe.objective import Design, working_dtype
from evalsuite.probe.optimiser.lbfgs import Descent
from evalsuite.probe.preconditioner.problem import PreconditionedProblem
from evalsuite.probe.reduction import reduce_targets
from evalsuite.probe.space import Space
from evalsuite.probe.warm_start import WarmStarts
from evalsuite.threads import Threads, threads, worth_sharing

FLOOR_PER_ROW = 1e-3
"""Suboptimality is (F - F*) / max(F*, 1e-3 N): on separable rows F* itself is close to zero."""

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


@dataclass(frozen=True)
class Solution:
    """The minima for L lambdas, C classes and D features; one entry per lambda everywhere.

    weights: (L, C, D) float64; intercepts: (L, C) float64; a class without training rows has zero weights and
    the intercept `reduction.ABSENT_INTERCEPT`. With two classes, multinomial weights are -w/2 and w/2.
    objective: the sum F, penalty included; gradient_norm: Euclidean, of F; gap: the estimate of
    (F - F*) / max(F*, 1e-3 N) at the end (of one_vs_rest, of the class where it is largest at most), which can be up
    to about a hundred times too low; converged: whether that estimate, safety included, passed the tolerance.
    evaluations: passes over the rows; mean (D,): of the rows fitted.
    """

    lambdas: tuple[float, ...]
    weights: Tensor
    intercepts: Tensor
    objective: tuple[float, ...]
    iterations: tuple[int, ...]
    gradient_norm: tuple[float, ...]
    gap: tuple[float, ...]
    converged: tuple[bool, ...]
    evaluations: tuple[int, ...]
    mean: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Solution]) -> Solution:
        """Return solutions of the same classes and features as one."""
        columns: dict[str, Any] = {name: [getattr(part, name) for part in parts] for name in _PER_LAMBDA}
        for name, column in columns.items():
            columns[name] = torch.cat(column) if isinstance(column[0], Tensor) else tuple(chain(*column))
        return cls(**columns, mean=parts[0].mean)

    def select(self, index: int) -> Solution:
        """Return the solution of lambda number `index` alone."""
        one = slice(index, index + 1 or None)
        return replace(self, **{name: getattr(self, name)[one] for name in _PER_LAMBDA})

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


_PER_LAMBDA = [field.name for field in fields(Solution) if field.name != "mean"]


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
    return Prepared(features, targets, rows).solve(lambdas, tolerance, max_iterations, warm_start)


class Prepared:
    """Rows and targets in the coordinates they are fitted in, for several calls of `solve`; see there."""

    def __init__(self, features: Tensor, targets: Targets, rows: Tensor | None = None) -> None:
        _check(features, targets, rows)
        self._warm = WarmStarts()
        with torch.no_grad(), exact_products(), threads(worth_sharing(2.0 * features.numel() * features.shape[1])):
            design = Design.of(features, rows)
            values = targets.values.to(features.device)
            self._reduction = reduce_targets(targets.kind, values if rows is None else values[rows], targets.n_classes)
            operations = 4.0 * len(design) * design.width * len(self._reduction.encode)
            self._space = Space.of(replace(design, threads=Threads(worth_sharing(operations, features.device))))
        self._floors = [FLOOR_PER_ROW * count for count in self._reduction.counts.tolist()]

    def solve(
        self,
        lambdas: Sequence[float],
        tolerance: float = 1e-6,
        max_iterations: int = 1000,
        warm_start: Solution | None = None,
    ) -> Solution:
        """Fit one logistic regression for each lambda, from large to small, each from what is known around it: what
        earlier calls found, and a warm start."""
        _check_stop(lambdas, tolerance, max_iterations)
        with torch.no_grad(), exact_products(), threads(1):
            if warm_start is not None:
                self._remember(warm_start)
            found = {value: self._fit(value, tolerance, max_iterations) for value in sorted(lambdas, reverse=True)}
            return Solution.joined([found[value] for value in lambdas])

    def _remember(self, warm_start: Solution) -> None:
        classes, dim = warm_start.weights.shape[1:]
        expected, mean = self._reduction.prior, self._space.exact.mean
        if (classes, dim) != (len(expected), len(mean)):
            raise EvalsuiteError(
                f"The warm start has {classes} classes of {dim} features; "
                f"this fit has {len(expected)} classes of {len(mean)} features."
            )
        for value, weights, intercepts in zip(
            warm_start.lambdas, warm_start.weights, warm_start.intercepts, strict=True
        ):
            theta = self._reduction.pack(*self._space.from_features(weights, intercepts))
            self._warm.remember(value, theta, ours=False)

    def _fit(self, lambda_: float, tolerance: float, max_iterations: int) -> Solution:
        """Fit one lambda and remember what was found."""
        objective = self._reduction.objective(self._space.design, lambda_)
        start = self._warm.start(objective)
        if start is None:
            start = self._reduction.nothing_known(self._space.design.dim)
        problem = PreconditionedProblem(objective, self._space.variances, self._warm.blocks(lambda_))
        descent = Descent(problem, start.flatten(), tolerance, max_iterations, self._floors)
        descent.run(ROUNDING[self._space.design.dtype])
        if self._space.design.dtype != torch.float64 and not (descent.stop.passed and tolerance >= EXACT_BELOW):
            # Large features and few errors make large logits, whose rounding exceeds what is left to gain: the search
            # was ended by it, or misled. Others stay as they are: float64 products cost twice as much on a CPU, and
            # far more on most GPUs.
            problem.objective = self._reduction.objective(self._space.exact, lambda_)
            descent.run(ROUNDING[torch.float64])
        theta = descent.here.point.view_as(start)
        self._warm.remember(lambda_, theta)
        if problem.blocks is not None:
            self._warm.keep(lambda_, problem.blocks)
        weights, intercepts = self._space.to_features(*self._reduction.unpack(theta))
        return Solution(
            lambdas=(float(lambda_),),
            weights=weights.unsqueeze(0),
            intercepts=intercepts.unsqueeze(0),
            objective=(descent.here.value,),
            iterations=(descent.iterations,),
            gradient_norm=(float(descent.here.gradient.norm()),),
            gap=(descent.stop.gap,),
            converged=(descent.stop.passed,),
            evaluations=(descent.evaluations,),
            mean=self._space.exact.mean,
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
    kinds: dict[str, tuple[tuple[int, ...], torch.dtype, int, int]] = {
        "multinomial": ((len(features),), torch.int64, 0, targets.n_classes - 1),
        "one_vs_rest": ((len(features), targets.n_classes), torch.int8, -1, 1),
    }
    if targets.kind not in kinds:
        raise EvalsuiteError(f"Targets are 'multinomial' or 'one_vs_rest', not {targets.kind!r}.")
    values, (expected, dtype, low, high) = targets.values, kinds[targets.kind]
    if tuple(values.shape) != expected or values.dtype != dtype:
        raise EvalsuiteError(
            f"{targets.kind} targets for these features must be {expected} of {dtype}; got "
            f"{tuple(values.shape)} of {values.dtype}."
        )
    if values.numel() and not low <= int(values.min()) <= int(values.max()) <= high:
        raise EvalsuiteError(
            f"{targets.kind} targets must lie in [{low}, {high}]; got {int(values.min())} to {int(values.max())}."
        )
