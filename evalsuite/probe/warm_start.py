"""What is known of one set of rows along lambda: solutions, blocks of the Hessian, and where to start next.

As lambda moves, the solution moves along a smooth curve. On rows that are nearly separated it also grows without
end, and no interpolation in lambda finds its size. So a start is the best point of the space that the nearest
solutions span, see `span.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evalsuite.probe.objective import Objective
from evalsuite.probe.preconditioner.class_blocks import ClassBlocks
from evalsuite.probe.span import lowest

NEIGHBOURS = 3
"""Solutions combined at most: with the curve's curvature known, a fourth adds nothing that pays for itself."""

KEPT_BYTES = 32 << 20
"""The blocks of earlier lambdas take at most this much memory."""


class WarmStarts:
    """The solutions found so far, theta (K, r + 1) each; empty to begin with."""

    def __init__(self) -> None:
        self._known: list[tuple[float, Tensor, bool]] = []
        self._blocks: dict[float, ClassBlocks] = {}

    def remember(self, lambda_: float, theta: Tensor, ours: bool = True) -> None:
        """Add the solution for a further lambda: of these rows, or of others, whose slope here is unknown."""
        self._known.append((lambda_, theta, ours))

    def keep(self, lambda_: float, blocks: ClassBlocks) -> None:
        """Keep the blocks that a fit ended with, as long as there is room."""
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
