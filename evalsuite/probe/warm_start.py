"""What is known of one set of rows along lambda: solutions, blocks of the Hessian, and where to start next.

As lambda moves, the solution moves along a smooth curve. On rows that are nearly separated it also grows without
end, and no interpolation in lambda finds its size. So a start is the best point of the space that the nearest
solutions span, see `span.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from evalsuite.probe.mechanisms import Mechanisms
from evalsuite.probe.objective import Objective
from evalsuite.probe.preconditioner.symmetric import Symmetric
from evalsuite.probe.reduction import Reduction
from evalsuite.probe.solution import Solution
from evalsuite.probe.space import Space
from evalsuite.probe.span import lowest

NEIGHBOURS = 3
"""Solutions combined at most: with the curve's curvature known, a fourth adds nothing that pays for itself."""

KEPT_BYTES = 32 << 20
"""The blocks of earlier lambdas take at most this much memory."""


class WarmStarts:
    """The solutions found so far; empty to begin with."""

    def __init__(self, reduction: Reduction, space: Space, mechanisms: Mechanisms) -> None:
        self._reduction, self._space, self._mechanisms = reduction, space, mechanisms
        self._lambdas: list[float] = []
        self._points: list[Tensor] = []
        self._ours: list[bool] = []
        self._blocks: dict[float, dict[int, Symmetric]] = {}

    def __bool__(self) -> bool:
        return bool(self._lambdas)

    def remember(self, found: Solution, ours: bool = True) -> None:
        """Add the solutions of further lambdas: of these rows, or of others, whose slopes here are unknown."""
        points = self._reduction.pack(*self._space.from_features(found.weights, found.intercepts))
        self._lambdas += found.lambdas
        self._points += points.view(len(found.lambdas), self._reduction.n_problems, *points.shape[1:])
        self._ours += [ours] * len(found.lambdas)

    def keep(self, lambdas: list[float], blocks: Mapping[int, Symmetric]) -> None:
        """Keep the blocks that a fit ended with, as long as there is room."""
        per = max(1, self._reduction.n_problems)
        for name, one in blocks.items():
            self._blocks.setdefault(lambdas[name // per % len(lambdas)], {})[name % per] = one
        while sum(one.tiles.nbytes for group in self._blocks.values() for one in group.values()) > KEPT_BYTES:
            del self._blocks[next(iter(self._blocks))]

    def blocks(self, lambdas: list[float]) -> dict[int, Symmetric]:
        """Return the blocks of the nearest larger lambda for the problems of these, where there are some: a penalty
        that is too large shortens steps where the curvature is small (as Levenberg and Marquardt damp them)."""
        found: dict[int, Symmetric] = {}
        for index, value in enumerate(lambdas if self._mechanisms.taken_over else ()):
            known = min((known for known in self._blocks if known >= value), default=None)
            if known is not None:
                found |= {index * self._reduction.n_problems + name: one for name, one in self._blocks[known].items()}
        return found

    def start(self, objective: Objective, lambdas: list[float]) -> Tensor:
        """Return theta (P, K, r + 1) for the problems of these lambdas, from the solutions around each."""
        unknown = self._reduction.nothing_known(objective)
        if not self or not len(unknown):
            return unknown
        near = [self._nearest(value) for value in lambdas]
        count = min(len(one) for one in near)
        known = torch.stack([torch.cat([self._points[one[j]] for one in near]) for j in range(count)])
        if not self._mechanisms.span_start:
            return known[0]
        return lowest(objective, known, self._slope(objective, known[0], [one[0] for one in near]))

    def _slope(self, objective: Objective, theta: Tensor, known: list[int]) -> Tensor:
        """Return the gradient of the losses (P, K, r + 1) at the known solutions nearest to each lambda."""
        weights = theta[..., :-1]
        if all(self._ours[one] for one in known):
            # At a minimum it is what the penalty's gradient takes away.
            lambdas = torch.tensor([self._lambdas[one] for one in known], dtype=torch.float64, device=theta.device)
            pull = lambdas.repeat_interleave(self._reduction.n_problems)[:, None, None] * weights
            return torch.cat([-pull, torch.zeros_like(theta[..., -1:])], dim=2)
        _, slope = objective.evaluate(torch.arange(len(theta), device=theta.device), theta)
        slope[..., :-1] -= objective.lambdas[:, None, None] * weights
        return slope

    def _nearest(self, value: float) -> list[int]:
        """Return the solutions to combine for a lambda, the nearest first: both sides where there are two."""
        order = sorted(range(len(self._lambdas)), key=lambda i: abs(math.log(self._lambdas[i] / value)))
        below = [i for i in order if self._lambdas[i] < value]
        above = [i for i in order if self._lambdas[i] >= value]
        # The curve bends most towards small lambdas: of three, one from there and two from the other side.
        chosen = [*below[:1], *above[: NEIGHBOURS - 1]] if below and above else order[:NEIGHBOURS]
        return sorted(chosen, key=order.index)
