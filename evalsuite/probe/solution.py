"""What a fit returns: the minima for several values of lambda, and how they were reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
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
