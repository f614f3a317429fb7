"""A second initial inverse Hessian of L-BFGS, for problems that stay hard: blocks of the true Hessian.

The Hessian block of class k is  H_k = sum_n w_nk x_n x_n' + lambda I  with w_nk = p_nk (1 - p_nk). Where many rows
are fitted well, each class weights a different few of them, and no single covariance serves all classes. The
block-diagonal of the Hessian then converges several times faster than the Kronecker product of
`preconditioner.py`, but it takes N D^2 operations a class, as many as D / 2 evaluations. So

- H_k of many rows is estimated from about ROWS_PER_DIRECTION x D of them, drawn with probability q_n proportional to
  the leverage w_nk x_n' diag(H_k)^-1 x_n and weighted by 1 / q_n: unbiased, and rows that alone carry a direction (a
  pixel that is inked in one image) are never missed;
- it is made only once a problem has spent as much as it costs on evaluations, so that it at most doubles the time;
- the next lambda takes the blocks over with its own penalty in them, see `path.py`.

Of problems with few unknowns the whole Hessian is one block, from all rows.

The draw is systematic (every time a running sum of q passes a whole number), hence deterministic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from evalsuite.probe.objective import Design, Objective

ROWS_PER_DIRECTION = 8
"""Rows drawn a direction: a sample covariance of 8 D rows has eigenvalues within (1 -+ 0.35)^2 of the truth."""

RIDGES = (1e-12, 1e-6, 1e-3)
"""What is added to the unit diagonal of a scaled block, the first that makes it positive definite: the rounding of its
products has taken that from some."""

ROWS_TOGETHER = 1_024
"""Drawn rows that are copied and multiplied together."""

INVERTED_BYTES = 4 << 20
"""Blocks inverted together take about this much memory in float64."""

MAX_BYTES = 160 << 20
"""Blocks of all problems of a batch together take at most this much memory."""

CLIPPING_ROUNDS = 8
"""Probabilities above one are cut and the rest scaled up; a few rounds of it suffice."""


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
    round_cost = 4 * len(objective.design) * dim * n_logits + ROUND_OVERHEAD
    if n_logits * dim <= WHOLE_BELOW:
        return max(MIN_WHOLE, (2 * len(objective.design) * (dim * n_logits) ** 2 + BLOCK_OVERHEAD) / round_cost)
    if 2 * n_problems * n_logits * dim * dim * 4 > MAX_BYTES:
        return math.inf
    rows = min(len(objective.design), ROWS_PER_DIRECTION * dim)
    # Products of the rows 2 n d^2, float64 Cholesky and inverse about 2 d^3 at half the rate; against 4 N d.
    block_cost = 2 * rows * dim**2 + 4 * dim**3 + (0 if _all_rows(objective.design) else BLOCK_OVERHEAD)
    return max(MIN_ROUNDS, (n_logits * block_cost + BLOCK_OVERHEAD) / round_cost)


def _all_rows(design: Design) -> bool:
    """Say whether summing over all rows is cheaper than drawing some."""
    return 2 * len(design) * (design.dim + 1) ** 2 <= BLOCK_OVERHEAD


def shift_rounds(objective: Objective) -> float:
    """Return how many rounds it costs to give the blocks of one problem another penalty."""
    dim, n_logits = objective.design.dim + 1, objective.n_logits
    n_blocks, size = (1, n_logits * dim) if n_logits * dim <= WHOLE_BELOW else (n_logits, dim)
    return n_blocks * 4 * size**3 / (4 * len(objective.design) * dim * n_logits + ROUND_OVERHEAD)


@dataclass(frozen=True)
class Blocks:
    """Blocks of the Hessian of one problem without its penalty, and the inverses with it.

    curvature, inverse: (K, D + 1, D + 1), or (1, n, n) for the whole Hessian of n = K (D + 1) unknowns.
    """

    curvature: Tensor
    inverse: Tensor

    @classmethod
    def at(cls, objective: Objective, index: int, theta: Tensor) -> Blocks:
        """Make the blocks of problem `index` at theta (K, D + 1)."""
        if theta.numel() <= WHOLE_BELOW:
            curvature = objective.hessian(index, theta).unsqueeze(0)
        else:
            weights = objective.curvature_weights(index, theta)
            if _all_rows(objective.design):
                curvature = _summed(objective.design, weights)
            else:
                leverages = _leverages(objective.design, weights, float(objective.penalties[index]))
                shape = (len(theta), theta.shape[1], theta.shape[1])
                curvature = torch.empty(shape, dtype=objective.design.dtype, device=theta.device)
                for row, pair in enumerate(zip(weights, leverages, strict=True)):
                    curvature[row] = _sampled(objective.design, *pair)
        return cls.of(curvature, objective, index)

    @classmethod
    def of(cls, curvature: Tensor, objective: Objective, index: int) -> Blocks:
        """Give a curvature, of another penalty maybe, the penalty of problem `index`."""
        penalty = float(objective.penalties[index])
        return cls(curvature, _inverses(curvature, penalty, objective.design.dim + 1))

    def apply(self, gradient: Tensor) -> Tensor:
        """Return the inverse times a gradient (K, D + 1)."""
        flat = gradient.reshape(len(self.inverse), -1, 1).to(self.inverse.dtype)
        return torch.bmm(self.inverse, flat).view_as(gradient).to(gradient.dtype)


def _leverages(design: Design, weights: Tensor, penalty: float) -> Tensor:
    """Return w_nk (1 / sum_n w_nk + sum_j x_nj^2 / t_kj), t_kj the diagonal of H_k: (K, N) for w (K, N)."""
    diagonal = torch.full((len(weights), design.dim), penalty, dtype=torch.float64, device=weights.device)
    for span, x in design.chunks(columns=design.dim):
        diagonal += weights[:, span] @ x.square()
    scale = (1 / diagonal.clamp(min=1e-30)).to(design.dtype)
    found = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-30)
    for span, x in design.chunks(columns=design.dim):
        found[:, span] += weights[:, span] * (scale @ x.square().T)
    return found


def _summed(design: Design, weights: Tensor) -> Tensor:
    """Return sum_n w_kn x_n x_n' (K, D + 1, D + 1) over all rows, each row with a last column of ones."""
    width = design.dim + 1
    total = torch.zeros(len(weights), width, width, dtype=design.dtype, device=weights.device)
    for span, x in design.chunks(columns=len(weights) * width):
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        total += (weights[:, None, span] * x.T) @ x
    return total


