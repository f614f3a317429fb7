"""Blocks of the Hessian a feature, for problems of so many classes that their class blocks would not fit.

The Kronecker product of `preconditioner.py` gives every feature the same curvature of the losses. But a feature that is
active in images of two classes couples those two, and no others. In whitened features x' = T x the Hessian of F is all
but block-diagonal by features, with blocks (K, K)

    H_d = sum_n x'_nd^2 A_n + lambda (T T')_dd I,    A_n the Hessian of the loss in the logits of row n,

if T is the symmetric whitening  (S + lambda / (N a) I)^-1/2,  a the mean curvature: of all whitenings it moves the
features least, so that x'_d is feature d without what the others say of it. The blocks come from a sample of the
rows, drawn towards the Kronecker product so that no feature is left without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from evalsuite.probe.class_blocks import MAX_BYTES, MIN_ROUNDS, round_operations
from evalsuite.probe.objective import ROWS_PER_LOGIT, Objective
from evalsuite.probe.preconditioner import CURVATURE_FLOOR, Spectrum

EVALUATIONS = 8
"""Evaluations that the products for the blocks may cost; the sample of the rows is as large as that allows."""

SHRINKAGE = 0.1
"""Share of the Kronecker product in every block."""

RIDGE = 1e-6
"""Added to every block, as a share of its mean diagonal: float32 sums leave rounding of that size."""

INVERSE_OPERATIONS = 24
"""Operations of a product that an inverse is worth, over n^3: small ones in float64 run at a tenth of the rate."""

BUFFER_BYTES = 16 << 20
"""Curvatures of rows that are summed together, and blocks that are inverted together, take about this much memory."""

SMALLEST_CHUNK = 64
"""Fewer rows together would take longer to add up than to multiply."""


def sampled_rows(objective: Objective) -> int:
    """Return how many rows the blocks are made from."""
    n_rows, n_logits = len(objective.design), objective.n_logits
    return min(n_rows, max(ROWS_PER_LOGIT * n_logits, 2 * EVALUATIONS * n_rows // n_logits))


def rounds_worth(objective: Objective, n_problems: int) -> float:
    """Return how many rounds of one problem its blocks cost, and no less than pay off; infinity where they do not fit
    the memory, or say no more than the Kronecker product."""
    n_logits, dim = objective.n_logits, objective.design.dim + 1
    if n_logits == 1 or 4 * n_problems * n_logits**2 * dim > MAX_BYTES:
        return math.inf
    cost = 2 * sampled_rows(objective) * n_logits**2 * dim + INVERSE_OPERATIONS * dim * n_logits**3
    return max(MIN_ROUNDS, cost / round_operations(objective))


@dataclass(frozen=True)
class FeatureBlocks:
    """inverse: (d + 1, K, K), the blocks of d whitened features and of the intercept; whitening: T (d, r)."""

    inverse: Tensor
    whitening: Tensor

    @classmethod
    def at(cls, objective: Objective, spectrum: Spectrum, index: int, theta: Tensor) -> FeatureBlocks:
        """Make the blocks of problem `index` at theta (K, r + 1)."""
        ids, theta = torch.tensor([index], device=theta.device), theta.unsqueeze(0)
        penalty, n_rows = float(objective.penalties[index]), len(objective.design)
        mean = objective.curvature(ids, theta)[0]
        bend = float(mean.diagonal().mean().clamp(min=CURVATURE_FLOOR))
        whitening, squares = spectrum.whitening(penalty / (n_rows * bend))
        blocks = (1 - SHRINKAGE) * _sampled(objective, ids, theta, whitening.to(objective.design.dtype))
        blocks += (SHRINKAGE * n_rows * torch.cat([squares, squares.new_ones(1)])[:, None, None] * mean).to(
            blocks.dtype
        )
        added = penalty * whitening.square().sum(dim=1)
        return cls(_inverses(blocks, torch.cat([added, added.new_zeros(1)])), whitening.to(blocks.dtype))

    def shifted(self, objective: Objective, index: int) -> FeatureBlocks:
        """Return the same blocks: what another penalty changes in them is left to L-BFGS."""
        return self

    def apply(self, gradient: Tensor) -> Tensor:
        """Return the inverse times a gradient (K, r + 1)."""
        flat = gradient.to(self.inverse.dtype)
        turned = torch.cat([flat[:, :-1] @ self.whitening.T, flat[:, -1:]], dim=1)
        solved = torch.bmm(self.inverse, turned.T.unsqueeze(2)).squeeze(2).T
        return torch.cat([solved[:, :-1] @ self.whitening, solved[:, -1:]], dim=1).to(gradient.dtype)

    @property
    def n_bytes(self) -> int:
        """Memory of the blocks."""
        return self.inverse.numel() * self.inverse.element_size()


def _sampled(objective: Objective, ids: Tensor, theta: Tensor, whitening: Tensor) -> Tensor:
    """Return sum_n x'_nd^2 A_n (d + 1, K, K), estimated from every so many rows, the last with ones for a feature."""
    n_rows, n_logits = len(objective.design), objective.n_logits
    stride = n_rows // sampled_rows(objective)
    positions = torch.arange(0, n_rows, stride, device=theta.device)
    one = torch.eye(n_logits, dtype=whitening.dtype, device=theta.device)[None, :, :, None]
    total = whitening.new_zeros(n_logits**2, len(whitening) + 1)
    size = max(SMALLEST_CHUNK, BUFFER_BYTES // (total.element_size() * n_logits**2))
    for start in range(0, len(positions), size):
        chunk = positions[start : start + size]
        logits = objective.logits(theta, chunk)
        bent = objective.curve(ids, chunk, logits, one.expand(-1, -1, -1, len(chunk)))
        x = objective.design.take(chunk) @ whitening.T
        total.addmm_(bent.reshape(n_logits**2, -1), torch.cat([x.square(), torch.ones_like(x[:, :1])], dim=1))
    return (total * (n_rows / len(positions))).T.view(-1, n_logits, n_logits)


def _inverses(blocks: Tensor, added: Tensor) -> Tensor:
    """Return the inverses of blocks (B, K, K) with added (B,) on their diagonals."""
    found = torch.empty_like(blocks, memory_format=torch.contiguous_format)
    n_logits = blocks.shape[1]
    levels = blocks.diagonal(dim1=1, dim2=2).mean(dim=1, dtype=torch.float64)
    levels = levels.clamp(min=RIDGE * float(levels.max()))
    together = max(1, BUFFER_BYTES // (8 * n_logits**2))
    for start in range(0, len(blocks), together):
        span = slice(start, start + together)
        some = blocks[span].double()
        level = levels[span]
        some.diagonal(dim1=1, dim2=2).add_((added[span] + RIDGE * level)[:, None])
        if n_logits > 1:
            # Moving all logits together changes no loss; what the inverse makes of it is projected away.
            some += (level / n_logits)[:, None, None]
        factors, _ = torch.linalg.cholesky_ex(some)
        found[span] = torch.cholesky_inverse(factors)
    return found
