"""scikit-learn's L-BFGS behind the interface of `solver.Prepared`, for cross-checks; slow, and as it ships.

It stops where scikit-learn stops by default, which is short of the optimum: tolerances mean nothing to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from evalsuite.probe.objective import Design
from evalsuite.probe.reduction import ABSENT_INTERCEPT, reduce_targets
from evalsuite.probe.solution import Solution
from evalsuite.probe.solver import Targets


class SklearnPrepared:
    """Rows and targets as scikit-learn takes them: on the CPU."""

    def __init__(self, features: Tensor, targets: Targets, rows: Tensor | None = None) -> None:
        self._design = Design.of(features, rows)
        self._targets = targets
        self._values = targets.values if rows is None else targets.values[rows.to(targets.values.device)]
        self._features = (features if rows is None else features[rows]).cpu().numpy()

    def solve(
        self,
        lambdas: Sequence[float],
        tolerance: float = 1e-6,
        max_iterations: int = 1000,
        warm_start: Solution | None = None,
    ) -> Solution:
        """Fit one logistic regression a lambda, each from zero."""
        found = [self._fit(value, max_iterations) for value in lambdas]
        weights, intercepts = (torch.stack([fit[part] for fit in found]) for part in (0, 1))  # type: ignore[misc]
        values, norms = self._objective(lambdas, weights, intercepts)
        iterations = tuple(fit[2] for fit in found)
        return Solution(
            lambdas=tuple(lambdas),
            weights=weights.to(self._design.mean.device),
            intercepts=intercepts.to(self._design.mean.device),
            objective=values,
            iterations=iterations,
            gradient_norm=norms,
            gap=(float("nan"),) * len(found),
            converged=tuple(count < max_iterations for count in iterations),
            evaluations=iterations,
            plain=(True,) * len(found),
            mean=self._design.mean,
        )

    def _fit(self, value: float, max_iterations: int) -> tuple[Tensor, Tensor, int]:
        """Return weights (C, D), intercepts (C,) and the iterations of the slowest class."""
        n_classes, dim = self._targets.n_classes, self._design.dim
        weights = torch.zeros(n_classes, dim, dtype=torch.float64)
        intercepts = torch.full((n_classes,), ABSENT_INTERCEPT, dtype=torch.float64)
        if self._targets.kind == "multinomial":
            return self._one(value, max_iterations, self._values, weights, intercepts)
        slowest = 0
        for label in range(n_classes):
            used = self._values[:, label] >= 0
            pair_weights, pair_intercepts = weights.new_zeros(2, dim), intercepts.new_full((2,), ABSENT_INTERCEPT)
            labels = self._values[used, label].long()
            _, _, count = self._one(value, max_iterations, labels, pair_weights, pair_intercepts, used)
            slowest = max(slowest, count)
            weights[label] = pair_weights[1] - pair_weights[0]
            intercepts[label] = (pair_intercepts[1] - pair_intercepts[0]).clamp(ABSENT_INTERCEPT, -ABSENT_INTERCEPT)
        return weights, intercepts, slowest

    def _one(
        self,
        value: float,
        max_iterations: int,
        labels: Tensor,
        weights: Tensor,
        intercepts: Tensor,
        used: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, int]:
        """Fit some rows and fill in the classes they have."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        present = torch.unique(labels).cpu()
        if len(present) < 2:
            intercepts[present] = 0
            return weights, intercepts, 0
        features = self._features if used is None else self._features[used.cpu().numpy()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # reported with the fit
            model = LogisticRegression(C=1 / value, max_iter=max_iterations).fit(features, labels.cpu().numpy())
        coefficients, offsets = (torch.from_numpy(part).double() for part in (model.coef_, model.intercept_))
        if len(present) == 2:
            coefficients = torch.cat([-coefficients, coefficients]) / 2
            offsets = torch.cat([-offsets, offsets]) / 2
        weights[present], intercepts[present] = coefficients, offsets
        return weights, intercepts, int(model.n_iter_.max())

    def _objective(
        self, lambdas: Sequence[float], weights: Tensor, intercepts: Tensor
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        device = self._design.mean.device
        reduction = reduce_targets(self._targets.kind, self._values.to(device), self._targets.n_classes)
        strengths = torch.tensor(lambdas, dtype=torch.float64, device=device)
        weights, intercepts = weights.to(device), intercepts.to(device)
        theta = reduction.pack(weights, intercepts + weights @ self._design.mean)
        objective = reduction.objective(self._design, strengths)
        values, gradients = objective.evaluate(torch.arange(len(theta), device=device), theta)
        shape = (len(lambdas), -1)
        return (
            tuple(values.reshape(shape).sum(dim=1).tolist()),
            tuple(gradients.reshape(shape).norm(dim=1).tolist()),
        )
