"""What the solver does to be fast, each of which can be switched off: `python -m benchmarks.ablation` measures them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mechanisms:
    """Without any of these the minima are the same, and take longer to find.

    span_start: begin at the lowest point of the span of the nearest solutions, else at the nearest one; class_blocks:
    give long fits a block of the Hessian for each class; leverage: draw their rows
    by leverage, not by length; taken_over: let the next lambda take them over.
    """

    span_start: bool = True
    class_blocks: bool = True
    leverage: bool = True
    taken_over: bool = True


ALL = Mechanisms()
