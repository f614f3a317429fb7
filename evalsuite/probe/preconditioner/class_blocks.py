"""A second initial inverse Hessian of L-BFGS, for problems that stay hard: blocks of the true Hessian.

The Hessian block of class k is  H_k = sum_n w_nk x_n x_n' + lambda I  with w_nk = p_nk (1 - p_nk). Where many rows
are fitted well, each class weights a different few of them, and no single covariance serves all classes. The
block-diagonal of the Hessian then converges several times faster than the Kronecker product of
`kronecker.py`, but it takes N D^2 operations for each class, as many as D / 2 evaluations. So

- H_k of many rows is estimated from a few of them, see `leverage.py`;
- it is made only once a problem has spent as much as it costs on evaluations: that at most doubles the time;
- it is left to the next lambda, see `problem.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from evalsuite.probe.objective import Design, Objective
from evalsuite.probe.preconditioner import leverage
from evalsuite.probe.preconditioner.symmetric import Symmetric, inverted

MAX_BYTES = 128 << 20
"""Blocks of all problems of a batch together take at most this much memory."""

MIN_ROUNDS = 8
"""Rounds between two makings of a problem's blocks at least: L-BFGS needs a few to profit from them."""

BLOCK_OVERHEAD = 3e7
"""Operations that the handful of small steps for one block are worth, whatever its size."""

ROUND_OVERHEAD = 6e7
"""Operations that the small steps of one round are worth, whatever the size of its problems."""

TOGETHER_BYTES = 4 << 20
"""Matrices worked on together take about this much memory in float64."""


def rounds_worth(objective: Objective, n_problems: int) -> float:
    """Return how many rounds of one problem its blocks cost, and no less than pay off; infinity where they do not fit
    the memory."""
    dim, n_logits = objective.design.dim + 1, objective.n_logits
    round_cost = 4 * len(objective.design) * dim * n_logits + ROUND_OVERHEAD
    if n_problems * Symmetric.bytes_for(n_logits, dim, objective.design.dtype) > MAX_BYTES:
        return math.inf
    rows = min(len(objective.design), (leverage.ROUGH_ROWS + leverage.ROWS) * dim)
    # The lower half of the rows' products, at a better rate than those of an evaluation, and float64 Cholesky and
    # inverse at a worse one.
    block_cost = 0.8 * rows * dim**2 + 3 * dim**3 + (0 if _all_rows(objective.design) else BLOCK_OVERHEAD)
    return max(MIN_ROUNDS, (n_logits * block_cost + BLOCK_OVERHEAD) / round_cost)


def _all_rows(design: Design) -> bool:
    """Say whether summing over all rows is cheaper than drawing some."""
    return 2 * len(design) * (design.dim + 1) ** 2 <= BLOCK_OVERHEAD


def inverses(objective: Objective, index: int, theta: Tensor, refined: bool = True) -> Symmetric:
    """Return the inverses of the K blocks, of D + 1 unknowns each, of problem `index` at theta (K, D + 1);
    refined: draw rows in two steps."""
    design, size = objective.design, theta.shape[1]
    found = Symmetric.empty(len(theta), size, design.dtype, theta.device)
    added = torch.full((size,), float(objective.lambdas[index]), dtype=torch.float64, device=theta.device)
    added[-1] = 0  # intercepts are free
    weights = objective.curvature_weights(index, theta)
    start = 0
    for matrices in _curvatures(design, weights, added, refined):
        found.put(start, inverted(matrices.double(), added))
        start += len(matrices)
    return found


def apply(inverse: Symmetric, gradients: Tensor) -> Tensor:
    """Return inverses times gradients (R, K, D + 1)."""
    flat = gradients.reshape(len(gradients), len(inverse), -1).to(inverse.tiles.dtype)
    return inverse.times(flat.transpose(0, 1)).transpose(0, 1).reshape(gradients.shape).to(gradients.dtype)


def _curvatures(design: Design, weights: Tensor, added: Tensor, refined: bool) -> Iterator[Tensor]:
    """Yield blocks without a penalty, some (B, D + 1, D + 1) at a time, complete on the diagonal and below."""
    if _all_rows(design):
        yield from torch.split(_summed(design, weights), max(1, TOGETHER_BYTES // (8 * len(added) ** 2)))
    else:
        yield from (matrix.unsqueeze(0) for matrix in leverage.covariances(design, weights, added, refined))


def _summed(design: Design, weights: Tensor) -> Tensor:
    """Return sum_n w_kn x_n x_n' (K, D + 1, D + 1) over all rows, each row with a last column of ones."""
    width = design.dim + 1
    total = torch.zeros(len(weights), width, width, dtype=design.dtype, device=weights.device)
    for span, x in design.chunks(columns=len(weights) * width):
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        total += (weights[:, None, span] * x.T) @ x
    return total
