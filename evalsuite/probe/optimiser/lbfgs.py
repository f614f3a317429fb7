"""Full-batch L-BFGS on one smooth convex function, with an initial inverse Hessian that may change on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from evalsuite.probe.optimiser.search import Search, Verdict
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


@dataclass(frozen=True)
class Options:
    """When to stop. tolerance: on (F - F*) / max(F*, floor) of each problem; floors: (G,)."""

    tolerance: float
    max_iterations: int
    floors: Sequence[float]


class Direction:
    """The last pairs (s, y) of steps and changes of the gradient, and the inverse Hessian they make."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=PAIRS)

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def forget(self) -> None:
        """Drop all pairs."""
        self._pairs.clear()

    def push(self, s: Tensor, y: Tensor) -> None:
        """Add a pair; one that rounding has spoilt is left out: convexity makes s' y positive."""
        inner = s @ y
        if float(inner) > 0:
            self._pairs.append((s, y, inner))

    def product(self, precondition: Callable[[Tensor], Tensor], gradient: Tensor) -> Tensor:
        """Return H g (n,) by the two-loop recursion (Nocedal and Wright, algorithm 7.4); the initial inverse Hessian is
        scaled to agree with the last pair."""
        shares: list[Tensor] = []
        for s, y, inner in reversed(self._pairs):
            shares.append(s @ gradient / inner)
            gradient = gradient - shares[-1] * y
        if not self._pairs:
            return precondition(gradient[None])[0]
        _, y, inner = self._pairs[-1]
        found, turned = precondition(torch.stack([gradient, y])).unbind()
        found = found * (inner / (y @ turned))
        for (s, y, inner), share in zip(self._pairs, reversed(shares), strict=True):
            found = found + (share - y @ found / inner) * s
        return found


class Descent:
    """The way of one problem from its start (n,) float64 down to its minimum.

    point: where it is; gradient_norm: Euclidean; value: F; stop: whether it has arrived; evaluations: passes made.
    """

    def __init__(self, problem: Problem, start: Tensor, options: Options) -> None:
        self.point, self.value, self.iterations, self.evaluations = start, 0.0, 0, 0
        self.stop = Stop(options.tolerance)
        self._problem, self._options = problem, options
        self._direction = Direction()
        self._gradient = torch.zeros_like(start)
        self._scale = 0.0

    @property
    def gradient_norm(self) -> float:
        """Return |grad F|."""
        return float(self._gradient.norm())

    def run(self, noise: float) -> None:
        """Go on until the stop is passed, the iterations are used up or no lower F is found; noise: the relative
        rounding of a value. To go on with other rounding, one good look is enough where the stop was passed."""
        values, self._gradient, _ = self._look(self.point, self._gradient)
        self._arrive(values)
        self.stop.doubt()
        stalled = False
        while not stalled:
            direction, slope = self._aim()
            if self.stop.passed or self.iterations >= self._options.max_iterations:
                return
            if not self._advance(direction, slope, noise):
                # Rounding hides the decrease along this direction. Once, forget the pairs and try the
                # preconditioned gradient; where that fails as well, the problem is as far as it gets.
                stalled = not self._direction
                self._direction.forget()
        self.stop.search_failed()

    def _look(self, point: Tensor, direction: Tensor) -> tuple[list[float], Tensor, float]:
        """Return the values and the gradient at a point, and the slope along a direction."""
        self.evaluations += 1
        values, gradient = self._problem.evaluate(point)
        *found, slope = torch.cat([values, (gradient @ direction).view(1)]).tolist()
        return found, gradient, slope

    def _arrive(self, values: list[float]) -> None:
        self.value = sum(values)
        self._scale = min(map(max, values, self._options.floors))

    def _aim(self) -> tuple[Tensor, float]:
        """Return the next direction and the slope along it; ask the stop."""
        anew = self._problem.refresh(self.point)
        # An inverse Hessian that has just been made anew is the best model there is.
        fresh = float(self._gradient @ self._problem.precondition(self._gradient[None])[0]) if anew else 0.0
        direction = -self._direction.product(self._problem.precondition, self._gradient)
        slope = float(direction @ self._gradient)
        self.stop.ask(max(-slope, fresh) / 2, self._scale, self.iterations)
        return direction, slope

    def _advance(self, direction: Tensor, slope: float, noise: float) -> bool:
        """Search along a direction and move to what was found; return whether it is lower."""
        noise = (noise + SLACK * self._options.tolerance) * max(self.value, sum(self._options.floors))
        search, verdict = Search(self.value, slope, noise), Verdict.CONTINUE
        while verdict is Verdict.CONTINUE:
            step = search.step
            point = self.point + step * direction
            values, gradient, slope_there = self._look(point, direction)
            verdict = search.tell(sum(values), slope_there)
        if verdict is Verdict.FAIL:
            return False
        # By the trapezoid rule on the slopes: differences of F drown in rounding near the minimum.
        self.stop.decreases.append(-step * (slope + slope_there) / 2)
        self._direction.push(point - self.point, gradient - self._gradient)
        self.point, self._gradient = point, gradient
        self.iterations += 1
        self._arrive(values)
        return True
