"""Compare the rows of a table: bold, wins, ranks, averages by tag, differences to baselines."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean
from evalsuite.report.table import Mean, Row
from evalsuite.results.library import Library
from evalsuite.results.naming import stands_for
from evalsuite.results.numbers import Number, Numbers, family
from evalsuite.text import shortened


def with_standings(rows: Sequence[Row], tasks: Sequence[str]) -> list[Row]:
    """Return the rows with `best` and `rank` filled in; partial values take part in neither.

    best follows the rule of the paper's table 10: a score not below the 99.5 % interval of the task's best score.
    A task that one row alone has a value for has no best. rank: the mean over all tasks of the rank among the
    rows that have every value; equal scores share the mean of their ranks.
    """
    thresholds = {task: _threshold([row.cells[task] for row in rows if task in row.cells]) for task in tasks}
    complete = [row for row in rows if row.is_complete(tasks)]
    columns = {task: sorted(row.cells[task].value for row in complete) for task in tasks}
    ranked = {id(row) for row in complete}
    return [
        replace(
            row,
            best=frozenset(task for task, cell in row.cells.items() if _is_best(cell, thresholds[task])),
            rank=_mean_rank(row, columns) if id(row) in ranked and tasks else None,
        )
        for row in rows
    ]


def with_groups(rows: Sequence[Row], groups: Mapping[str, Sequence[str]]) -> list[Row]:
    """Return the rows with the average over the tasks of each group; no value at all gives no average."""
    return [replace(row, groups=dict(_group_means(row, groups))) for row in rows]


@dataclass(frozen=True)
class Baseline:
    """The best row that a name stands for, and how many there were to choose from."""

    name: str
    row: Row
    candidates: int

    def note(self, n_tasks: int) -> str:
        """Return the line that says which row was taken."""
        mean = Mean(self.row.average, len(self.row.cells), n_tasks, bool(self.row.partial_tasks))
        best = f", the best of {self.candidates}" if self.candidates > 1 else ""
        model, protocol, origin = self.row.labels
        average = f"average {100 * mean.value:.1f}{mean.mark}"
        return f"vs {self.name}: points above {model} ({protocol}, {origin}; {average}){best}."


def find_baselines(
    names: Sequence[str],
    rows: Sequence[Row],
    tasks: Sequence[str],
    protocols: Sequence[str],
    table: Numbers,
    library: Library,
) -> list[Baseline]:
    """Return the best of `rows` for each baseline: of the `protocols` shown where it has one, else of any.

    names: see `stands_for`. The best has values for most tasks, then the highest average. table, library: all numbers
    that there are, to say what is wrong with a name that no row has, which is a UsageError.
    """
    found = []
    for name in names:
        named = rows_called(name, rows)
        if not named:
            raise _no_baseline(name, tasks, [*table.numbers, *library.numbers])
        shown = [row for row in named if row.protocol in protocols] or named
        best = max(shown, key=lambda row: (len(row.cells), row.average))
        found.append(Baseline(name, best, len(shown)))
    return found


def with_differences(rows: Sequence[Row], baselines: Sequence[Baseline], tasks: Sequence[str]) -> list[Row]:
    """Return the rows with the mean difference to each baseline, over the tasks that both have."""
    return [replace(row, differences=dict(_differences(row, baselines, tasks))) for row in rows]


def rows_called(name: str, rows: Iterable[Row]) -> list[Row]:
    """Return the rows of the models that `name` stands for, see `stands_for`."""
    keys = [(row, {cell.model_key for cell in row.cells.values()}) for row in rows]
    found = stands_for(name, (key for _, own in keys for key in own))
    return [row for row, own in keys if own & found]


def _threshold(cells: Sequence[Number]) -> float | None:
    """Return the score from which on a cell counts as best; None where there is nothing to compare."""
    whole = [cell for cell in cells if not cell.partial]
    if len(whole) < 2:
        return None
    top = max(cell.value for cell in whole)
    intervals = [cell.confidence() for cell in whole if cell.value == top]
    return max(interval.low if interval else top for interval in intervals)


def _is_best(cell: Number, threshold: float | None) -> bool:
    return threshold is not None and not cell.partial and cell.value >= threshold


def _mean_rank(row: Row, columns: Mapping[str, Sequence[float]]) -> float:
    return sum(_rank(row.cells[task].value, values) for task, values in columns.items()) / len(columns)


def _rank(value: float, ascending: Sequence[float]) -> float:
    """Return the rank of `value`, 1 for the highest; equal values share the mean of their ranks."""
    above = len(ascending) - bisect_right(ascending, value)
    equal = bisect_right(ascending, value) - bisect_left(ascending, value)
    return above + (equal + 1) / 2


def _group_means(row: Row, groups: Mapping[str, Sequence[str]]) -> Iterable[tuple[str, Mean]]:
    for tag, tasks in groups.items():
        cells = [row.cells[task] for task in tasks if task in row.cells]
        if cells:
            partial = any(cell.partial for cell in cells)
            yield tag, Mean.of_values([cell.value for cell in cells], len(tasks), partial)


def _no_baseline(name: str, tasks: Sequence[str], numbers: Sequence[Number]) -> UsageError:
    known = stands_for(name, {number.model_key for number in numbers})
    own = dict.fromkeys(number.task for number in numbers if number.model_key in known)
    if any(task in own for task in tasks):  # a paper's row would have been chosen
        return UsageError(
            f"The baseline {name!r} is not a row of the table: --published {name} shows an import; "
            "what was measured here may be left out by --models, or be partial (--include-partial)."
        )
    if own:
        return UsageError(
            f"The baseline {name!r} has no value on {shortened(tasks) or 'any task'}, the tasks of the table. "
            f"It has one on {shortened(list(own))}: choose tasks with --tasks."
        )
    models = dict.fromkeys(number.model for number in numbers)
    families = dict.fromkeys(map(family, models))
    return UsageError(
        f"There is no result for the baseline {name!r}.{did_you_mean(name, [*families, *models])} "
        f"Name a model (resnet/50) or a family: {', '.join(families)}."
    )


def _differences(row: Row, baselines: Sequence[Baseline], tasks: Sequence[str]) -> Iterable[tuple[str, Mean]]:
    for baseline in baselines:
        other = baseline.row.cells
        pairs = [(row.cells[task], other[task]) for task in tasks if task in row.cells and task in other]
        if pairs:
            partial = any(cell.partial for pair in pairs for cell in pair)
            yield baseline.name, Mean.of_values([ours.value - base.value for ours, base in pairs], len(tasks), partial)
