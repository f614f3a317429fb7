"""Compare two numbers sample by sample, where both logged their predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import METRICS
from evalsuite.results.numbers import Number
from evalsuite.results.samples import LoggedSamples, gives_its_value, samples_of
from evalsuite.stats import Difference, PairedScores, mcnemar, paired_bootstrap


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
    metric, labels, folds = METRICS.get(one.number.metric), one.samples.labels, one.samples.folds
    parts = [folds == fold for fold in np.unique(folds)]
    for logged in (one, two):
        logged.check(float(np.mean([metric.compute(logged.samples.scores[part], labels[part]) for part in parts])))
    _, units = np.unique(one.samples.ids, return_inverse=True)
    pairs = [
        PairedScores(one.samples.scores[part], two.samples.scores[part], labels[part], units[part]) for part in parts
    ]
    return paired_bootstrap(metric, pairs, level=level)