def _sampled(design: Design, weights: Tensor, leverage: Tensor) -> Tensor:
    """Return an estimate of one of those sums (D + 1, D + 1), from rows drawn by their leverage (N,)."""
    drawn, probability = draw(leverage.double(), ROWS_PER_DIRECTION * (design.dim + 1))
    scale = (weights[drawn] / probability).sqrt().to(design.dtype)
    total = torch.zeros(design.dim + 1, design.dim + 1, dtype=design.dtype, device=weights.device)
    for start in range(0, len(drawn), ROWS_TOGETHER):
        part = slice(start, start + ROWS_TOGETHER)
        x = torch.cat([design.take(drawn[part]), torch.ones_like(scale[part]).unsqueeze(1)], dim=1)
        x *= scale[part].unsqueeze(1)
        total.addmm_(x.T, x)
    return total


def _inverses(curvature: Tensor, penalty: float, width: int) -> Tensor:
    """Return the inverses of blocks (B, d, d) plus the penalty on all but every width-th unknown, an intercept."""
    size = curvature.shape[1]
    added = torch.full((size,), penalty, dtype=torch.float64, device=curvature.device)
    added[width - 1 :: width] = 0
    found = torch.empty_like(curvature)
    together = max(1, INVERTED_BYTES // (8 * size**2))
    for start in range(0, len(curvature), together):
        blocks = curvature[start : start + together].to(torch.float64, copy=True)
        diagonal = blocks.diagonal(dim1=1, dim2=2)
        diagonal += added
        diagonal += torch.finfo(torch.float64).tiny + 1e-12 * diagonal.amax(dim=1, keepdim=True)
        # Scaled to a unit diagonal a block is as well conditioned as a diagonal scaling can make it.
        root = diagonal.rsqrt()
        blocks = root.unsqueeze(2) * blocks * root.unsqueeze(1)
        inverse = torch.cholesky_inverse(_factors(blocks))
        found[start : start + together] = root.unsqueeze(2) * inverse * root.unsqueeze(1)
    return found


def _factors(blocks: Tensor) -> Tensor:
    """Return the Cholesky factors of blocks of unit diagonal, with as small a ridge as makes them positive definite."""
    identity = torch.eye(blocks.shape[1], dtype=blocks.dtype, device=blocks.device)
    factors: Tensor
    for ridge in RIDGES:
        factors, failed = torch.linalg.cholesky_ex(blocks + ridge * identity)
        if not bool(failed.any()):
            return factors
    return identity.expand_as(blocks).contiguous()


def draw(importance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw about `count` of N rows by importance (N,), none twice; return rows and their probabilities."""
    count = min(count, len(importance))
    q = importance.clamp(min=torch.finfo(importance.dtype).tiny)
    q = q * (count / q.sum())
    for _ in range(CLIPPING_ROUNDS):
        sure = q >= 1
        rest = torch.where(sure, torch.zeros_like(q), q)
        left = (count - sure.sum()).clamp(min=0)
        q = torch.where(sure, torch.ones_like(q), rest * (left / rest.sum().clamp(min=1e-300)))
    q = q.clamp(max=1)
    passed = torch.floor(torch.cumsum(q, 0) + 0.5)
    rows = torch.nonzero(torch.diff(passed, prepend=passed.new_zeros(1)) > 0).squeeze(1)
    return rows, q[rows]
