"""What a fit returns: the minima for several values of lambda, and how they were reached."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from evalsuite.precision import exact_products
from evalsuite.probe.objective import Design, working_dtype


@dataclass(frozen=True)
class Solution:
    """The minima for L lambdas, C classes and D features; one entry per lambda everywhere.

    weights: (L, C, D) float64; intercepts: (L, C) float64; a class without training rows has zero weights and
    the intercept `reduction.ABSENT_INTERCEPT`. With two classes, multinomial weights are -w/2 and w/2.
    objective: the sum F, penalty included; iterations: of the slowest class for one_vs_rest; gradient_norm:
    Euclidean, of F; gap: the estimate of (F - F*) / max(F*, 1e-3 N) at the end, which can be up to about a
    hundred times too low; converged: whether that estimate, safety included, passed the tolerance.
    evaluations: passes over the rows, summed over the classes of one_vs_rest; mean (D,): of the rows fitted.
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
        return replace(self, **{name: getattr(self, name)[one] for name in _PER_LAMBDA})

    def reordered(self, order: list[int]) -> Solution:
        """Return the solutions of these lambda numbers, in this order."""
        return reduce(Solution.joined, (self.select(index) for index in order))

    def replaced(self, index: int, other: Solution) -> Solution:
        """Return this solution with lambda number `index` taken from another one, which has it alone."""
        return self.select(slice(0, index)).joined(other).joined(self.select(slice(index + 1, None)))

    def joined(self, other: Solution) -> Solution:
        """Return this solution with the lambdas of another one, of the same classes and features, appended."""
        return replace(self, **{name: _joined(getattr(self, name), getattr(other, name)) for name in _PER_LAMBDA})


_PER_LAMBDA = [field.name for field in fields(Solution) if field.name != "mean"]


def _joined(one: Any, other: Any) -> Any:
    return torch.cat([one, other]) if isinstance(one, Tensor) else one + other
