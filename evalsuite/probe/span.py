"""The lowest point of the space that a few known points span: a start for L-BFGS between or beyond solutions.

That is a problem of as many unknowns as there are points, and a few thousand rows are enough for it. F is modelled as
the loss on those rows, scaled up, plus a linear term that gives the model the gradient which F is known to have at the
first point: where that point is all but right already, the sample cannot lead away from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from evalsuite.probe.objective import Objective

SAMPLE_ROWS = 8192
"""Rows looked at, at most."""

SAMPLE_LOGITS = 1 << 22
"""Logits of all points and problems on those rows together, at most: 16 MB in float32."""

NEWTON_STEPS = 8
"""Steps at most; most starts take three."""

SHRINK = 0.25
"""A step that does not lower the model is tried again at this share of its length."""

RIDGE = 1e-6
"""Added to the unit diagonal of the scaled Hessian: float32 sums leave rounding of that size."""

ENOUGH = 1e-6
"""A step whose expected gain is below this share of F is the last one."""


def lowest(objective: Objective, points: Tensor, slope: Tensor) -> Tensor:
    """Return the lowest points (P, K, D + 1) that damped Newton steps find on the span of points (J, P, K, D + 1).

    slope: (P, K, D + 1), the gradient of the losses at the first point. By the model, none is above that.
    """
    span = _Span.of(objective, points, slope)
    lambdas = objective.lambdas
    a = span.first()
    value, gradient, hessian = span.model(a, lambdas)
    length = torch.ones_like(value)
    for _ in range(NEWTON_STEPS):
        step = _newton_step(gradient, hessian)
        if bool((-(step * gradient).sum(dim=1) <= ENOUGH * value.abs()).all()):
            break
        trial = a + length[:, None] * step
        at_trial = span.model(trial, lambdas)
        lower = at_trial[0] < value
        a, gradient = (torch.where(lower[:, None], new, old) for new, old in ((trial, a), (at_trial[1], gradient)))
        value = torch.where(lower, at_trial[0], value)
        hessian = torch.where(lower[:, None, None], at_trial[2], hessian)
        length = torch.where(lower, torch.ones_like(length), SHRINK * length)
    return torch.einsum("pj,jpkd->pkd", a, span.basis)


@dataclass(frozen=True)
class _Span:
    """F of P problems on the span of J points each, modelled on a sample of the rows.

    basis: (J, P, K, D + 1), the first point and the differences of the others from it; logits: theirs (P, J, K m);
    positions: (m,) of the sample; scale: N / m; slope: (P, J), the linear term; gram: (P, J, J), inner products
    of the weights.
    """

    objective: Objective
    basis: Tensor
    logits: Tensor
    positions: Tensor
    scale: float
    slope: Tensor
    gram: Tensor

    @classmethod
    def of(cls, objective: Objective, points: Tensor, slope: Tensor) -> _Span:
        """Take points (J, P, K, D + 1) and the gradient of the losses (P, K, D + 1) at the first of them."""
        basis = torch.cat([points[:1], points[1:] - points[:1]])
        n_points, n_problems, n_logits, _ = basis.shape
        n_rows = len(objective.design)
        wanted = min(n_rows, SAMPLE_ROWS, max(1, SAMPLE_LOGITS // (n_points * n_problems * n_logits)))
        positions = torch.arange(0, n_rows, -(-n_rows // wanted), device=points.device)
        logits = objective.logits(basis.flatten(0, 1), positions).view(n_points, n_problems, -1).transpose(0, 1)
        weights = basis[..., :-1]
        gram = torch.einsum("ipkd,jpkd->pij", weights, weights)
        scale = n_rows / len(positions)
        span = cls(objective, basis, logits.contiguous(), positions, scale, torch.zeros_like(gram[:, 0]), gram)
        _, sampled, _ = span.model(span.first(), torch.zeros_like(objective.lambdas))
        return replace(span, slope=torch.einsum("pkd,jpkd->pj", slope, basis) - sampled)

    def first(self) -> Tensor:
        """Return the coefficients (P, J) of the first point."""
        found = torch.zeros_like(self.slope)
        found[:, 0] = 1
        return found

    def model(self, a: Tensor, lambdas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return F (P,), its gradient (P, J) and Hessian (P, J, J) at coefficients a (P, J)."""
        n_problems, n_points = a.shape
        ids = torch.arange(n_problems, device=a.device)
        shape = (n_problems, self.basis.shape[2], len(self.positions))
        logits = torch.bmm(a.to(self.logits.dtype).unsqueeze(1), self.logits).view(shape)
        directions = self.logits.view(n_problems, n_points, *shape[1:])
        bent = self.objective.hessian_vector_product(ids, self.positions, logits, directions).flatten(2)
        loss, residual = self.objective.loss(ids, self.positions, logits)
        gradient = torch.bmm(self.logits, residual.reshape(n_problems, -1, 1)).squeeze(2).double()
        hessian = torch.bmm(self.logits, bent.transpose(1, 2)).double()
        pull = torch.bmm(self.gram, a.unsqueeze(2)).squeeze(2)
        return (
            self.scale * loss + (self.slope * a).sum(dim=1) + lambdas / 2 * (a * pull).sum(dim=1),
            self.scale * gradient + self.slope + lambdas[:, None] * pull,
            self.scale * hessian + lambdas[:, None, None] * self.gram,
        )


def _newton_step(gradient: Tensor, hessian: Tensor) -> Tensor:
    """Return -H^-1 g, with H scaled to a unit diagonal; a point equal to the first one stays unused."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    root = torch.where(diagonal > 0, diagonal, torch.inf).rsqrt()
    scaled = root.unsqueeze(2) * hessian * root.unsqueeze(1)
    scaled = scaled + torch.diag_embed(torch.where(root > 0, RIDGE, 1.0).to(scaled.dtype))
    solved: Tensor = torch.linalg.solve(scaled, (root * gradient).unsqueeze(2))
    return -root * solved.squeeze(2)
