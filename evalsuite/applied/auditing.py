"""Audit a task with a model: images on both sides of the split, likely label errors, and the score without the former.

As section 5 of the CLIP paper does for its pre-training data: the test images that are training images, too, are the
overlap, the others are clean; what the score of all is ahead of that of the clean ones is what the overlap gives. Here
the training images are those of the task, which probes are fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evalsuite.api import prepare
from evalsuite.applied.duplicates import Duplicates, Images, find_duplicates
from evalsuite.applied.label_errors import Suspect, cleanlab_filter, judge, parts_of, suspects
from evalsuite.applied.pictures import Encoded
from evalsuite.data.base import Fold, Split
from evalsuite.data.place import DataPlace
from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.metrics import METRICS
from evalsuite.models.base import ImageModel
from evalsuite.options import RunOptions
from evalsuite.protocols import EvaluationProtocol
from evalsuite.protocols.base import FoldScores
from evalsuite.protocols.linear_probe import LinearProbe
from evalsuite.protocols.scoring import main_metric
from evalsuite.records import MetricRecord, Result
from evalsuite.results.samples import LoggedSamples, samples_of
from evalsuite.results.store import StoredResult
from evalsuite.runner.base import Reporter
from evalsuite.runner.fingerprints import layer_of
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.loop import run_jobs
from evalsuite.runner.passes import make_passes
from evalsuite.stats import Difference, KeptScores, bootstrap_left_out, exceeding
from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class AuditedFold:
    """The images of a fold, and the duplicates between them. train: with those of the validation split."""

    test: Images
    train: Images
    duplicates: Duplicates

    def kept(self, ids: NDArray[np.str_]) -> NDArray[np.bool_]:
        """Return which of these test samples are no duplicates."""
        return ~np.isin(ids, [self.test.ids[pair.test] for pair in self.duplicates.pairs])


@dataclass(frozen=True)
class PartialScores:
    """The score of a protocol on all test images, on the clean ones and on the overlap; none: it has no value there.

    difference: of all and clean, with a paired interval. p: the probability of as many right in the overlap, or more,
    were it as hard as the clean images (one-sided binomial test, for accuracies); as section 5 of the paper has it.
    """

    protocol: str
    whole: MetricRecord
    clean: MetricRecord | None = None
    overlap: MetricRecord | None = None
    difference: Difference | None = None
    p: float | None = None


@dataclass(frozen=True)
class LabelErrors:
    """Training images of the first fold whose labels are likely wrong. judged: how many were looked at; left_out: those
    of which no other one of their class is in the rest; best_lambda: of the probes."""

    suspects: tuple[Suspect, ...]
    judged: int
    left_out: int
    best_lambda: float


@dataclass(frozen=True)
class Audit:
    """What an audit found. given: whether the threshold was; failed: whether the score of a protocol is an error."""

    task: TaskSpec
    model: str
    layer: str
    folds: tuple[AuditedFold, ...]
    given: bool
    scores: tuple[PartialScores, ...]
    labels: LabelErrors | None
    notes: tuple[str, ...]
    failed: bool


def audit(
    model: str | ImageModel,
    task: TaskSpec,
    protocols: Sequence[EvaluationProtocol],
    options: RunOptions,
    place: DataPlace,
    reporter: Reporter,
    *,
    threshold: float | None = None,
    label_errors: bool = True,
) -> Audit:
    """Run what is missing, as `evaluate` would, and look at the stored features; no image is opened again.

    threshold: the cosine from where on two images are near duplicates; None: told by the training images. UsageError
    for a task that cannot be audited, and where label errors are asked for without cleanlab.
    """
    _check(task, label_errors)
    if threshold is not None and not -1 <= threshold <= 1:
        raise UsageError(f"--threshold {threshold:g}: a cosine is between -1 and 1.")
    options = replace(options, log_samples=True)
    (job,) = prepare([model], [task], protocols, options, place, reporter)
    try:
        folds = _trained_folds(job)
        results = run_jobs([job], options, reporter)
        _encode(job, [result.error.message for result in results if result.status == "error" and result.error])
        layer = layer_of(LinearProbe(), options)
        found = tuple(_audited(job, fold, layer, threshold, options.seed) for fold in folds)
        scores = tuple(_scores(job, result, found) for result in results if result.metric is not None)
        labels = _label_errors(job, found[0].train, layer, reporter) if label_errors else None
    finally:
        job.model.close()
        job.model.executor.close()
    notes = [f"{r.protocol}: {r.error.message}" for r in results if r.error is not None]
    if not any(fold.test.digests[0] for fold in found):
        notes.append("Features were given, and not the bytes they are of: the same bytes count as nearly the same.")
    if len(found) > 1 and label_errors:
        notes.append(f"The task has {len(found)} folds; label errors are looked for in the first.")
    failed = any(result.status == "error" for result in results)
    return Audit(task, job.model.name, layer, found, threshold is not None, scores, labels, tuple(notes), failed)


def _check(task: TaskSpec, label_errors: bool) -> None:
    if task.captions is not None:
        raise UsageError(f"The images of the task {task.name!r} have captions and no classes: there is no audit of it.")
    if not label_errors:
        return
    if not task.one_label:
        raise UsageError(
            f"The images of the task {task.name!r} have several labels, and confident learning is for one. "
            "--no-label-errors looks for duplicates alone."
        )
    try:
        cleanlab_filter()
    except EvalsuiteError as error:
        raise UsageError(f"{error}\nOr look for duplicates alone: --no-label-errors.") from error


def _trained_folds(job: ModelTaskJob) -> Sequence[Fold]:
    folds = job.task.folds(training=True)
    if not all(len(fold.train) for fold in folds):
        raise UsageError(f"The task {job.task.task.name!r} has no training images to hold its test images against.")
    return folds


def _encode(job: ModelTaskJob, failed: Sequence[str]) -> None:
    """Encode what no protocol of the run has read: nothing, as a rule."""
    (found,) = make_passes([job], LinearProbe(), lambda: None)
    if isinstance(found, Exception):
        raise EvalsuiteError(failed[0]) if failed else found


def _audited(job: ModelTaskJob, fold: Fold, layer: str, threshold: float | None, seed: int) -> AuditedFold:
    test, train = _images(job, [fold.test]), _images(job, [fold.train, *([fold.val] if fold.val else [])])
    return AuditedFold(test, train, find_duplicates(test, train, layer, job.model.device, threshold, seed))


def _images(job: ModelTaskJob, splits: Sequence[Split]) -> Images:
    """Return the images of splits that could be read."""
    parts = []
    for split in splits:
        pool, features = job.task.pool(split.pool), job.features(split.pool)
        rows = [int(row) for row in split.rows if pool.ids[row] in features]
        if rows:
            parts.append(Encoded(pool, rows, features))
    if not parts:
        raise EvalsuiteError(f"None of the images of {job.task.task.name}/{splits[0].pool} could be read.")
    return Images(tuple(parts))


def _scores(job: ModelTaskJob, result: Result, folds: Sequence[AuditedFold]) -> PartialScores:
    """Return the score of a protocol with and without the duplicates, from the samples it has logged."""
    task, seed = job.task.task, job.options.seed
    if result.metric is None:
        raise ValueError("A result without a value has no score.")
    path = job.store.path(result.model, result.run_key, task.name, result.protocol, result.options_hash)
    logged = samples_of(StoredResult(path, result), scores=True)
    if logged is None:
        raise EvalsuiteError(f"The samples of {result.protocol} are not in {path.parent}; try again with --overwrite.")
    parts = _kept(logged, folds)
    if all(part.kept.all() for part in parts):
        return PartialScores(result.protocol, result.metric)
    metric, kept = METRICS.get(task.metric), [part.kept for part in parts]
    clean = _metric(task, parts, kept, seed)
    overlap = _metric(task, parts, [~mask for mask in kept], seed)
    difference = None if clean is None else bootstrap_left_out(metric, parts, seed=seed)
    p = None
    if metric.is_accuracy and clean is not None and overlap is not None:
        n = len(np.unique(np.concatenate([part.units[~part.kept] for part in parts])))  # not once for each fold
        p = exceeding(round(overlap.value * n), n, clean.value)
    return PartialScores(result.protocol, result.metric, clean, overlap, difference, p)


def _kept(logged: LoggedSamples, folds: Sequence[AuditedFold]) -> list[KeptScores]:
    """Return the scores of each fold that a protocol has scored, with the test samples that are no duplicates.

    It may score each fold several times, one after the other (few-shot probes, for each draw). Where the folds share a
    test split that it scores once, a duplicate of any fold is one.
    """
    numbers = np.unique(logged.folds)
    _, units = np.unique(logged.ids, return_inverse=True)
    times, more = divmod(len(numbers), len(folds))
    found = []
    for place, number in enumerate(numbers):
        rows = logged.folds == number
        own = folds if more else [folds[place // times]]
        kept = np.all([fold.kept(logged.ids[rows]) for fold in own], axis=0)
        found.append(KeptScores(logged.scores[rows], logged.labels[rows], kept, units[rows]))
    return found


def _metric(
    task: TaskSpec, parts: Sequence[KeptScores], masks: Sequence[NDArray[np.bool_]], seed: int
) -> MetricRecord | None:
    """Return the metric of a part of the samples; None where a fold has none of them, or it is not defined there."""
    if not all(mask.any() for mask in masks):
        return None
    chosen = [
        FoldScores(part.scores[mask].astype(np.float32), part.labels[mask], [""] * int(mask.sum()))
        for part, mask in zip(parts, masks, strict=True)
    ]
    try:
        return main_metric(task, chosen, seed)
    except EvalsuiteError:  # such as ROC AUC of one class
        return None


def _label_errors(job: ModelTaskJob, train: Images, layer: str, reporter: Reporter) -> LabelErrors:
    labels = train.labels()
    judged = judge(
        train.read(layer).to(job.model.device),
        labels,
        parts_of(train.ids, labels, train.groups, job.options.seed),
        len(job.task.task.class_list),
        lambda what, done, total: reporter.progress(what, done, total, "rounds"),
    )
    rows = np.flatnonzero(judged.known)
    found = [replace(one, number=int(rows[one.number])) for one in suspects(labels[rows], judged.shares[rows])]
    return LabelErrors(tuple(found), len(rows), len(labels) - len(rows), judged.best_lambda)
