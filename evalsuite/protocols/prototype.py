"""The nearest class mean (SimpleShot, Wang et al. 2019, arXiv:1911.04623).

An image is of the class whose mean of the training features is nearest, by Euclidean distance. Two forms are tried:
`plain`, on the features as they come, and `centred`, SimpleShot's CL2N: the mean of all training features is taken
away and each feature is divided by its length first. The validation split chooses by the task's own metric, the plain
one where they tie; the means are then taken over train and validation, or over train alone where the task says so.
Scores are minus half the squared distance, as far as it differs between classes: the logits of classes that are equally
likely and spread with a variance of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from evalsuite.metrics import METRICS
from evalsuite.models.base import PENULTIMATE
from evalsuite.protocols.base import FoldScores, ProtocolInput, in_fold
from evalsuite.protocols.training import FoldResult, Labelled, TrainedProtocol, absent_classes, as_tensor, labelled

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from evalsuite.data.drawing import Rows
    from evalsuite.tasks.spec import TaskSpec

Form = Literal["plain", "centred"]
FORMS: tuple[Form, ...] = ("plain", "centred")

ABSENT_SCORE = -1e30
"""Of a class without a training image: below all others, and still a number of float32."""

ROWS_AT_A_TIME = 8192


class Tried(TypedDict):
    """A form, and the task's metric with it on both splits. Only that of validation chooses."""

    form: Form
    validation: float
    test: float


class FoldDetails(TypedDict):
    """Of a fold: the form that was chosen, and both."""

    form: Form
    tried: list[Tried]


class Prototype(TrainedProtocol):
    """The protocol of class means."""

    name = "prototype"
    prefix = "prototype"
    version = 1
    layer = PENULTIMATE
    scores = "logits"

    def not_applicable(self, task: TaskSpec) -> str | None:
        """Refuse several labels per image: an image would be part of several means, and near all of them."""
        return "An image has several classes here, and one nearest class mean says one." if task.multilabel else None

    def run_fold(self, given: ProtocolInput, number: int) -> FoldResult:
        """Choose the form and score the test split."""
        fold, what = given.folds[number], in_fold("class means", number, len(given.folds))
        given.on_progress(what, 0, 2)
        known = labelled(given, fold, self.layer)
        expected = known.samples.labels[known.val]
        validation = {
            form: _Means.of(given, known, known.fit, form).scores(known.samples.features[known.val]) for form in FORMS
        }
        metric = METRICS.get(given.task.metric)
        chosen_by = {form: float(metric.compute(scores, expected)) for form, scores in validation.items()}
        best = max(FORMS, key=lambda form: chosen_by[form])
        given.on_progress(what, 1, 2)
        test = given.read(fold.test, self.layer)
        found = {form: _Means.of(given, known, known.final, form).scores(test.features) for form in FORMS}
        tried = [
            Tried(form=form, validation=chosen_by[form], test=float(metric.compute(found[form], test.labels)))
            for form in FORMS
        ]
        given.on_progress(what, 2, 2)
        return FoldResult(
            scores=FoldScores(found[best], test.labels, test.ids),
            validation=known.scores(validation[best]),
            details=FoldDetails(form=best, tried=tried),
            sizes=(len(known.fit), len(known.val), len(test.ids)),
            warnings=absent_classes(given, known.final_labels, what),
        )


@dataclass(frozen=True)
class _Means:
    """Class means (C, D) of features less `centre` (D,), float64; absent: (C,) whether a class has no image."""

    means: torch.Tensor
    centre: torch.Tensor
    absent: torch.Tensor
    form: Form

    @classmethod
    def of(cls, given: ProtocolInput, known: Labelled, rows: Rows | None, form: Form) -> _Means:
        """Take the means over some of the labelled samples; None: all."""
        import torch

        features, classes = known.samples.features, len(given.task.class_list)
        labels = as_tensor(known.samples.labels, given)
        which = torch.arange(len(features)) if rows is None else torch.from_numpy(rows)
        counts = torch.bincount(labels[which.to(given.device)], minlength=classes)
        centre = torch.zeros(features.shape[1], dtype=torch.float64, device=given.device)
        for part in torch.split(which, ROWS_AT_A_TIME):
            centre += features[part].to(given.device).double().sum(dim=0)
        means = torch.zeros(classes, len(centre), dtype=torch.float64, device=given.device)
        found = cls(means, centre / len(which), counts == 0, form)
        for part in torch.split(which, ROWS_AT_A_TIME):
            means.index_add_(0, labels[part.to(given.device)], found.moved(features[part]))
        means.div_(counts.clamp(min=1)[:, None])
        return found

    def moved(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (n, D) as they are compared, in float64."""
        from torch.nn import functional

        centred = features.to(self.centre.device).double() - self.centre  # moves means alike: no distance changes
        return functional.normalize(centred, dim=1) if self.form == "centred" else centred

    def scores(self, features: torch.Tensor) -> NDArray[np.float32]:
        """Return -|x - mean|^2 / 2, less what is the same for all classes: (n, C)."""
        import torch

        half = self.means.square().sum(dim=1) / 2
        parts = [self.moved(part) @ self.means.T - half for part in torch.split(features, ROWS_AT_A_TIME)]
        found = torch.cat(parts).masked_fill_(self.absent, ABSENT_SCORE)
        scores: NDArray[np.float32] = found.float().cpu().numpy()
        return scores
