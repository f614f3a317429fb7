"""Weighted k nearest neighbours, as DINO evaluates features (Caron et al. 2021, arXiv:2104.14294, section 4.1, code).

Features are compared by cosine. Each of the k nearest training images votes for its class with the weight
exp(similarity / 0.07) (the temperature of Wu et al. 2018, arXiv:1805.01978). k is chosen among 10, 20, 100 and 200 on
the validation split by the task's own metric, the smallest of those that tie; the votes on the test split are those of
train and validation, or of train alone where the task says so. Scores are shares of the votes. Where an image has
several labels, the score of each is its share of the votes of those neighbours that say anything about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import METRICS
from evalsuite.models.base import PENULTIMATE
from evalsuite.options import option
from evalsuite.protocols.base import FoldScores, ProtocolInput, in_fold
from evalsuite.protocols.training import FoldResult, Labelled, TrainedProtocol, absent_classes, as_tensor, labelled
from evalsuite.text import counted

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from evalsuite.data.drawing import Rows
    from evalsuite.nearest import Neighbours

TEMPERATURE = 0.07
"""Wu et al. 2018, section 3.1; DINO's eval_knn.py has the same."""

VOTES_AT_A_TIME = 1 << 24
"""Votes, times their classes where an image has several, that are looked at together: bounds the temporaries."""


@dataclass(frozen=True)
class KNNOptions:
    """Options of the nearest neighbours."""

    k: tuple[int, ...] = option(
        (10, 20, 100, 200), ge=1, help="Numbers of neighbours, of which the validation split chooses."
    )


class Tried(TypedDict):
    """A number of neighbours, and the task's metric with it on both splits. Only that of validation chooses."""

    k: int
    validation: float
    test: float


class FoldDetails(TypedDict):
    """Of a fold: the k that was chosen, and every one."""

    k: int
    tried: list[Tried]


class KNN(TrainedProtocol):
    """The protocol of nearest neighbours."""

    name = "knn"
    prefix = "knn"
    Options = KNNOptions
    version = 1
    layer = PENULTIMATE
    scores = "probabilities"
    multilabel_scores = "probabilities"

    options: KNNOptions

    def run_fold(self, given: ProtocolInput, number: int) -> FoldResult:
        """Choose k and let the neighbours of each test image vote."""
        fold, what = given.folds[number], in_fold("nearest neighbours", number, len(given.folds))
        given.on_progress(what, 0, 2)
        known = labelled(given, fold, self.layer)
        numbers, warnings = self._numbers(len(known.fit), what)
        metric = METRICS.get(given.task.metric)
        validation = _Votes.of(given, known, known.samples.features[known.val], known.fit, max(numbers))
        expected = known.samples.labels[known.val]
        chosen_by = {k: float(metric.compute(validation.shares(k), expected)) for k in numbers}
        best = max(numbers, key=lambda k: (chosen_by[k], -k))
        given.on_progress(what, 1, 2)
        test = given.read(fold.test, self.layer)
        votes = _Votes.of(given, known, test.features, known.final, max(numbers))
        tried = [
            Tried(k=k, validation=chosen_by[k], test=float(metric.compute(votes.shares(k), test.labels)))
            for k in numbers
        ]
        given.on_progress(what, 2, 2)
        return FoldResult(
            scores=FoldScores(votes.shares(best), test.labels, test.ids),
            validation=known.scores(validation.shares(best)),
            details=FoldDetails(k=best, tried=tried),
            sizes=(len(known.fit), len(known.val), len(test.ids)),
            warnings=[*absent_classes(given, known.final_labels, what), *warnings],
        )

    def _numbers(self, training: int, what: str) -> tuple[list[int], list[str]]:
        """Return the numbers of neighbours that there are images for, rising, and what to say of the others."""
        numbers = sorted(set(self.options.k))
        possible = [k for k in numbers if k <= training]
        if not possible:
            raise EvalsuiteError(
                f"{what}: there are only {counted(training, 'training image')}, fewer than the smallest k "
                f"({numbers[0]}). Give a smaller one (--knn-k {max(training // 2, 1)}) or more images."
            )
        left_out = ", ".join(map(str, numbers[len(possible) :]))
        said = f"{what}: k = {left_out} left out: there are only {counted(training, 'training image')}."
        return possible, [said] if left_out else []


@dataclass(frozen=True)
class _Votes:
    """Neighbours of some images with the labels of all that could be neighbours: (N,) or (N, C)."""

    found: Neighbours
    labels: torch.Tensor
    n_classes: int

    @classmethod
    def of(cls, given: ProtocolInput, known: Labelled, queries: torch.Tensor, rows: Rows | None, k: int) -> _Votes:
        """Find the neighbours of queries (n, D) among some of the labelled samples; None: all."""
        import torch

        from evalsuite.nearest import nearest

        labels = as_tensor(known.samples.labels if rows is None else known.samples.labels[rows], given)
        bank = None if rows is None else torch.from_numpy(rows)
        found = nearest(queries.to(given.device), known.samples.features, k, rows=bank)
        return cls(found, labels, len(given.task.class_list))

    def shares(self, k: int) -> NDArray[np.float32]:
        """Return the share of the votes of the k nearest that each class has: (n, C)."""
        import torch

        similarity, rows = self.found.similarity[:, :k], self.found.rows[:, :k]
        step = max(1, VOTES_AT_A_TIME // (k * (self.n_classes if self.labels.ndim == 2 else 1)))
        parts = [
            self._shares((near / TEMPERATURE).exp(), self.labels[voters])
            for near, voters in zip(torch.split(similarity, step), torch.split(rows, step), strict=True)
        ]
        found: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        return found

    def _shares(self, weights: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return shares (m, C) of votes (m, k) for labels (m, k), or (m, k, C) in {1, 0, -1}."""
        import torch

        if labels.ndim == 2:
            votes = torch.zeros(len(weights), self.n_classes, device=weights.device)
            return votes.scatter_add_(1, labels, weights) / weights.sum(dim=1, keepdim=True)
        voted = torch.einsum("mk,mkc->mc", weights, (labels == 1).float())
        return voted / torch.einsum("mk,mkc->mc", weights, (labels >= 0).float()).clamp(min=torch.finfo().tiny)
