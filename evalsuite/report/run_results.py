"""The results of a run, as Python has them: a sequence of records, and what notebooks and trackers read of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from evalsuite.errors import JobError
from evalsuite.records import Result
from evalsuite.report.grid import MISSING, TextCell, html_table
from evalsuite.report.trackers import log_values
from evalsuite.results.numbers import PARTIAL, Number, Numbers, protocol_label, told_apart
from evalsuite.text import brief, counted

if TYPE_CHECKING:
    import pandas as pd

FAILURES_NAMED = 4


class Results(Sequence[Result]):
    """Results of a run, in the order of models, tasks and protocols."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = list(results)

    def __getitem__(self, index: Any) -> Any:
        found = self._results[index]
        return Results(found) if isinstance(index, slice) else found

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __repr__(self) -> str:
        rows = [f"  {r.model} {r.task} {r.protocol}: {_value(r)}" for r in self._results]
        return "\n".join([counted(len(rows), "result"), *rows])

    def _repr_html_(self) -> str:
        """Show them as a table in a notebook."""
        header = ["model", "task", "protocol", "metric", "%", "interval", "n"]
        notes = [f"{PARTIAL}: computed from a part of the samples."] if any(map(_is_partial, self._results)) else []
        notes += [f"{r.model}, {r.task}, {r.protocol}: {warning}" for r in self._results for warning in r.warnings]
        return html_table(header, [list(map(TextCell, _shown(r))) for r in self._results], notes)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per result: model, task, protocol, status, metric, value, low, high, n, top1, error ..."""
        import pandas as pd

        return pd.DataFrame([_row(result) for result in self._results])

    def to_dict(self) -> dict[str, float]:
        """Return every number under a flat name, as trackers of experiments take them; fractions, not percent.

        `digits/linear_probe/accuracy`, and `/low` and `/high` of its interval; then the further numbers of the record
        (`digits/linear_probe/top1`). The protocol has the options behind it that are not the default: `limit-200` also
        says that the number is of a part of the samples (`digits/linear_probe.limit-200/accuracy`). The model comes
        first where there are several. Errors have no number: see `raise_for_errors`.
        """
        table = Numbers.of(self._results)
        states = told_apart(table.places)
        models = {key: f"{key.slug}@{state}/" if state else f"{key.slug}/" for key, state in states.items()}
        several = len(set(models.values())) > 1
        found: dict[str, float] = {}
        for number in table.numbers:
            found |= _flat(number, models[number.model_key] if several else "")
        return found

    def log_to(self, tracker: str, step: int | None = None) -> None:
        """Send what `to_dict` returns to a tracker: wandb, mlflow, tensorboard, trackio, or one with its target.

        tracker: "wandb:PROJECT", "mlflow:EXPERIMENT", "tensorboard:FOLDER". step: of the training. Raises UsageError
        for a tracker that is not known or not installed, JobError where it fails.
        """
        log_values(self.to_dict(), tracker, step)

    def raise_for_errors(self) -> Self:
        """Raise JobError where a result is an error, naming the first of them; else return these results."""
        failed = [result for result in self._results if result.status == "error"]
        if failed:
            lines = [f"  {r.model} {r.task} {r.protocol}: {_why(r)}" for r in failed[:FAILURES_NAMED]]
            more = [f"  and {len(failed) - FAILURES_NAMED} more"] if len(failed) > FAILURES_NAMED else []
            of = counted(len(self._results), "result")
            raise JobError("\n".join([f"{len(failed)} of {of} failed:", *lines, *more]))
        return self


def _flat(number: Number, model: str) -> dict[str, float]:
    place = f"{model}{number.task}/{number.protocol}{_spelled(number)}"
    found = {f"{place}/{number.metric}": number.value}
    if number.interval is not None:
        found |= {f"{place}/low": number.interval.low, f"{place}/high": number.interval.high}
    return found | {f"{place}/{further.metric}": further.value for further in number.further()}


def _spelled(number: Number) -> str:
    """Return the options that are not the default as a part of a name; `.limit-200` says that it is partial, too."""
    named = [f"{name}-{_plain(value)}" for name, value in sorted(number.changed_options.items())]
    if number.options and not named:
        named = [number.options[:8]]
    if number.partial and "limit" not in number.changed_options:
        named.append("partial")
    return "".join(f".{name}" for name in named)


def _plain(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return re.sub(r"[^\w.-]+", "-", text)


def _why(result: Result) -> str:
    return " ".join(brief(result.error.message, letters=300).split()) if result.error else "no reason was recorded."


def _value(result: Result) -> str:
    if result.metric is None:
        return f"{result.status.replace('_', ' ')}: {_why(result)}"
    return f"{result.metric.name} {100 * result.metric.value:.2f} %"


def _shown(result: Result) -> list[str]:
    """Return the cells of a row of the table for people."""
    metric, protocol = result.metric, protocol_label(result.protocol, result.options_hash)
    if metric is None:
        said = f"{result.status.replace('_', ' ')}: {_why(result)}"
        return [result.model, result.task, protocol, said, MISSING, MISSING, MISSING]
    interval = metric.interval
    between = f"{100 * interval.low:.2f} to {100 * interval.high:.2f}" if interval else MISSING
    value = f"{100 * metric.value:.2f}{PARTIAL if _is_partial(result) else ''}"
    return [result.model, result.task, protocol, metric.name, value, between, f"{metric.n:,}"]


def _is_partial(result: Result) -> bool:
    return result.status == "partial"


def _row(result: Result) -> dict[str, Any]:
    metric = result.metric
    interval = metric.interval if metric else None
    return {
        "model": result.model,
        "task": result.task,
        "protocol": result.protocol,
        "status": result.status,
        "metric": metric.name if metric else None,
        "value": metric.value if metric else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "n": metric.n if metric else None,
        **result.metrics,
        "split_fidelity": result.split_level,
        "error": result.error.message if result.error else None,
    }
