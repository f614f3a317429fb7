"""A second initial inverse Hessian of L-BFGS, for problems that stay hard: one block a class.

The Hessian block of class k is  H_k = sum_n w_nk x_n x_n' + lambda I  with w_nk = p_nk (1 - p_nk). Where many rows
are fitted well, each class weights a different few of them, and no single covariance serves all classes. The
block-diagonal of the Hessian then converges several times faster than the Kronecker product of
`preconditioner.py`, but it takes N D^2 operations a class, as many as D / 2 evaluations. So

- H_k is estimated from about ROWS_PER_DIRECTION x D rows, drawn with probability q_n proportional to the leverage
  w_nk x_n' diag(H_k)^-1 x_n and weighted by 1 / q_n: unbiased, and rows that alone carry a direction (a pixel that
  is inked in one image) are never missed;
- it is made only once a problem has spent as much as it costs on evaluations, so that it at most doubles the time.

The draw is systematic (every time a running sum of q passes a whole number), hence deterministic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evalsuite.probe.objective import Design, Objective

ROWS_PER_DIRECTION = 4
"""Rows drawn a direction: a sample covariance of 4 D rows has eigenvalues within (1 -+ 1/2)^2 of the truth."""

RIDGE = 1e-6
"""Added to the unit diagonal of the scaled blocks; keeps their float32 inverses positive definite."""

MAX_BYTES = 160 << 20
"""Blocks of all problems of a batch together take at most this much memory."""

CLIPPING_ROUNDS = 8
"""Probabilities above one are cut and the rest scaled up; a few rounds of it suffice."""


OVERHEAD = 3e7
"""Operations that the handful of small steps for one block are worth, whatever its size."""


def evaluations_worth(objective: Objective, n_problems: int) -> float:
    """Return how many evaluations of a problem its blocks cost; infinity where they do not fit the memory."""
    dim, n_logits = objective.design.dim + 1, objective.n_logits
    if n_problems * n_logits * dim * dim * 4 > MAX_BYTES:
        return float("inf")
    rows = min(len(objective.design), ROWS_PER_DIRECTION * dim)
    # Products of the sample 2 n d^2, float64 Cholesky and inverse about 2 d^3 at half the rate; against 4 N d.
    return (2 * rows * dim**2 + 4 * dim**3 + OVERHEAD) / (4 * len(objective.design) * dim)


def inverse_blocks(objective: Objective, index: int, theta: Tensor) -> Tensor:
    """Return the inverses of the sampled H_k of one problem at theta (K, D + 1): (K, D + 1, D + 1)."""
    design, penalty = objective.design, float(objective.penalties[index])
    weights = objective.curvature_weights(index, theta)
    leverages = _leverages(design, weights, penalty)
    blocks = [_inverse(design, w, leverage, penalty) for w, leverage in zip(weights, leverages, strict=True)]
    return torch.stack(blocks).to(design.dtype)


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


def _inverse(design: Design, weights: Tensor, leverage: Tensor, penalty: float) -> Tensor:
    drawn, probability = draw(leverage.double(), ROWS_PER_DIRECTION * (design.dim + 1))
    scale = (weights[drawn] / probability).sqrt().to(design.dtype)
    x = torch.cat([design.take(drawn), torch.ones_like(scale).unsqueeze(1)], dim=1) * scale.unsqueeze(1)
    block = (x.T @ x).double()
    diagonal = block.diagonal()
    diagonal[:-1] += penalty
    diagonal += torch.finfo(torch.float64).tiny + 1e-12 * diagonal.max()
    # Scaled to a unit diagonal the block is as well conditioned as a diagonal scaling can make it.
    root = diagonal.rsqrt()
    block = root[:, None] * block * root
    block.diagonal().add_(RIDGE)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(block))
    return root[:, None] * inverse * root


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
