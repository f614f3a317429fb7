"""The initial inverse Hessian of L-BFGS: the curvature of the coordinates times the curvature of the losses.

With centred rows z_n, the Hessian of F in W is sum_n A_n (x) z_n z_n' + lambda I, where A_n (K, K) is the
Hessian of the loss in the logits of row n. Taking the two factors as independent over rows gives

    H ~ N A (x) S + lambda I,    A = mean A_n,    S = mean z_n z_n' = diag(s),

whose inverse is cheap in the eigenbasis A = V a V':  H^-1 G = V [ (V' G) / (N a s + lambda) ].
S belongs to the coordinates; A is K x K and follows the iterates. An inexact one only costs iterations, never accuracy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evalsuite.probe.objective import Objective

CURVATURE_FLOOR = 1e-9
"""Smallest eigenvalue of A that is believed; float32 probabilities leave rounding of that size in a mean."""


class Kronecker:
    """H^-1 of an objective at theta (K, r + 1); variances: s (r,) float64."""

    def __init__(self, objective: Objective, variances: Tensor, theta: Tensor) -> None:
        values, self._vectors = torch.linalg.eigh(objective.curvature(theta))
        loss_curvature = len(objective.design) * values.clamp(min=CURVATURE_FLOOR).unsqueeze(1)
        # The intercept is a feature of variance 1 without a penalty.
        self._curvature = torch.cat([loss_curvature * variances + objective.lambda_, loss_curvature], dim=1)

    def times(self, vectors: Tensor) -> Tensor:
        """Return H^-1 G for G (R, K, r + 1)."""
        found: Tensor = self._vectors @ (self._vectors.T @ vectors / self._curvature)
        return found
