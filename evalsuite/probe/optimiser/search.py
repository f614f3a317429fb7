"""A strong Wolfe line search on one convex function of one variable, asked and told one trial at a time.

Asked and told, because who evaluates a trial finds more there than the value and the slope.
"""

from __future__ import annotations

import math
from enum import Enum

SUFFICIENT_DECREASE = 1e-4
"""c1 of the Wolfe conditions (Nocedal and Wright, Numerical Optimization, section 3.1)."""

CURVATURE = 0.9
"""c2 of the Wolfe conditions; the same section's value for quasi-Newton methods."""

MAX_TRIALS = 30
"""More trials than this mean that rounding hides any decrease along the direction."""

MAX_BLIND_TRIALS = 6
"""The same where the direction promises less than the noise to begin with."""

SAFEGUARDS = (1e-4, 0.9)
"""A trial between two bounds stays within these fractions of the way from the lower to the upper one, so that
the bracket always shrinks. The first is small because the right step can be: see `_next`."""


class Verdict(Enum):
    """What to do after a trial."""

    ACCEPT = "accept"
    CONTINUE = "continue"
    FAIL = "fail"


class Search:
    """Find a step a > 0 with phi(a) <= phi(0) + c1 a phi'(0) and |phi'(a)| <= c2 |phi'(0)|.

    phi is convex, so its slope alone says on which side of a trial the minimum lies: `low` is the largest
    step known to be before it, `high` the smallest known to be behind it. Slopes stay accurate where
    differences of phi drown in rounding; `noise` is the rounding of phi, allowed for in the first condition.
    """

    def __init__(self, value: float, slope: float, noise: float) -> None:
        self.step = 1.0
        self.slope = slope
        self._value, self._noise = value, noise
        self._low = (0.0, value, slope)
        self._high: tuple[float, float, float] | None = None
        self._trials = 0

    def tell(self, value: float, slope: float) -> Verdict:
        """Take phi and phi' at `step`; unless the verdict is CONTINUE the search is over."""
        self._trials += 1
        finite = math.isfinite(value) and math.isfinite(slope)
        enough = value <= self._value + SUFFICIENT_DECREASE * self.step * self.slope + self._noise
        if finite and enough and abs(slope) <= CURVATURE * abs(self.slope):
            return Verdict.ACCEPT
        limit = MAX_TRIALS if -self.slope > self._noise else MAX_BLIND_TRIALS
        if self._trials >= limit or not self.slope < 0:  # rounding can turn a direction uphill
            return Verdict.FAIL
        if finite and enough and slope < 0:
            self._low = (self.step, value, slope)
        else:
            self._high = (self.step, value, slope if finite else math.nan)
        self.step = self._extend() if self._high is None else self._next(self._high)
        return Verdict.CONTINUE

    def _extend(self) -> float:
        """Return a step beyond `low`: where the slope, fallen from 0 to low, would reach zero; 2 to 10 x low."""
        low, _, low_slope = self._low
        fall = low_slope - self.slope
        guess = -self.slope * low / fall if fall > 0 else math.inf
        return min(max(guess, 2 * low), 10 * low)

    def _next(self, high: tuple[float, float, float]) -> float:
        """Return a step between the bounds: where the tangents at the two bounds meet.

        For a parabola that is the middle. Far out a logistic loss is a straight line, and a first step may be
        thousands of times too long: there the tangents meet close to the minimum, where halving would crawl.
        """
        (low, low_value, low_slope), (step, value, slope) = self._low, high
        width = step - low
        if not slope > 0:
            return low + width / 2
        fraction = (value - low_value - slope * width) / (low_slope - slope) / width
        first, last = SAFEGUARDS
        return low + min(max(fraction, first), last) * width
