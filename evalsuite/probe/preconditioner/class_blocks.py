"""A second initial inverse Hessian of L-BFGS, for problems that stay hard: blocks of the true Hessian.

The Hessian block of class k is  H_k = sum_n w_nk x_n x_n' + lambda I  with w_nk = p_nk (1 - p_nk). Where many rows
are fitted well, each class weights a different few of them, and no single covariance serves all classes. The
block-diagonal of the Hessian then converges several times faster than the Kronecker product of
`kronecker.py`, but it takes N D^2 operations for each class, as many as D / 2 evaluations. So

- H_k of many rows is estimated from a few of them, see `leverage.py`;
- it is made only once a problem has spent as much as it costs on evaluations, so that it at most doubles the time;
- the next lambda takes the blocks over, see `warm_start.py` and `problem.py`.

Of problems with few unknowns the whole Hessian is one block, from all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from evalsuite.probe.objective import Design, Objective
from evalsuite.probe.preconditioner import leverage
from evalsuite.probe.preconditioner.symmetric import TOGETHER_BYTES, Symmetric, inverted

MAX_BYTES = 128 << 20
"""Blocks of all problems of a batch together take at most this much memory."""

WHOLE_BELOW = 256
"""Problems of at most so many unknowns have one block, the whole Hessian."""

MIN_ROUNDS = 8
"""Rounds between two makings of a problem's blocks at least: L-BFGS needs a few to profit from them."""

MIN_WHOLE = 2
"""The same for a whole Hessian, with which every round is a Newton step."""

BLOCK_OVERHEAD = 3e7
"""Operations that the handful of small steps for one block are worth, whatever its size."""

ROUND_OVERHEAD = 6e7
"""Operations that the small steps of one round are worth, whatever the size of its problems."""


def rounds_worth(objective: Objective, n_problems: int) -> float:
    """Return how many rounds of one problem its blocks cost, and no less than pay off; infinity where they do not fit
    the memory."""
    dim, n_logits = objective.design.dim + 1, objective.n_logits
    round_cost = _round_cost(objective)
    if n_logits * dim <= WHOLE_BELOW:
        return max(MIN_WHOLE, (2 * len(objective.design) * (dim * n_logits) ** 2 + BLOCK_OVERHEAD) / round_cost)
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


def shift_rounds(objective: Objective) -> float:
    """Return how many rounds it costs to give the blocks of one problem another penalty."""
    count, size = _shape(objective)
    return count * 4 * size**3 / _round_cost(objective)


def _round_cost(objective: Objective) -> float:
    """Return the operations of one round of one problem."""
    return 4 * len(objective.design) * (objective.design.dim + 1) * objective.n_logits + ROUND_OVERHEAD


@dataclass(frozen=True)
class Blocks:
    """Blocks of the Hessian of one problem without a penalty, and the inverses with one.

    inverse, curvature: K blocks of D + 1 unknowns, or the whole Hessian of K (D + 1); there is no curvature where the
    memory does not hold both.
    """

    curvature: Symmetric | None
    inverse: Symmetric

    @classmethod
    def at(cls, objective: Objective, index: int, theta: Tensor, penalty: float, n_problems: int) -> Blocks:
        """Make the blocks of problem `index` at theta (K, D + 1); `n_problems` have to fit the memory."""
        count, size = _shape(objective)
        # The whole Hessian of a softmax is singular, and the rounding of its inverse all but infinite.
        dtype, device = torch.float64 if size > objective.design.dim + 1 else objective.design.dtype, theta.device
        fits = 2 * n_problems * Symmetric.bytes_for(count, size, dtype) <= MAX_BYTES
        curvature = Symmetric.empty(count, size, dtype, device) if fits else None
        inverse = Symmetric.empty(count, size, dtype, device)
        added, start = _diagonal(objective, penalty), 0
        for matrices in _curvatures(objective, index, theta, added):
            if curvature is not None:
                curvature.put(start, matrices)
            inverse.put(start, inverted(matrices.double(), added))
            start += len(matrices)
        return cls(curvature, inverse)

    @classmethod
    def of(cls, curvature: Symmetric, objective: Objective, penalty: float) -> Blocks:
        """Give a curvature, which may come from another penalty, this one."""
        inverse = Symmetric(torch.empty_like(curvature.tiles), curvature.size)
        added = _diagonal(objective, penalty)
        for start, stop in curvature.groups():
            inverse.put(start, inverted(curvature.lower(start, stop), added))
        return cls(curvature, inverse)

    def apply(self, gradients: Tensor) -> Tensor:
        """Return the inverse times gradients (R, K, D + 1)."""
        flat = gradients.reshape(len(gradients), len(self.inverse), -1).to(self.inverse.tiles.dtype)
        return self.inverse.times(flat.transpose(0, 1)).transpose(0, 1).reshape(gradients.shape).to(gradients.dtype)


def _shape(objective: Objective) -> tuple[int, int]:
    """Return how many blocks there are, and of how many unknowns."""
    count, size = objective.n_logits, objective.design.dim + 1
    return (1, count * size) if count * size <= WHOLE_BELOW else (count, size)


def _diagonal(objective: Objective, penalty: float) -> Tensor:
    """Return the penalty on the unknowns of a block (d,) float64, none on the intercepts."""
    found = torch.full((_shape(objective)[1],), penalty, dtype=torch.float64)
    found[objective.design.dim :: objective.design.dim + 1] = 0
    return found.to(objective.lambdas.device)


def _curvatures(objective: Objective, index: int, theta: Tensor, added: Tensor) -> Iterator[Tensor]:
    """Yield blocks without a penalty, some (B, d, d) at a time, complete on the diagonal and below."""
    if theta.numel() <= WHOLE_BELOW:
        yield objective.hessian(index, theta).unsqueeze(0)
        return
    weights = objective.curvature_weights(index, theta)
    if _all_rows(objective.design):
        yield from torch.split(_summed(objective.design, weights), max(1, TOGETHER_BYTES // (8 * len(added) ** 2)))
    else:
        for matrix in leverage.covariances(objective.design, weights, added):
            yield matrix.unsqueeze(0)


def _summed(design: Design, weights: Tensor) -> Tensor:
    """Return sum_n w_kn x_n x_n' (K, D + 1, D + 1) over all rows, each row with a last column of ones."""
    width = design.dim + 1
    total = torch.zeros(len(weights), width, width, dtype=design.dtype, device=weights.device)
    for span, x in design.chunks(columns=len(weights) * width):
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        total += (weights[:, None, span] * x.T) @ x
    return total
