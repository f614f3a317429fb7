"""An objective and its initial inverse Hessians, as `optimiser.lbfgs.minimise` wants them: with flat parameters.

A problem starts with the blocks that the nearest larger lambda left where there are some, else with the Kronecker
product. Whenever it has gone on for as many rounds as blocks of its own cost, it gets those, made where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from evalsuite.probe.mechanisms import ALL, Mechanisms
from evalsuite.probe.objective import Objective
from evalsuite.probe.preconditioner import class_blocks
from evalsuite.probe.preconditioner.kronecker import Kronecker, Spectrum
from evalsuite.probe.preconditioner.symmetric import Symmetric


class PreconditionedProblem:
    """P problems with an inverse Hessian each; `blocks` has those of class_blocks, by the number of the problem."""

    def __init__(
        self,
        objective: Objective,
        spectrum: Spectrum,
        known: Mapping[int, Symmetric] | None = None,
        mechanisms: Mechanisms = ALL,
    ) -> None:
        self._objective, self._mechanisms = objective, mechanisms
        self._count = len(objective.lambdas)
        self._kronecker = Kronecker(spectrum, objective)
        self.blocks = dict(known or {})
        self._worth = class_blocks.rounds_worth(objective, self._count) if mechanisms.class_blocks else math.inf
        self._spent = [0] * self._count
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
            found[rows] = class_blocks.apply(self.blocks[name], shaped[rows])
        return self._objective.project(found).flatten(1)

    def refresh(self, ids: Tensor, points: Tensor) -> list[int]:
        """Take part in every round: make blocks that are worth their cost, and the Kronecker product again at 1, 2, 4,
        8 ... rounds, because the curvature moves fast at first."""
        power = self._rounds & (self._rounds - 1) == 0
        self._rounds += 1
        simple, moved = [], []
        for row, name in enumerate(ids.tolist()):
            self._spent[name] += 1
            if self._spent[name] > self._worth:
                self._spent[name] = 0
                self.blocks.pop(name, None)  # the new ones need its room
                at = self._shaped(points[row][None])[0]
                self.blocks[name] = class_blocks.inverses(self._objective, name, at, self._mechanisms.refined_leverage)
                moved.append(row)
            elif power and name not in self.blocks:
                simple.append(row)
        if simple:
            self._kronecker.update(ids[simple], self._shaped(points[simple]))
        return sorted(moved + simple)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), self._objective.n_logits, self._objective.design.dim + 1)
