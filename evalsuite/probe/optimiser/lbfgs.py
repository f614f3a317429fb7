"""Full-batch L-BFGS on one smooth convex function, with an initial inverse Hessian that may change on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from evalsuite.probe.optimiser.search import Trial, search
from evalsuite.probe.optimiser.stop import Stop

PAIRS = 10
"""Pairs (s, y) kept; scikit-learn's L-BFGS keeps as many."""

SLACK = 0.1
"""A line search may accept a rise of F by this fraction of the tolerance if the slopes agree. Rounding of
large float32 logits is often above its nominal size, and would end the search for nothing."""


class Problem(Protocol):
    """A smooth convex function F of n variables, the sum of G problems that share none."""

    def evaluate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values (G,) of the problems and the gradient (n,) of F at a point (n,), float64."""

    def precondition(self, vectors: Tensor) -> Tensor:
        """Return an approximate inverse Hessian, positive definite, times vectors (R, n)."""

    def refresh(self, point: Tensor) -> bool:
        """Hear at each iteration where it begins; return whether the inverse Hessian was made anew."""


Pairs = deque[tuple[Tensor, Tensor, Tensor]]
"""The last steps s (n,), the changes y (n,) of the gradient along them, and s' y."""


def inverse_hessian_product(pairs: Pairs, precondition: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
    """Return H g (n,) by the two-loop recursion (Nocedal and Wright, algorithm 7.4); the initial inverse Hessian is
    scaled to agree with the last pair."""
    shares: list[Tensor] = []
    for s, y, inner in reversed(pairs):
        shares.append(s @ gradient / inner)
        gradient = gradient - shares[-1] * y
    if not pairs:
        return precondition(gradient[None])[0]
    _, y, inner = pairs[-1]
    found, turned = precondition(torch.stack([gradient, y])).unbind()
    found = found * (inner / (y @ turned))
    for (s, y, inner), share in zip(pairs, reversed(shares), strict=True):
        found = found + (share - y @ found / inner) * s
    return found


@dataclass(frozen=True)
class Look(Trial):
    """What one pass finds at a point (n,): the values of the problems, and the gradient (n,) of F."""

    point: Tensor
    values: list[float]
    gradient: Tensor


class Descent:
    """The way of one problem from its start (n,) float64 down to its minimum.

    here: where it is; stop: whether it has arrived; evaluations: passes made. tolerance: on (F - F*) / max(F*, floor)
    of each of the problems; floors: (G,).
    """

    def __init__(
        self, problem: Problem, start: Tensor, tolerance: float, max_iterations: int, floors: Sequence[float]
    ) -> None:
        self.here = Look(0.0, 0.0, 0.0, start, [], torch.zeros_like(start))
        self.stop, self.iterations, self.evaluations = Stop(tolerance), 0, 0
        self._problem, self._max_iterations, self._floors = problem, max_iterations, floors
        self._pairs: Pairs = deque(maxlen=PAIRS)

    def run(self, noise: float) -> None:
        """Go on until the stop is passed, the iterations are used up or no lower F is found; noise: the relative
        rounding of a value. To go on with other rounding, one good look is enough where the stop was passed."""
        self.here = self._look(0.0, self.here.gradient)
        self.stop.doubt()
        stalled = False
        while not stalled:
            direction = self._aim()
            if self.stop.passed or self.iterations >= self._max_iterations:
                return
            if not self._advance(direction, noise):
                # Rounding hides the decrease along this direction. Once, forget the pairs and try the
                # preconditioned gradient; where that fails as well, the problem is as far as it gets.
                stalled = not self._pairs
                self._pairs.clear()
        self.stop.search_failed()

    def _look(self, step: float, direction: Tensor) -> Look:
        """Return what is found a step along a direction."""
        self.evaluations += 1
        point = self.here.point + step * direction
        values, gradient = self._problem.evaluate(point)
        *found, slope = torch.cat([values, (gradient @ direction).view(1)]).tolist()
        return Look(step, sum(found), slope, point, found, gradient)

    def _aim(self) -> Tensor:
        """Return the next direction; ask the stop."""
        gradient = self.here.gradient
        anew = self._problem.refresh(self.here.point)
        # An inverse Hessian that has just been made anew is the best model there is.
        fresh = float(gradient @ self._problem.precondition(gradient[None])[0]) if anew else 0.0
        direction = -inverse_hessian_product(self._pairs, self._problem.precondition, gradient)
        scale = min(map(max, self.here.values, self._floors))
        self.stop.ask(max(-float(direction @ gradient), fresh) / 2, scale, self.iterations)
        return direction

    def _advance(self, direction: Tensor, noise: float) -> bool:
        """Search along a direction and move to what was found; return whether it is lower."""
        here = self.here
        start = Trial(0.0, here.value, float(direction @ here.gradient))
        noise = (noise + SLACK * self.stop.tolerance) * max(here.value, sum(self._floors))
        found = search(lambda step: self._look(step, direction), start, noise)
        if found is None:
            return False
        # By the trapezoid rule on the slopes: differences of F drown in rounding near the minimum.
        self.stop.decreases.append(-found.step * (start.slope + found.slope) / 2)
        s, y = found.point - here.point, found.gradient - here.gradient
        if float(s @ y) > 0:  # as convexity makes it; rounding has spoilt other pairs
            self._pairs.append((s, y, s @ y))
        self.here = found
        self.iterations += 1
        return True
