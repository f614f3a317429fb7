"""When a problem is near enough to its minimum: an estimate of F - F*, and what it has to pass."""

from __future__ import annotations

from dataclasses import dataclass, field

GAP_SAFETY = 0.25
"""The stop asks the estimated gap, see `Stop`, to be this fraction of the tolerance."""

LONG = 40
"""A problem that takes more iterations has flat directions, along which the estimate is lower."""

LONG_SAFETY = 0.1
"""The fraction of the tolerance for those."""

WINDOW = 5
"""Iterations over which the decrease of F is summed to see how fast it still falls."""

STALLED_SAFETY = 1e-3
"""The fraction for a search that found no lower F: one that starts at the minimum finds none."""

CONSECUTIVE_HITS = 2
"""Iterations in a row that must pass the stop: one may pass by chance along a flat direction."""

MAX_RATIO = 0.9
"""Largest ratio of two windows' decreases that is believed: beyond, it is noise."""


@dataclass
class Stop:
    """The stop of one problem, (F - F*) / max(F*, floor) <= tolerance.

    gap: the last estimate; hits: how often in a row it has passed; decreases: those of F, step by step.
    """

    tolerance: float
    gap: float = float("inf")
    hits: int = 0
    decreases: list[float] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the fit has arrived."""
        return self.hits >= CONSECUTIVE_HITS

    def ask(self, model: float, scale: float, iterations: int) -> None:
        """Take what a quadratic model says is left, and max(F, floor)."""
        self.gap = max(model, self._left()) / scale
        safety = LONG_SAFETY if iterations > LONG else GAP_SAFETY
        # The start does not count: without a pair there is no telling whether the slope is believable.
        self.hits = self.hits + 1 if iterations >= 1 and self.gap <= safety * self.tolerance else 0

    def doubt(self) -> None:
        """Ask to be passed once more: what it went by is no longer exact enough."""
        self.hits = min(self.hits, CONSECUTIVE_HITS - 1)

    def search_failed(self) -> None:
        """Take it that no lower F was found: one that starts at the minimum finds none."""
        if self.gap <= STALLED_SAFETY * self.tolerance:
            self.hits = CONSECUTIVE_HITS

    def _left(self) -> float:
        """Return an estimate of F - F* that owes nothing to the model.

        At a minimum of a quadratic model with inverse Hessian H, F - F* = g' H g / 2; but the H of L-BFGS is too small
        along flat directions. If F falls by d in one window of iterations and by r d in the next, and goes on so,
        r d r / (1 - r) is left (Aitken); but the ratio may change. Each can be too low where the other is not.
        """
        window = min(WINDOW, len(self.decreases) // 2)
        if window == 0:
            return 0.0
        recent, before = sum(self.decreases[-window:]), sum(self.decreases[-2 * window : -window])
        ratio = min(max(recent / before, 0.0), MAX_RATIO) if before > 0 else MAX_RATIO
        return recent * ratio / (1 - ratio)
