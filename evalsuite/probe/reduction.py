"""From classes to the logits that are really fitted, and back.

Not every class has something to fit: a class without a training row has no finite intercept, and with two
classes scikit-learn's objective has one weight vector, not two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evalsuite.errors import EvalsuiteError
from evalsuite.probe.objective import Design, Objective, Sigmoid, Softmax
from evalsuite.text import counted

ABSENT_INTERCEPT = -1e30
"""Intercept of a class never seen: below every real logit, finite, and representable in float32."""


@dataclass(frozen=True)
class Reduction:
    """K logits for C classes: what `Softmax` or `Sigmoid` fits, and how its parameters are those of the classes.

    labels: what the objective takes; encode: (K, C), from classes to logits, and decode: (C, K), back; prior: (C,),
    intercepts of classes of which nothing is known; fixed: (C,), intercepts of classes that no logit decides, else 0;
    counts: (G,), how many rows each problem of the objective uses. All but the labels are float64.
    """

    kind: type[Objective]
    labels: Tensor
    encode: Tensor
    decode: Tensor
    prior: Tensor
    fixed: Tensor
    counts: Tensor

    def objective(self, design: Design, lambda_: float) -> Objective:
        """Return F for one lambda."""
        return self.kind(design, lambda_, self.labels, len(self.encode))

    def pack(self, weights: Tensor, intercepts: Tensor) -> Tensor:
        """Return theta (K, D + 1) of weights (C, D) and intercepts (C,); the prior stands in for absent intercepts."""
        known = torch.where(intercepts.abs() > -ABSENT_INTERCEPT / 2, self.prior, intercepts)
        return self.encode @ torch.cat([weights, known.unsqueeze(1)], dim=1)

    def nothing_known(self, dim: int) -> Tensor:
        """Return theta of zero weights and the classes' log odds."""
        return self.pack(self.prior.new_zeros(len(self.prior), dim), self.prior)

    def unpack(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (C, D) and intercepts (C,) of all classes."""
        found = self.decode @ theta
        return found[:, :-1], found[:, -1] + self.fixed


def reduce_targets(kind: str, values: Tensor, n_classes: int) -> Reduction:
    """Return the reduction for the targets of the training rows: (N,) indices or (N, C) in {1, 0, -1}."""
    return _one_vs_rest(values) if kind == "one_vs_rest" else _multinomial(values, n_classes)


def _multinomial(values: Tensor, n_classes: int) -> Reduction:
    """Reduce to a softmax over the classes that have rows.

    With two of those, to one weight vector w, as scikit-learn has it. Public weights are -w/2 and w/2: the softmax of
    those two rows is sigmoid(w x + b), but their penalty is half of |w|^2.
    """
    counts = torch.bincount(values, minlength=n_classes).double()
    present = torch.nonzero(counts).squeeze(1)
    fixed = ABSENT_INTERCEPT * (counts == 0).double()
    prior = torch.where(counts > 0, counts, 1.0).log()
    chosen = torch.eye(n_classes, dtype=torch.float64, device=values.device)[present]
    if len(present) == 2:
        difference = chosen[1:] - chosen[:1]
        labels = (values == present[1]).to(torch.int8).unsqueeze(0)
        return Reduction(Sigmoid, labels, difference, difference.T / 2, prior, fixed, counts.sum().unsqueeze(0))
    # Of all solutions with equal probabilities the penalty prefers the one whose rows sum to zero.
    centred = chosen - chosen.mean(dim=0)
    labels = torch.searchsorted(present, values)
    return Reduction(Softmax, labels, centred, chosen.T, prior, fixed, counts.sum().unsqueeze(0))


def _one_vs_rest(values: Tensor) -> Reduction:
    """Reduce to one sigmoid for each class that has both positive and negative rows.

    A class with only one kind has its optimum at zero weights and an infinite intercept: it gets plus
    (only positives) or minus (otherwise) |ABSENT_INTERCEPT| and a loss of zero. EvalsuiteError where all are such.
    """
    positives, negatives = (values == 1).sum(dim=0).double(), (values == 0).sum(dim=0).double()
    mixed = (positives > 0) & (negatives > 0)
    if not bool(mixed.any()):
        raise EvalsuiteError(
            f"There is nothing to fit: in these {counted(len(values), 'training sample')} each class is there "
            "always or never. Train on more samples, or check the labels."
        )
    one_sided = ABSENT_INTERCEPT * (1 - 2 * (positives > 0).double())
    chosen = torch.eye(len(mixed), dtype=torch.float64, device=values.device)[mixed]
    return Reduction(
        kind=Sigmoid,
        labels=values[:, mixed].T.contiguous(),
        encode=chosen,
        decode=chosen.T,
        prior=torch.where(mixed, positives / negatives, 1.0).log(),
        fixed=one_sided * ~mixed,
        counts=(positives + negatives)[mixed],
    )
