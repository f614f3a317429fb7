"""A strong Wolfe line search on one convex function of one variable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

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
the bracket always shrinks. The first is small because the right step can be: see `_between`."""


@dataclass(frozen=True)
class Trial:
    """phi and phi' at a step."""

    step: float
    value: float
    slope: float


Tried = TypeVar("Tried", bound=Trial)


def search(look: Callable[[float], Tried], start: Trial, noise: float) -> Tried | None:
    """Return a trial at a > 0 with phi(a) <= phi(0) + c1 a phi'(0) and |phi'(a)| <= c2 |phi'(0)|, or None.

    look: makes the trial at a step; start: that at 0; noise: the rounding of phi, allowed for in the first condition.
    phi is convex, so its slope alone says on which side of a trial the minimum lies: `low` is the largest step known to
    be before it, `high` the smallest known to be behind it. Slopes stay accurate where differences of phi drown in
    rounding.
    """
    low, step = start, 1.0
    high: Trial | None = None
    for _ in range(MAX_TRIALS if -start.slope > noise else MAX_BLIND_TRIALS):
        trial = look(step)
        low_enough = trial.value <= start.value + SUFFICIENT_DECREASE * step * start.slope + noise
        if low_enough and abs(trial.slope) <= CURVATURE * abs(start.slope):
            return trial
        if not start.slope < 0:  # rounding can turn a direction uphill
            return None
        if low_enough and trial.slope < 0:
            low = trial
        else:
            high = trial
        step = _beyond(start, low) if high is None else _between(low, high)
    return None


def _beyond(start: Trial, low: Trial) -> float:
    """Return a step beyond `low`: where the slope, fallen from 0 to low, would reach zero; 2 to 10 x low."""
    fall = low.slope - start.slope
    guess = -start.slope * low.step / fall if fall > 0 else math.inf
    return min(max(guess, 2 * low.step), 10 * low.step)


def _between(low: Trial, high: Trial) -> float:
    """Return a step between the bounds: where the tangents at the two bounds meet.

    For a parabola that is the middle. Far out a logistic loss is a straight line, and a first step may be
    thousands of times too long: there the tangents meet close to the minimum, where halving would crawl.
    """
    width = high.step - low.step
    if not (0 < high.slope < math.inf and math.isfinite(high.value)):
        return low.step + width / 2
    fraction = (high.value - low.value - high.slope * width) / (low.slope - high.slope) / width
    first, last = SAFEGUARDS
    return low.step + min(max(fraction, first), last) * width
