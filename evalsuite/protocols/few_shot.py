"""Few-shot linear probes: logistic regression on 1 to 16 images per class (paper, section 3.1.5, figure 6).

For each of three seeds the images of each class are put in a random order, of which the first k are fitted, so that
more images contain the fewer. Lambda is searched as by the linear probe, on min(k, 4) further images per class (CoOp,
Zhou et al. 2022, arXiv:2109.01134, and its code): of the validation split, or, where the task has none, the ones that
follow in train; where samples belong together, of groups that are held out. They are not part of the fit. The number
is the mean over the seeds at the most images per class; each k has its mean and standard deviation in the details.
`evalsuite.report.few_shot` says how many images per class match zero-shot (figure 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from evalsuite.data.drawing import Rows, by_id, shuffled, strata
from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import METRICS
from evalsuite.models.base import PENULTIMATE
from evalsuite.options import option
from evalsuite.protocols.base import FoldScores, Outcome, ProtocolInput, Samples, in_fold, size_of
from evalsuite.protocols.training import TrainedSplits, absent_classes, as_tensor, labelled
from evalsuite.text import counted, shortened

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from evalsuite import probe
    from evalsuite.protocols.training import Labelled
    from evalsuite.tasks.spec import TaskSpec

MOST_VALIDATION = 4
"""CoOp's bound on validation images per class, also for 8 and 16 that are fitted."""


@dataclass(frozen=True)
class FewShotOptions:
    """Options of few-shot probes."""

    images: tuple[int, ...] = option((1, 2, 4, 8, 16), ge=1, help="Images per class that probes are fitted to.")
    seeds: int = option(3, ge=1, help="How often few-shot images are drawn; the number is the mean.")
    # Few rows leave much of the weights to the penalty alone: at 1e-8 probabilities may be 1e-3 off.
    tolerance: float = 1e-6
    refit_tolerance: float = 1e-10
    max_iterations: int = 1_000


class Shot(TypedDict):
    """What was found with so many images per class.

    mean, std: of `values`, the task's metric for each seed (the mean over folds), std with one degree of freedom less.
    lambdas: those that were chosen, for each fold and seed.
    """

    images: int
    mean: float
    std: float
    values: list[float]
    lambdas: list[list[float]]


class FewShotDetails(TypedDict):
    """What a record says of few-shot probes. full: images per class that the linear probe is fitted to."""

    shots: list[Shot]
    full: float


@dataclass(frozen=True)
class Drawn:
    """The rows of a few-shot problem. short: the classes that have too few for it."""

    fit: Rows
    val: Rows
    short: list[int]


@dataclass(frozen=True)
class _Fitted:
    """A probe of one fold, number of images and seed, on the test split and on what lambda was chosen by.

    full: images per class there are in all.
    """

    scores: FoldScores
    validation: FoldScores
    value: float
    best_lambda: float
    drawn: Drawn
    full: float


class FewShot(TrainedSplits):
    """The protocol of few-shot probes."""

    name = "few_shot"
    prefix = "few_shot"
    Options = FewShotOptions
    version = 2
    layer = PENULTIMATE
    scores = "logits"

    options: FewShotOptions

    def not_applicable(self, task: TaskSpec) -> str | None:
        """Refuse several labels per image: no draw has so many images of each class and of no other."""
        return "An image has several classes here: no draw has k images per class." if task.multilabel else None

    def run(self, given: ProtocolInput) -> Outcome:
        """Fit every number of images with every seed, for each fold."""
        warnings: list[str] = []
        folds = [self._run_fold(given, number, warnings) for number in range(len(given.folds))]
        images = [k for k in folds[0] if all(k in found for found in folds)]
        if not images:
            raise EvalsuiteError(
                "few-shot: no number of images per class is there in all folds; set --few-shot-images."
            )
        best = [one for found in folds for one in found[images[-1]]]
        return Outcome(
            folds=[one.scores for one in best],
            sizes={
                "train": size_of([len(one.drawn.fit) for one in best]),
                "val": size_of([len(one.drawn.val) for one in best]),
                "test": size_of([len(one.scores.ids) for one in best]),
            },
            details=FewShotDetails(
                shots=[_shot(k, [found[k] for found in folds]) for k in images],
                full=float(np.mean([one.full for one in best])),
            ),
            warnings=warnings,
            validation=[one.validation for one in best],
        )

    def _run_fold(self, given: ProtocolInput, number: int, warnings: list[str]) -> dict[int, list[_Fitted]]:
        """Return what was fitted of a fold, by rising number of images; warnings: added to."""
        fold, what = given.folds[number], in_fold("few-shot", number, len(given.folds))
        problem = _Problem.of(given, labelled(given, fold, self.layer), given.read(fold.test, self.layer))
        images = self._possible(problem.known, what, warnings)
        warnings += absent_classes(given, _drawn_from(problem.known), what)
        found: dict[int, list[_Fitted]] = {k: [] for k in images}
        for seed in range(self.options.seeds):
            draw = Draw.of(problem.known, given.seed + seed)
            for place, k in enumerate(images):
                drawn = draw.take(k)
                if not len(drawn.val):
                    raise EvalsuiteError(
                        f"{what}: lambda is chosen by images that are not fitted, and no class of the training split "
                        "has two images. Name a validation split in the task file (`splits: {val: ...}`)."
                    )
                if seed == 0 and drawn.short:
                    warnings.append(_too_few(given, drawn, k, what))
                given.on_progress(what, seed * len(images) + place, self.options.seeds * len(images))
                found[k].append(self._fit(problem, drawn))
        given.on_progress(what, 1, 1)
        return found

    def _possible(self, known: Labelled, what: str, warnings: list[str]) -> list[int]:
        """Return the numbers of images that at least one class has, rising; warnings: the others are added."""
        images = sorted(set(self.options.images))
        most = int(np.bincount(_drawn_from(known)).max())
        possible = [k for k in images if k <= most]
        if not possible:
            raise EvalsuiteError(
                f"{what}: no class has {images[0]} training images, the largest has {most}. Set --few-shot-images."
            )
        if left_out := images[len(possible) :]:
            numbers = ", ".join(map(str, left_out))
            warnings.append(f"{what}: {numbers} images per class left out: the largest class has {most}.")
        return possible

    def _fit(self, problem: _Problem, drawn: Drawn) -> _Fitted:
        from evalsuite import probe

        metric, rows = METRICS.get(problem.given.task.metric), as_tensor(drawn.fit, problem.given)
        val, expected = as_tensor(drawn.val, problem.given), problem.known.samples.labels[drawn.val]
        search = probe.sweep(
            problem.features,
            problem.targets,
            fit_rows=rows,
            validation_rows=val,
            score=lambda logits: float(metric.compute(logits.float().cpu().numpy(), expected)),
            tolerance=self.options.tolerance,
            max_iterations=self.options.max_iterations,
        )
        solution = probe.refit(
            problem.features,
            problem.targets,
            search.best_lambda,
            rows=rows,
            warm_start=search.solution,
            tolerance=self.options.refit_tolerance,
            max_iterations=self.options.max_iterations,
        )
        test = solution.logits(0, problem.test_features).float().cpu().numpy()
        validation = solution.logits(0, problem.features, val).float().cpu().numpy()
        ids = [problem.known.samples.ids[row] for row in drawn.val]
        return _Fitted(
            scores=FoldScores(test, problem.test.labels, problem.test.ids),
            validation=FoldScores(validation, expected, ids),
            value=float(metric.compute(test, problem.test.labels)),
            best_lambda=search.best_lambda,
            drawn=drawn,
            full=len(problem.known.final_labels) / problem.targets.n_classes,
        )


