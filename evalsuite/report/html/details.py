"""What lies behind a score: which classes are mixed up, how sure the model is, its most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.metrics import map_11_point
from evalsuite.records import Interval
from evalsuite.registry import did_you_mean
from evalsuite.report.calibration import confidences, reliability
from evalsuite.report.confusion import Pair, confusion_counts, most_confused, recalls, worst
from evalsuite.report.html.board import detail_anchor
from evalsuite.report.html.plots import Bar, reliability_diagram, share_bars
from evalsuite.report.html.tables import SHADES
from evalsuite.report.ranking import rows_called
from evalsuite.report.table import Leaderboard, Row
from evalsuite.results.details import Calibration, calibration_of
from evalsuite.results.numbers import Number
from evalsuite.results.samples import LoggedSamples, gives_its_value, samples_of, value_of
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import counted

MATRIX_CLASSES = 25
"""More classes than these get their most confused pairs instead of a matrix."""

WORST_CLASSES = 12
CONFUSED_PAIRS = 20
MISTAKES = 12

SAMPLES_MISSING = "No predictions were stored with this score, so that nobody can see what it gets wrong."
SAMPLES_HINT = "Scores without stored predictions: run them again with --log-samples to see what they get wrong."


@dataclass(frozen=True)
class Chosen:
    """A number to look behind, and its row."""

    row: Row
    number: Number

    @property
    def task(self) -> str:
        """The task."""
        return self.number.task


@dataclass(frozen=True)
class Mistake:
    """A sample that was taken for another class, or hardly for its own. image: a data URI, or nothing."""

    sample: str
    labels: tuple[str, ...]
    label: str
    predicted: str
    confidence: float
    image: str = ""


@dataclass(frozen=True)
class MatrixRow:
    """A class and what its samples were taken for: (count, shade by the share of the class)."""

    name: str
    cells: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Detail:
    """A model on a task. A part that cannot be told is empty, and `notes` says why. names: of the classes in pairs.

    hints: what the maker of the page can do about it. flawless: all answers are right, and `mistakes` are those it was
    least sure of.
    """

    chosen: Chosen
    interval: Interval | None
    notes: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    matrix: tuple[MatrixRow, ...] = ()
    names: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    classes: Markup | None = None
    classes_title: str = ""
    reliability: Markup | None = None
    calibration_error: float = 0.0
    logit_scale: str = ""
    tempered: str = ""
    mistakes: tuple[Mistake, ...] = field(default=(), repr=False)
    flawless: bool = False

    @property
    def anchor(self) -> str:
        """What names it in the address of the page."""
        return detail_anchor(self.chosen.row, self.chosen.task)


def choose(board: Leaderboard, names: Sequence[str]) -> list[Chosen]:
    """Return the measured values to look behind: of the models `names`, or the best of each task and protocol.

    UsageError for a name that no measured row has.
    """
    measured = [
        Chosen(row, row.cells[task])
        for task in board.tasks
        for row in board.rows
        if task in row.cells and row.cells[task].is_measured
    ]
    if names:
        called = {id(row) for name in names for row in _called(name, measured)}
        return [item for item in measured if id(item.row) in called]
    best: dict[tuple[str, str], Chosen] = {}
    for item in measured:
        place = item.task, item.row.protocol
        if place not in best or preference(item.number) > preference(best[place].number):
            best[place] = item
    return list(best.values())


def look_behind(chosen: Chosen, task: TaskSpec | None) -> Detail:
    """Return what the stored predictions tell; they and the task may be missing."""
    empty = Detail(chosen, chosen.number.confidence())
    stored = chosen.number.stored
    if task is not None and not task.classifies:
        return empty
    try:
        logged = samples_of(stored, scores=True) if stored else None
        if stored is None or logged is None:
            return replace(empty, notes=(SAMPLES_MISSING,), hints=(SAMPLES_HINT,))
        if len(logged.ids) == 0:
            return replace(empty, notes=("The table of predictions has no rows.",))
        if not np.isfinite(logged.scores).all():
            raise EvalsuiteError("some scores are not finite.")
        if not gives_its_value(stored.result, value_of(logged, chosen.number.metric)):
            raise EvalsuiteError("they give another value than the record, so another run or protocol wrote them.")
    except EvalsuiteError as error:
        return replace(empty, notes=(f"The stored predictions cannot be used: {error}",))
    named = {} if task is None else {item.key: item.names[0] for item in task.class_list}
    names = [named.get(key, key) for key in logged.classes]
    described = _multilabel(empty, logged, names) if logged.labels.ndim == 2 else _single_label(empty, logged, names)
    return _with_mistakes(described, logged, names)


def _called(name: str, measured: Sequence[Chosen]) -> list[Row]:
    found = rows_called(name, [item.row for item in measured])
    if not found:
        models = list(dict.fromkeys(item.row.title for item in measured))
        raise UsageError(
            f"There is no measured result for --detail {name!r}.{did_you_mean(name, models)} "
            f"Measured models: {', '.join(models) or 'none'}."
        )
    return found


def preference(number: Number) -> tuple[bool, float]:
    """Return what the best number has most of: a whole one comes before a partial one, then the value counts."""
    return not number.partial, number.value


def _single_label(empty: Detail, logged: LoggedSamples, names: Sequence[str]) -> Detail:
    """Add confusion and recall; the rows of all folds count."""
    counts = confusion_counts(logged.labels, logged.predictions, len(names))
    recall, totals = recalls(counts), counts.sum(axis=1)
    shown = worst(recall, WORST_CLASSES)
    bars = [Bar(names[index], float(recall[index]), f"of {counted(totals[index], 'sample')}") for index in shown]
    small = len(names) <= MATRIX_CLASSES
    pairs = [] if small else most_confused(counts, CONFUSED_PAIRS)
    title = "Recall of each class" if len(names) <= WORST_CLASSES else f"Recall of the {len(bars)} worst classes"
    return replace(
        empty,
        matrix=_matrix(counts, names) if small else (),
        names=tuple(names),
        pairs=tuple(pairs),
        classes=share_bars(bars, title),
        classes_title=title,
    )


def _matrix(counts: NDArray[np.int64], names: Sequence[str]) -> tuple[MatrixRow, ...]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = np.minimum(np.ceil(shares * SHADES).astype(int), SHADES - 1)
    return tuple(
        MatrixRow(name, tuple(zip(counts[row].tolist(), shades[row].tolist(), strict=True)))
        for row, name in enumerate(names)
    )


def _multilabel(empty: Detail, logged: LoggedSamples, names: Sequence[str]) -> Detail:
    """Add the average precision of each class; confusion and calibration are about single labels."""
    columns = np.flatnonzero((logged.labels == 1).any(axis=0))
    values = np.array([map_11_point(logged.scores[:, [column]], logged.labels[:, [column]]) for column in columns])
    bars = [Bar(names[columns[index]], float(values[index])) for index in worst(values, WORST_CLASSES)]
    title = f"11-point average precision of the {len(bars)} worst classes"
    note = "An image has several classes here: there is no confusion matrix, nor a reliability diagram."
    return replace(empty, classes=share_bars(bars, title), classes_title=title, notes=(note,))


def _with_mistakes(detail: Detail, logged: LoggedSamples, names: Sequence[str]) -> Detail:
    """Add reliability (single labels) and the most confident mistakes, or the least sure answers where all are right.

    A sample is shown once.
    """
    protocol, multilabel = detail.chosen.row.protocol, logged.labels.ndim == 2
    stored = detail.chosen.number.stored
    details = stored.result.details if stored else {}
    sure = confidences(protocol, multilabel, logged.scores, details)
    if sure is None:
        note = f"Scores of the protocol {protocol} are not known to be logits: there are no confidences."
        return replace(detail, notes=(*detail.notes, note))
    right = _right(logged)
    if not multilabel:
        found = reliability(sure, right)
        drawn = reliability_diagram(found, "Reliability: how often it is right when it is this sure")
        scale = details.get("logit_scale")
        said = f"{scale:.2f}" if isinstance(scale, float) else ""
        tempered = _tempered(calibration_of(details))
        detail = replace(detail, reliability=drawn, calibration_error=found.error, logit_scale=said, tempered=tempered)
    mistakes: dict[str, Mistake] = {}
    wrong = np.flatnonzero(~right)
    for row in wrong[np.argsort(-sure[wrong], kind="stable")] if len(wrong) else np.argsort(sure, kind="stable"):
        if len(mistakes) == MISTAKES:
            break
        sample, labels = str(logged.ids[row]), _labels(logged, int(row))
        label = ", ".join(names[column] for column in labels) or "none of the classes"
        keys = tuple(logged.classes[column] for column in labels)
        mistake = Mistake(sample, keys, label, names[logged.predictions[row]], float(sure[row]))
        mistakes.setdefault(sample, mistake)
    return replace(detail, mistakes=tuple(mistakes.values()), flawless=len(wrong) == 0)


def _tempered(calibration: Calibration | None) -> str:
    """Say what a temperature changes, from the calibration in a record; nothing where none was fitted."""
    if calibration is None or calibration.after is None:
        return ""
    before, after = calibration.before, calibration.after
    temperatures = ", ".join(f"{one:.3g}" for one in calibration.temperatures)
    return (
        f"With a temperature fitted on {counted(calibration.validation, 'validation image')} ({temperatures}): "
        f"ECE {100 * before.ece:.1f} to {100 * after.ece:.1f}, negative log-likelihood {before.nll:.3f} to "
        f"{after.nll:.3f}, Brier score {before.brier:.3f} to {after.brier:.3f}."
    )


def _right(logged: LoggedSamples) -> NDArray[np.bool_]:
    """Return whether the best class is the label; multi-label: whether it is there, or does not count."""
    if logged.labels.ndim == 1:
        return np.asarray(logged.predictions == logged.labels)
    return np.asarray(logged.labels[np.arange(len(logged.ids)), logged.predictions] != 0)


def _labels(logged: LoggedSamples, row: int) -> list[int]:
    """Return the columns of the classes of a sample."""
    if logged.labels.ndim == 1:
        return [int(logged.labels[row])]
    return [int(column) for column in np.flatnonzero(logged.labels[row] == 1)]
