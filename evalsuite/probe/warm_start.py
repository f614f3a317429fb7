"""What is known of one set of rows along lambda: solutions, blocks of the Hessian, and where to start next.

As lambda moves, the solution moves along a smooth curve. On rows that are nearly separated it also grows without
end, and no interpolation in lambda finds its size. So a start is the lowest point of the space that the nearest
solutions span. That is a problem of as many unknowns as there are solutions, and a few thousand rows are enough for it:
F is modelled as the loss on those rows, scaled up, plus a linear term that gives the model the gradient which F is
known to have at the first point. Where that point is all but right already, the sample cannot lead away from it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalsuite.probe.objective import Objective
from evalsuite.probe.preconditioner.class_blocks import ClassBlocks

NEIGHBOURS = 3
"""Solutions combined at most: with the curve's curvature known, a fourth adds nothing that pays for itself."""

KEPT_BYTES = 32 << 20
"""The blocks of earlier lambdas take at most this much memory."""

SAMPLE_ROWS = 8192
"""Rows looked at, at most."""

SAMPLE_LOGITS = 1 << 22
"""Logits of all points on those rows together, at most: 16 MB in float32."""

NEWTON_STEPS = 8
"""Steps at most; most starts take three."""

SHRINK = 0.25
"""A step that does not lower the model is tried again at this share of its length."""

RIDGE = 1e-6
"""Added to the unit diagonal of the scaled Hessian: float32 sums leave rounding of that size."""

ENOUGH = 1e-6
"""A step whose expected gain is below this share of F is the last one."""


class WarmStarts:
    """The solutions found so far, theta (K, r + 1) each; empty to begin with."""

    def __init__(self) -> None:
        self._known: list[tuple[float, Tensor, bool]] = []
        self._blocks: dict[float, ClassBlocks] = {}

    def remember(self, lambda_: float, theta: Tensor, blocks: ClassBlocks | None = None, ours: bool = True) -> None:
        """Add the solution for a further lambda: of these rows, or of others, whose slope here is unknown. The blocks
        that its fit ended with are kept as long as there is room."""
        self._known.append((lambda_, theta, ours))
        if blocks is not None:
            self._blocks[lambda_] = blocks
        while sum(one.inverses.nbytes for one in self._blocks.values()) > KEPT_BYTES:
            del self._blocks[next(iter(self._blocks))]

    def blocks(self, lambda_: float) -> ClassBlocks | None:
        """Return the blocks of the nearest larger lambda, if there are some: a penalty that is too large shortens steps
        where the curvature is small (as Levenberg and Marquardt damp them)."""
        larger = [known for known in self._blocks if known >= lambda_]
        return self._blocks[min(larger)] if larger else None

    def start(self, objective: Objective) -> Tensor | None:
        """Return theta (K, r + 1) made of the solutions around a lambda; None if there are none."""
        if not self._known:
            return None
        near = sorted(self._known, key=lambda one: abs(math.log(one[0] / objective.lambda_)))[:NEIGHBOURS]
        lambda_, theta, ours = near[0]
        # At a minimum the gradient of the losses is what the penalty's takes away.
        slope = torch.zeros_like(theta) if ours else objective.evaluate(theta)[1]
        slope[:, :-1] -= (lambda_ if ours else objective.lambda_) * theta[:, :-1]
        return lowest(objective, torch.stack([point for _, point, _ in near]), slope)


def lowest(objective: Objective, points: Tensor, slope: Tensor) -> Tensor:
    """Return the lowest point (K, r + 1) that damped Newton steps find on the span of points (J, K, r + 1).

    slope: (K, r + 1), the gradient of the losses at the first point. By the model, it is not above that.
    """
    span = _Span(objective, points, slope)
    a = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    a[0] = 1
    value, gradient, hessian = span.model(a)
    length = 1.0
    for _ in range(NEWTON_STEPS):
        step = _newton_step(gradient, hessian)
        if float(-step @ gradient) <= ENOUGH * abs(value):
            break
        trial = a + length * step
        at_trial = span.model(trial)
        if at_trial[0] < value:
            a, (value, gradient, hessian), length = trial, at_trial, 1.0
        else:
            length *= SHRINK
    return torch.einsum("j,jkd->kd", a, span.basis)


class _Span:
    """F on the span of J points, modelled on a sample of m rows.

    basis: (J, K, r + 1), the first point and the differences of the others from it.
    """

    def __init__(self, objective: Objective, points: Tensor, slope: Tensor) -> None:
        self.basis = torch.cat([points[:1], points[1:] - points[:1]])
        self._objective = objective
        n_rows = len(objective.design)
        wanted = min(n_rows, SAMPLE_ROWS, max(1, SAMPLE_LOGITS // (len(points) * objective.n_logits)))
        self._positions = torch.arange(0, n_rows, -(-n_rows // wanted), device=points.device)
        self._scale = n_rows / len(self._positions)
        self._logits = objective.logits(self.basis, self._positions)
        weights = self.basis[..., :-1].flatten(1)
        self._pull = objective.lambda_ * weights @ weights.T
        # F's gradient at the first point is what is known of the losses and what the penalty has.
        self._slope = torch.zeros_like(self._pull[0])
        sampled = self.model(torch.eye(len(points), dtype=torch.float64, device=points.device)[0])[1]
        self._slope = self.basis.flatten(1) @ slope.flatten() + self._pull[0] - sampled

    def model(self, a: Tensor) -> tuple[float, Tensor, Tensor]:
        """Return F, its gradient (J,) and Hessian (J, J) at coefficients a (J,)."""
        logits = torch.einsum("j,jkm->km", a.to(self._logits.dtype), self._logits)
        bent = self._objective.hessian_vector_product(self._positions, logits, self._logits).flatten(1)
        losses, residual = self._objective.loss(self._positions, logits)
        flat = self._logits.flatten(1)
        value = self._scale * losses.sum() + self._slope @ a + a @ self._pull @ a / 2
        gradient = self._scale * (flat @ residual.flatten()).double() + self._slope + self._pull @ a
        return float(value), gradient, self._scale * (flat @ bent.T).double() + self._pull


def _newton_step(gradient: Tensor, hessian: Tensor) -> Tensor:
    """Return -H^-1 g, with H scaled to a unit diagonal; a point equal to the first one stays unused."""
    diagonal = hessian.diagonal()
    root = torch.where(diagonal > 0, diagonal, torch.inf).rsqrt()
    scaled = root * hessian * root.unsqueeze(1) + torch.diag(torch.where(root > 0, RIDGE, 1.0).to(hessian.dtype))
    step: Tensor = torch.linalg.solve(scaled, root * gradient)
    return -root * step
