"""An objective and its initial inverse Hessians, as `lbfgs.minimise` wants them: with flat parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from evalsuite.probe.class_blocks import evaluations_worth, inverse_blocks
from evalsuite.probe.objective import Objective
from evalsuite.probe.preconditioner import Preconditioner, Spectrum

MIN_ROUNDS = 12
"""Rounds between two makings of a problem's blocks at least: L-BFGS needs a few to profit from them."""

BACKOFF = 1.3
"""Each wait for new blocks is longer by this factor: the point moves less and less."""


class Bound:
    """P problems; the ids P .. 2 P - 1 name the same problems without a preconditioner.

    Every problem starts with the Kronecker product of `preconditioner.py`, refreshed at 1, 2, 4, 8 ... rounds:
    the curvature moves fast at first, and a refresh costs half a round. One that is still there after as many
    evaluations as its class blocks cost twice gets those instead, and new ones later, at growing intervals.
    """

    def __init__(self, objective: Objective, spectrum: Spectrum) -> None:
        self._objective = objective
        self._count = len(objective.penalties)
        curvatures = torch.eye(objective.n_logits, dtype=torch.float64, device=objective.penalties.device)
        self._kronecker = Preconditioner(
            spectrum, objective.penalties, len(objective.design), curvatures.repeat(self._count, 1, 1)
        )
        self._blocks: dict[int, Tensor] = {}
        worth = max(MIN_ROUNDS, evaluations_worth(objective, self._count))
        self._spent = [0] * self._count
        self._due = [2 * worth] * self._count
        self._rounds = 0

    def evaluate(self, ids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = self._objective.evaluate(ids % self._count, self._shaped(points))
        return values, gradients.flatten(1)

    def precondition(self, ids: Tensor, gradients: Tensor) -> Tensor:
        names = ids.tolist()
        shaped = self._shaped(gradients)
        simple = [row for row, name in enumerate(names) if name < self._count and name not in self._blocks]
        if len(simple) == len(names):
            return self._kronecker.apply(ids, shaped).flatten(1)
        found = shaped.clone()
        if simple:
            found[simple] = self._kronecker.apply(ids[simple], shaped[simple])
        for row, name in enumerate(names):
            if name in self._blocks:
                blocks = self._blocks[name]
                found[row] = torch.bmm(blocks, shaped[row].to(blocks.dtype).unsqueeze(2)).squeeze(2)
        return self._objective.project(found).flatten(1)

    def refresh(self, ids: Tensor, points: Tensor) -> list[int]:
        """Take part in every round: move the inverse Hessians to the points where that is worth its cost."""
        power = self._rounds & (self._rounds - 1) == 0
        self._rounds += 1
        names = ids.tolist()
        simple, moved = [], []
        for row, name in enumerate(names):
            if name >= self._count:
                continue
            self._spent[name] += 1
            if self._spent[name] > self._due[name]:
                self._due[name] *= BACKOFF
                self._spent[name] = 0
                theta = self._shaped(points[row : row + 1])[0]
                moved.append(row)
                self._blocks[name] = inverse_blocks(self._objective, name, theta)
            elif name not in self._blocks:
                simple.append(row)
        if power and simple:
            at = self._shaped(points[simple])
            self._kronecker.update(ids[simple], self._objective.curvature(ids[simple], at))
            moved += simple
        return moved

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), self._objective.n_logits, self._objective.design.dim + 1)
