"""An objective and its initial inverse Hessians, as `optimiser.lbfgs.minimise` wants them: with flat parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from evalsuite.probe.mechanisms import ALL, Mechanisms
from evalsuite.probe.objective import Objective
from evalsuite.probe.preconditioner.class_blocks import Blocks, rounds_worth, shift_rounds
from evalsuite.probe.preconditioner.kronecker import Kronecker, Spectrum
from evalsuite.probe.preconditioner.symmetric import Symmetric

BACKOFF = 1.3
"""Each wait for new blocks is longer by this factor: the point moves less and less."""

SHORT = 0.3
"""An accepted step below this share of the unit step is short: the curvature grows along the direction, and blocks made
before it underrate it."""

SHORT_STEPS = 2
"""After so many short steps the blocks are damped more, as Levenberg and Marquardt have it: adding to their diagonals
shortens a step where the curvature is small and leaves it alone elsewhere, which a line search cannot do."""

DAMPING = 10.0
"""Factor by which damping grows, and falls with each making of blocks when steps were not short."""


class PreconditionedProblem:
    """P problems with an inverse Hessian each.

    Every problem starts with the Kronecker product of `kronecker.py`, refreshed at 1, 2, 4, 8 ... rounds:
    the curvature moves fast at first. One that is still there after as many rounds as its blocks cost gets those
    instead, sooner where they were made for another lambda already, and new ones later, at growing intervals. Blocks
    of a larger lambda keep its penalty for the beginning.
    """

    def __init__(
        self,
        objective: Objective,
        spectrum: Spectrum,
        known: Mapping[int, tuple[Symmetric, float]] | None = None,
        mechanisms: Mechanisms = ALL,
    ) -> None:
        self._objective, self._mechanisms = objective, mechanisms
        self._count = len(objective.lambdas)
        curvatures = torch.eye(objective.n_logits, dtype=torch.float64, device=objective.lambdas.device)
        self._kronecker = Kronecker(
            spectrum, objective.lambdas, len(objective.design), curvatures.repeat(self._count, 1, 1)
        )
        self.blocks: dict[int, Blocks] = {}
        self._spare = dict(known or {})
        self._worth = rounds_worth(objective, self._count) if mechanisms.class_blocks else math.inf
        self._spent = [0] * self._count
        self._due = [shift_rounds(objective) if name in self._spare else self._worth for name in range(self._count)]
        self._damping = objective.lambdas.tolist()
        self._short = [0] * self._count
        self._rounds = 0

    def evaluate(self, ids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = self._objective.evaluate(ids, self._shaped(points))
        return values, gradients.flatten(1)

    def precondition(self, ids: Tensor, gradients: Tensor) -> Tensor:
        names = ids.tolist()
        shaped = self._shaped(gradients)
        simple = [row for row, name in enumerate(names) if name not in self.blocks]
        if len(simple) == len(names):
            return self._kronecker.apply(ids, shaped).flatten(1)
        found = torch.empty_like(shaped)
        if simple:
            found[simple] = self._kronecker.apply(ids[simple], shaped[simple])
        for name in self.blocks.keys() & set(names):
            rows = [row for row, other in enumerate(names) if other == name]
            found[rows] = self.blocks[name].apply(shaped[rows])
        return self._objective.project(found).flatten(1)

    def refresh(
        self, ids: Tensor, points: Tensor, arriving: Sequence[bool], steps: Sequence[float | None]
    ) -> list[int]:
        """Take part in every round: move the inverse Hessians to the points where that is worth its cost.

        One that seems to have arrived gets new blocks as soon as it has spent what they cost: where rows are all but
        separated, curvatures fall so fast that old ones take what is left to gain for a fraction of what it is.
        """
        power = self._rounds & (self._rounds - 1) == 0
        self._rounds += 1
        names = ids.tolist()
        simple, moved = [], []
        for row, (name, step) in enumerate(zip(names, steps, strict=True)):
            self._spent[name] += 1
            confirm = arriving[row] and self._spent[name] > self._worth
            if confirm or self._spent[name] > self._due[name]:
                self._renew(name, points[row], confirm, arriving[row])
                moved.append(row)
            elif name in self.blocks:
                if self._released(name) if arriving[row] else self._damped(name, step):
                    moved.append(row)
            else:
                simple.append(row)
        if power and simple:
            at = self._shaped(points[simple])
            self._kronecker.update(ids[simple], self._objective.curvature(ids[simple], at))
            moved += simple
        return sorted(moved)

    def _renew(self, name: int, point: Tensor, anew: bool, arriving: bool) -> None:
        """Give a problem blocks: those of another lambda where there are some, unless they are to be made anew; without
        damping, which would hide what is left to gain, where it seems to have arrived."""
        penalty, spare = float(self._objective.lambdas[name]), self._spare.pop(name, None)
        self._due[name] = self._worth if spare is not None else self._due[name] * BACKOFF
        if spare is not None:
            self._damping[name] = max(self._damping[name], spare[1])
        elif not self._short[name]:
            self._damping[name] = max(penalty, self._damping[name] / DAMPING)
        if arriving:
            self._damping[name] = penalty
        self._spent[name] = self._short[name] = 0
        if spare is not None and not anew:
            self.blocks[name] = Blocks.of(spare[0], self._objective, self._damping[name])
        else:
            self.blocks.pop(name, None)  # the new ones need its room
            at = self._shaped(point[None])[0]
            self.blocks[name] = Blocks.at(self._objective, name, at, self._damping[name], self._count)

    def _damped(self, name: int, step: float | None) -> bool:
        """Hear of a step that was accepted; return whether the blocks were damped more."""
        if step is None or step >= SHORT or not self._mechanisms.damping:
            return False
        self._short[name] += 1
        return self._short[name] % SHORT_STEPS == 0 and self._shifted(name, self._damping[name] * DAMPING)

    def _released(self, name: int) -> bool:
        """Take off the damping where there is some, which hides what is left to gain; return whether there was."""
        return self._shifted(name, float(self._objective.lambdas[name]))

    def _shifted(self, name: int, damping: float) -> bool:
        """Give the blocks of a problem this damping, if they have another; return whether that was so."""
        curvature = self.blocks[name].curvature
        if curvature is None or self._damping[name] == damping:
            return False
        self._damping[name] = damping
        self.blocks[name] = Blocks.of(curvature, self._objective, damping)
        return True

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), self._objective.n_logits, self._objective.design.dim + 1)
