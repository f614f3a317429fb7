"""An objective and its initial inverse Hessian, as `optimiser.lbfgs` wants them: with flat parameters.

A problem starts with the blocks that the nearest larger lambda left where there are some, else with the Kronecker
product. When it has gone on for as many passes as blocks of its own cost, it gets those, made where it is, and again
after twice as many passes each time.
"""

from __future__ import annotations

from torch import Tensor

from evalsuite.probe.objective import Objective
from evalsuite.probe.preconditioner.class_blocks import ClassBlocks, passes_worth
from evalsuite.probe.preconditioner.kronecker import Kronecker
from evalsuite.threads import threads

PATIENCE = 2
"""Blocks are made anew after so many times the passes that the last ones were made after."""


class PreconditionedProblem:
    """F with an inverse Hessian, which is `known` to begin with; variances: (r,) of the coordinates.

    `objective` may be replaced by that of another design with the same parameters.
    """

    def __init__(self, objective: Objective, variances: Tensor, known: ClassBlocks | None) -> None:
        self.objective, self._variances = objective, variances
        self._inverse: ClassBlocks | Kronecker | None = known
        self._worth = passes_worth(objective)
        self._spent, self._due = 0, 1

    @property
    def blocks(self) -> ClassBlocks | None:
        """Return the blocks that the inverse Hessian is made of now, if it is."""
        return self._inverse if isinstance(self._inverse, ClassBlocks) else None

    def evaluate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        self._spent += 1
        values, gradient = self.objective.evaluate(self._shaped(point)[0])
        return values, gradient.flatten()

    def precondition(self, vectors: Tensor) -> Tensor:
        if self._inverse is None:
            return vectors
        found = self._inverse.times(self._shaped(vectors))
        return self.objective.project(found.transpose(0, 1)).transpose(0, 1).reshape(vectors.shape)

    def refresh(self, point: Tensor) -> bool:
        """Make blocks that are worth their cost, and the Kronecker product again whenever the passes have doubled,
        because the curvature moves fast at first."""
        theta = self._shaped(point)[0]
        if self._spent > self._worth:
            self._inverse = None  # the new ones need the room
            with threads(self.objective.design.threads.count):  # few products and factors, each of them large
                self._inverse = ClassBlocks(self.objective, theta)
            self._spent = 0
            self._worth *= PATIENCE
        elif self.blocks is None and self._spent >= self._due:
            self._inverse = Kronecker(self.objective, self._variances, theta)
            self._due = 2 * self._spent
        else:
            return False
        return True

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.view(-1, self.objective.n_logits, self.objective.design.dim + 1)
