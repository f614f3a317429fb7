"""A second initial inverse Hessian of L-BFGS, for problems that stay hard: blocks of the true Hessian.

The Hessian block of class k is  H_k = sum_n w_nk x_n x_n' + lambda I  with w_nk = p_nk (1 - p_nk). Where many rows
are fitted well, each class weights a different few of them, and no single covariance serves all classes. The
block-diagonal of the Hessian then converges several times faster than the Kronecker product of `kronecker.py`, but it
takes N D^2 operations for each class, as many as D / 2 evaluations. So H_k of many rows is estimated from a few of
them, see `leverage.py`, and `problem.py` says when that is worth its time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalsuite.probe.objective import Objective
from evalsuite.probe.preconditioner import leverage
from evalsuite.probe.preconditioner.symmetric import Inverses, inverse_factor

MAX_BYTES = 128 << 20
"""Blocks take at most this much memory."""

MIN_PASSES = 8
"""Passes between two makings of the blocks at least: L-BFGS needs a few to profit from them."""

READING = 17
"""A pass takes the time of so many logits more: that of reading the rows."""


def passes_worth(objective: Objective) -> float:
    """Return how many passes over the rows blocks cost, and no less than pay off; infinity where they do not fit the
    memory."""
    design, size = objective.design, objective.design.width + 1
    if Inverses.bytes_for(objective.n_logits, size, design.dtype) > MAX_BYTES:
        return math.inf
    # The lower half of the products of the rows read, a float64 Cholesky factor and inverse, each at the rate that it
    # is made at on one core, against 4 N D.
    per_logit = (0.38 * leverage.rows_read(design) + 1.4 * size) * size / len(design)
    return max(MIN_PASSES, per_logit * objective.n_logits / (objective.n_logits + READING))


class ClassBlocks:
    """The inverses of the K blocks of an objective at theta (K, r + 1)."""

    def __init__(self, objective: Objective, theta: Tensor) -> None:
        design = self._design = objective.design
        added = torch.full((design.width + 1,), objective.lambda_, dtype=torch.float64, device=theta.device)
        added[-1] = 0  # intercepts are free
        self.inverses = Inverses(len(theta), len(added), design.dtype, theta.device)
        weights = objective.curvature_weights(theta)
        for index, matrix in enumerate(leverage.covariances(design, weights, added)):
            self.inverses.put(index, inverse_factor(matrix.double(), added))

    def times(self, vectors: Tensor) -> Tensor:
        """Return the inverses times vectors (R, K, r + 1)."""
        outside = torch.cat([self._design.outside(vectors[..., :-1]), vectors[..., -1:]], dim=2)
        found = self.inverses.times(outside)
        return torch.cat([self._design.inside(found[..., :-1]), found[..., -1:]], dim=2)