@dataclass(frozen=True)
class _Problem:
    """A fold as the solver sees it: features of train and validation, and of test, on the device."""

    given: ProtocolInput
    known: Labelled
    features: torch.Tensor
    targets: probe.Targets
    test: Samples
    test_features: torch.Tensor

    @classmethod
    def of(cls, given: ProtocolInput, known: Labelled, test: Samples) -> _Problem:
        """Move a fold to the device."""
        from evalsuite import probe

        targets = probe.Targets("multinomial", as_tensor(known.samples.labels, given), len(given.task.class_list))
        features = known.samples.features.to(given.device)
        return cls(given, known, features, targets, test, test.features.to(given.device))


@dataclass(frozen=True)
class Draw:
    """The images of each class in a random order. val: of rows of their own; none: they follow in train."""

    train: dict[int, Rows]
    val: dict[int, Rows] | None

    @classmethod
    def of(cls, known: Labelled, seed: int) -> Draw:
        """Put the images of each class in the order of a seed, whatever order they are listed in."""
        ids, labels, bits = known.samples.ids, known.samples.labels, np.random.PCG64(seed)

        def by_class(rows: Rows) -> dict[int, Rows]:
            order = rows[by_id([ids[row] for row in rows])]
            return {number: members[shuffled(len(members), bits)] for number, members in strata(labels, order)}

        if _apart(known):
            return cls(by_class(known.fit), by_class(known.val))
        return cls(by_class(np.arange(len(ids))), None)

    def take(self, images: int) -> Drawn:
        """Return so many images per class to fit, and min(images, 4) further ones to choose by, or what there is.

        A class that has too few, and no rows of their own to choose by, keeps one of two or more for that.
        """
        wanted = min(images, MOST_VALIDATION)
        fit, val, short = [], [], []
        for number, rows in self.train.items():
            taken = images if self.val is not None else min(images, max(1, len(rows) - 1))
            further = rows[taken:] if self.val is None else self.val.get(number, rows[:0])
            fit.append(rows[:taken])
            val.append(further[:wanted])
            if len(fit[-1]) < images or len(val[-1]) < wanted:
                short.append(number)
        return Drawn(np.concatenate(fit), np.concatenate(val), short)


def _apart(known: Labelled) -> bool:
    """Return whether lambda is chosen by rows of their own: a validation split, or groups that are held out.

    Frames of one video are nearly one image: a lambda that is chosen by what was fitted is too small.
    """
    return known.official or known.samples.groups is not None


def _drawn_from(known: Labelled) -> NDArray[np.int64]:
    """Return the labels of the images that may be fitted: of train alone, where others are there to choose by."""
    labels: NDArray[np.int64] = known.samples.labels
    return labels[known.fit] if _apart(known) else labels


def _shot(images: int, fitted: Sequence[Sequence[_Fitted]]) -> Shot:
    """Return what was found with so many images. fitted: by fold and seed."""
    values = np.array([[one.value for one in seeds] for seeds in fitted]).mean(axis=0)
    return Shot(
        images=images,
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        values=[float(value) for value in values],
        lambdas=[[one.best_lambda for one in seeds] for seeds in fitted],
    )


def _too_few(given: ProtocolInput, drawn: Drawn, images: int, what: str) -> str:
    names = [given.task.class_keys[number] for number in drawn.short]
    few, classes = counted(images, "image"), counted(len(names), "class")
    return (
        f"{what}: of {classes} of {len(given.task.class_keys)} there are fewer than {few} to fit and "
        f"{min(images, MOST_VALIDATION)} to choose lambda by; all are taken: {shortened(names)}."
    )
