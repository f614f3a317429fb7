"""From classes to the problems that are really solved, and back.

Not every class has something to solve: a class without a training row has no finite intercept, and with two
classes scikit-learn's objective has one weight vector, not two. A reduction picks the objective of
`objective.py` that fits the targets and translates its parameters into one weight row per class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from evalsuite.errors import EvalsuiteError
from evalsuite.probe.objective import Design, Objective, Sigmoid, Softmax
from evalsuite.text import counted

ABSENT_INTERCEPT = -1e30
"""Intercept of a class never seen: below every real logit, finite, and representable in float32."""

ABSENT_BEYOND = 1e15
"""An intercept beyond this is not a fitted one, even where a warm start mixed it with a fitted one."""


class Reduction(ABC):
    """P = n_lambdas x n_problems problems for C classes, ordered by lambda first.

    Weights (L, C, D) and intercepts (L, C) are the public form; theta (P, K, D + 1) is the solver's.
    """

    n_classes: int
    n_problems: int
    n_logits: int

    @abstractmethod
    def objective(self, design: Design, lambdas: Tensor) -> Objective:
        """Return the objective of all problems for lambdas (L,)."""

    @abstractmethod
    def pack(self, weights: Tensor, intercepts: Tensor) -> Tensor:
        """Return theta; an intercept that is absent is replaced by the optimal one for zero weights."""

    def nothing_known(self, objective: Objective) -> Tensor:
        """Return theta of zero weights and the classes' log odds for all problems of an objective."""
        shape = (len(objective.lambdas) // max(1, self.n_problems), self.n_classes, objective.design.dim)
        weights = torch.zeros(shape, dtype=torch.float64, device=objective.lambdas.device)
        return self.pack(weights, torch.full_like(weights[:, :, 0], ABSENT_INTERCEPT))

    @abstractmethod
    def unpack(self, theta: Tensor, n_lambdas: int) -> tuple[Tensor, Tensor]:
        """Return weights and intercepts of all classes."""

    @abstractmethod
    def counts(self) -> Tensor:
        """Return how many rows each problem uses: (n_problems,) float64."""


def reduce_targets(kind: str, values: Tensor, n_classes: int) -> Reduction:
    """Return the reduction for the targets of the training rows: (N,) indices or (N, C) in {1, 0, -1}."""
    if kind == "one_vs_rest":
        return OneVsRest(values)
    counts = torch.bincount(values, minlength=n_classes)
    present = torch.nonzero(counts).squeeze(1)
    if len(present) <= 2:
        return TwoClasses(values, present, n_classes)
    return ManyClasses(values, present, n_classes)


class ManyClasses(Reduction):
    """Softmax over the classes that have rows; the others keep zero weights and ABSENT_INTERCEPT."""

    def __init__(self, values: Tensor, present: Tensor, n_classes: int) -> None:
        self.n_classes, self.n_problems, self.n_logits = n_classes, 1, len(present)
        self._present = present
        self._labels = torch.searchsorted(present, values)
        log_counts = torch.bincount(self._labels).double().log()
        self._prior = log_counts - log_counts.mean()

    def objective(self, design: Design, lambdas: Tensor) -> Objective:
        return Softmax(design, lambdas, self._labels, self.n_logits)

    def pack(self, weights: Tensor, intercepts: Tensor) -> Tensor:
        weights, intercepts = weights[:, self._present], intercepts[:, self._present]
        intercepts = torch.where(_is_absent(intercepts), self._prior, intercepts)
        # Of all solutions with equal probabilities the penalty prefers the one whose rows sum to zero.
        weights = weights - weights.mean(dim=1, keepdim=True)
        intercepts = intercepts - intercepts.mean(dim=1, keepdim=True)
        return torch.cat([weights, intercepts.unsqueeze(2)], dim=2)

    def unpack(self, theta: Tensor, n_lambdas: int) -> tuple[Tensor, Tensor]:
        weights, intercepts = _nothing_known(theta, n_lambdas, self.n_classes)
        weights[:, self._present], intercepts[:, self._present] = theta[:, :, :-1], theta[:, :, -1]
        return weights, intercepts

    def counts(self) -> Tensor:
        return torch.tensor([float(len(self._labels))], dtype=torch.float64)


class TwoClasses(Reduction):
    """One weight vector w for two present classes, as scikit-learn has it; public weights are -w/2 and w/2.

    The softmax of those two rows is sigmoid(w x + b). Their penalty is half of |w|^2, which is why a softmax
    would need 2 lambda for the same solution. One present class leaves nothing to solve: it is always right.
    """

    def __init__(self, values: Tensor, present: Tensor, n_classes: int) -> None:
        self.n_classes, self.n_logits = n_classes, 1
        self.n_problems = len(present) - 1
        self._present = present
        self._labels = (values == present[-1]).to(torch.int8).unsqueeze(0)[: self.n_problems]

    def objective(self, design: Design, lambdas: Tensor) -> Objective:
        return Sigmoid(design, lambdas, self._labels, torch.zeros_like(lambdas, dtype=torch.int64))

    def pack(self, weights: Tensor, intercepts: Tensor) -> Tensor:
        if self.n_problems == 0:
            return weights.new_zeros(0, 1, weights.shape[2] + 1)
        first, second = self._present.tolist()
        absent = _is_absent(intercepts[:, [first, second]]).any(dim=1)
        prior = torch.logit(self._labels.double().mean())
        intercept = torch.where(absent, prior, intercepts[:, second] - intercepts[:, first])
        return torch.cat([weights[:, second] - weights[:, first], intercept.unsqueeze(1)], dim=1).unsqueeze(1)

    def unpack(self, theta: Tensor, n_lambdas: int) -> tuple[Tensor, Tensor]:
        weights, intercepts = _nothing_known(theta, n_lambdas, self.n_classes)
        if self.n_problems == 0:
            intercepts[:, self._present] = 0
            return weights, intercepts
        half = torch.tensor([-0.5, 0.5], dtype=theta.dtype, device=theta.device)
        weights[:, self._present] = half[:, None] * theta[:, :, :-1]
        intercepts[:, self._present] = half * theta[:, :, -1]
        return weights, intercepts

    def counts(self) -> Tensor:
        return torch.full((self.n_problems,), float(self._labels.shape[1]), dtype=torch.float64)


class OneVsRest(Reduction):
    """One sigmoid problem for each class that has both positive and negative rows.

    A class with only one kind has its optimum at zero weights and an infinite intercept: it gets plus
    (only positives) or minus (otherwise) |ABSENT_INTERCEPT| and a loss of zero. EvalsuiteError where all are such.
    """

    def __init__(self, values: Tensor) -> None:
        positives, negatives = (values == 1).sum(dim=0), (values == 0).sum(dim=0)
        self._tasks = torch.nonzero((positives > 0) & (negatives > 0)).squeeze(1)
        if len(self._tasks) == 0:
            raise EvalsuiteError(
                f"There is nothing to fit: in these {counted(len(values), 'training sample')} each class is there "
                "always or never. Train on more samples, or check the labels."
            )
        self._labels = values[:, self._tasks].T.contiguous()
        self._only_positives = (positives > 0) & (negatives == 0)
        self._prior = (positives[self._tasks].double() / negatives[self._tasks]).log()
        self._counts = (positives + negatives)[self._tasks].double()
        self.n_classes, self.n_problems, self.n_logits = values.shape[1], len(self._tasks), 1

    def objective(self, design: Design, lambdas: Tensor) -> Objective:
        task_of = torch.arange(self.n_problems, device=lambdas.device).repeat(len(lambdas))
        return Sigmoid(design, lambdas.repeat_interleave(self.n_problems), self._labels, task_of)

    def pack(self, weights: Tensor, intercepts: Tensor) -> Tensor:
        weights, intercepts = weights[:, self._tasks], intercepts[:, self._tasks]
        intercepts = torch.where(_is_absent(intercepts), self._prior, intercepts)
        return torch.cat([weights, intercepts.unsqueeze(2)], dim=2).reshape(-1, 1, weights.shape[2] + 1)

    def unpack(self, theta: Tensor, n_lambdas: int) -> tuple[Tensor, Tensor]:
        weights, intercepts = _nothing_known(theta, n_lambdas, self.n_classes)
        intercepts[:, self._only_positives] = -ABSENT_INTERCEPT
        weights[:, self._tasks] = theta[:, 0, :-1].view(n_lambdas, self.n_problems, -1)
        intercepts[:, self._tasks] = theta[:, 0, -1].view(n_lambdas, self.n_problems)
        return weights, intercepts

    def counts(self) -> Tensor:
        return self._counts


def _is_absent(intercepts: Tensor) -> Tensor:
    return intercepts.abs() > ABSENT_BEYOND


def _nothing_known(theta: Tensor, n_lambdas: int, n_classes: int) -> tuple[Tensor, Tensor]:
    """Return zero weights and absent intercepts for all classes."""
    dim = theta.shape[2] - 1
    weights = theta.new_zeros(n_lambdas, n_classes, dim)
    return weights, theta.new_full((n_lambdas, n_classes), ABSENT_INTERCEPT)
