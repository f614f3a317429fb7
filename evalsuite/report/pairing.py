"""Compare two numbers sample by sample, where both logged their predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import METRICS, Labels, Scores
from evalsuite.results.numbers import Number
from evalsuite.results.samples import LoggedSamples, gives_its_value, samples_of, value_of
from evalsuite.stats import Difference, PairedScores, mcnemar, mcnemar_p, paired_bootstrap, resampled

RESAMPLES = 200
"""Bootstrap draws behind a spread: known to 5 % from so many, and a table may need them of hundreds of numbers."""


class NotPairedError(EvalsuiteError):
    """The samples of two results cannot be matched; the text says why, without a full stop."""


@dataclass(frozen=True)
class _Logged:
    """A number with its samples."""

    number: Number
    samples: LoggedSamples

    def check(self, value: float) -> None:
        """Raise NotPairedError where the samples give another value than the record's: another run wrote them."""
        if self.number.record is not None and not gives_its_value(self.number.record, value):
            raise NotPairedError(
                f"the logged samples of {self.number.model} give {100 * value:.2f} where the record has "
                f"{100 * self.number.value:.2f}"
            )


@dataclass(frozen=True)
class Spread:
    """What chance does to the difference of two numbers of the same samples.

    deviation: standard deviation, in the unit of the metric, if there were no difference. p: two-sided, of the exact
    test; None where the deviation is all there is.
    """

    deviation: float
    p: float | None = None


def paired_spreads(numbers: Sequence[Number]) -> dict[tuple[int, int], Spread]:
    """Return the spread of each pair of numbers of one task that logged the same samples; the lower place comes first.

    The samples of each number are read once. Those that are damaged, or give another value than the record's, are as if
    they had not been logged; `compare` says what is wrong with them.
    """
    logged = [index for index, number in enumerate(numbers) if number.stored and number.stored.samples]
    found = {index: _answers(numbers[index]) for index in logged} if len(logged) > 1 else {}
    spreads: dict[tuple[int, int], Spread] = {}
    for one, two in combinations(found, 2):
        first, second = found[one], found[two]
        if first is not None and second is not None and first.key == second.key:
            spreads[one, two] = first.spread(second)
    return spreads


@dataclass(frozen=True)
class _Answers:
    """What a model made of the samples of a task.

    key: equal for the same metric, samples, labels and test. right: (n,) whether each sample is right, for an accuracy
    without folds. draws: (RESAMPLES,) values of the metric on draws of the samples, for anything else.
    """

    key: str
    right: NDArray[np.bool_] | None
    draws: NDArray[np.float64]

    def spread(self, other: _Answers) -> Spread:
        if self.right is None or other.right is None:
            return Spread(float((self.draws - other.draws).std(ddof=1)))
        alone = int((self.right & ~other.right).sum()), int((other.right & ~self.right).sum())
        return Spread(sum(alone) ** 0.5 / len(self.right), mcnemar_p(*alone))


def _answers(number: Number) -> _Answers | None:
    exact = number.metric == "accuracy" and not number.has_folds
    try:
        samples = samples_of(number.stored, scores=not exact) if number.stored else None
        if samples is None or len(samples.ids) == 0:
            return None
        rows = np.rec.fromarrays([samples.folds, samples.ids])
        if (rows[1:] == rows[:-1]).any():
            return None
        right, draws = None, np.empty(0)
        if exact:
            right = samples.predictions == samples.labels
            _Logged(number, samples).check(float(right.mean()))
        else:
            _Logged(number, samples).check(value_of(samples, number.metric))
            draws = resampled(METRICS.get(number.metric), _folds(samples), resamples=RESAMPLES)
    except EvalsuiteError:
        return None
    told = hashlib.sha256(repr((number.metric, exact, samples.classes, rows.dtype)).encode())
    for part in (rows, samples.labels):
        told.update(part.tobytes())
    return _Answers(told.hexdigest(), right, draws)


def _folds(samples: LoggedSamples) -> list[tuple[Scores, Labels, NDArray[np.intp]]]:
    """Return the scores and labels of each fold with the units that `PairedScores` speaks of."""
    _, units = np.unique(samples.ids, return_inverse=True)
    parts = [samples.folds == fold for fold in np.unique(samples.folds)]
    return [(samples.scores[part], samples.labels[part], units[part]) for part in parts]


def paired_difference(first: Number, second: Number, level: float) -> Difference:
    """Return the difference of two measured numbers, first minus second; its interval names the test.

    An accuracy without folds: exact McNemar; everything else: paired bootstrap. Both must have logged the same
    samples with the same labels, and the samples must give the recorded values again; else NotPairedError says what is
    wrong.
    """
    exact = first.metric == second.metric == "accuracy" and not (first.has_folds or second.has_folds)
    try:
        found = [
            (number, samples_of(number.stored, scores=not exact) if number.stored else None)
            for number in (first, second)
        ]
        lacking = [number.model for number, samples in found if samples is None]
        if lacking:
            who = lacking[0] if len(lacking) == 1 else "either"
            raise NotPairedError(f"no samples were logged for {who}; run with --log-samples")
        one, two = (_Logged(number, samples) for number, samples in found if samples is not None)
        _check_same(one, two)
        return _mcnemar(one, two, level) if exact else _draws(one, two, level)
    except NotPairedError:
        raise
    except EvalsuiteError as error:
        raise NotPairedError(str(error).rstrip(".")) from error


def _check_same(one: _Logged, two: _Logged) -> None:
    """Raise NotPairedError unless both tables have the same samples, each once per fold, with the same labels."""
    first, second = one.samples, two.samples
    rows = [set(zip(logged.folds.tolist(), logged.ids.tolist(), strict=True)) for logged in (first, second)]
    for logged, found in zip((one, two), rows, strict=True):
        if len(found) < len(logged.samples.ids):
            raise NotPairedError(f"{logged.number.model} logged a sample twice")
    if rows[0] != rows[1]:
        shared = rows[0] & rows[1]
        raise NotPairedError(
            f"the logged test samples are not the same: {len(shared)} of both, {len(rows[0] - shared)} of "
            f"{one.number.model} alone, {len(rows[1] - shared)} of {two.number.model} alone"
        )
    if not rows[0]:
        raise NotPairedError("no sample was logged")
    if first.classes != second.classes:
        raise NotPairedError("the logged samples have other classes, or in another order")
    if not np.array_equal(first.labels, second.labels):
        raise NotPairedError("the logged samples have other labels")


def _mcnemar(one: _Logged, two: _Logged, level: float) -> Difference:
    right = [logged.samples.predictions == logged.samples.labels for logged in (one, two)]
    for logged, answers in zip((one, two), right, strict=True):
        logged.check(float(answers.mean()))
    return mcnemar(right[0], right[1], level)


def _draws(one: _Logged, two: _Logged, level: float) -> Difference:
    metric = METRICS.get(one.number.metric)
    for logged in (one, two):
        logged.check(value_of(logged.samples, one.number.metric))
    pairs = [
        PairedScores(first, second, labels, units)
        for (first, labels, units), (second, _, _) in zip(_folds(one.samples), _folds(two.samples), strict=True)
    ]
    return paired_bootstrap(metric, pairs, level=level)
