"""Compare the rows of a table: bold, wins, ranks, averages by tag, differences to baselines."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean
from evalsuite.report.table import Cell, Mean, Row


def with_standings(rows: Sequence[Row], tasks: Sequence[str]) -> list[Row]:
    """Return the rows with `best` and `rank` filled in; partial values take part in neither.

    best follows the rule of the paper's table 10: a score not below the 99.5 % interval of the task's best score.
    A task that one row alone has a value for has no best. rank: the mean over all tasks of the rank among the
    rows that have every value; equal scores share the mean of their ranks.
    """
    thresholds = {task: _threshold([row.cells[task] for row in rows if task in row.cells]) for task in tasks}
    complete = [row for row in rows if all(task in row.cells and not row.cells[task].partial for task in tasks)]
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
        mean = Mean(self.row.average, len(self.row.cells), n_tasks)
        best = f", the best of {self.candidates}" if self.candidates > 1 else ""
        return (
            f"vs {self.name}: points above {self.row.model} ({self.row.protocol}, {self.row.origin}; "
            f"average {mean.value:.1f}{mean.mark}){best}."
        )


def find_baselines(names: Sequence[str], rows: Sequence[Row], protocols: Sequence[str]) -> list[Baseline]:
    """Return the best row of each baseline: of the `protocols` shown where it has one, else of any.

    names: a model (resnet/50), a family (bit-m) or a pattern. The best has values for most tasks, then the highest
    average. A name that no row has is a UsageError.
    """
    return [_find_baseline(name, rows, protocols) for name in names]


def with_differences(rows: Sequence[Row], baselines: Sequence[Baseline], tasks: Sequence[str]) -> list[Row]:
    """Return the rows with the mean difference to each baseline, over the tasks that both have."""
    return [replace(row, differences=dict(_differences(row, baselines, tasks))) for row in rows]


def is_model(row: Row, name: str) -> bool:
    """Say whether `name` is the row's model, its family or a pattern of it, whatever the case."""
    model, folded = row.model.partition(" @")[0].casefold(), name.casefold()
    return folded in (model, row.model.casefold(), model.partition("/")[0]) or fnmatchcase(model, folded)


def interval_of(cell: Cell) -> tuple[float, float] | None:
    """Return the interval of a value in percent: its record's, else Clopper-Pearson's; None where nothing tells it."""
    if cell.low is not None and cell.high is not None:
        return cell.low, cell.high
    if not cell.n:
        return None
    from evalsuite.stats import clopper_pearson  # scipy takes a third of a second, and records have their interval

    interval = clopper_pearson(min(cell.n, round(cell.value / 100 * cell.n)), cell.n)
    return 100 * interval.low, 100 * interval.high


def _threshold(cells: Sequence[Cell]) -> float | None:
    """Return the score from which on a cell counts as best; None where there is nothing to compare."""
    whole = [cell for cell in cells if not cell.partial]
    if len(whole) < 2:
        return None
    top = max(cell.value for cell in whole)
    return max(_lower_bound(cell) for cell in whole if cell.value == top)


def _lower_bound(cell: Cell) -> float:
    """Return the lower end of the cell's interval; the value itself where nothing tells it."""
    if cell.low is not None:
        return cell.low
    interval = interval_of(cell)
    return cell.value if interval is None else interval[0]


def _is_best(cell: Cell, threshold: float | None) -> bool:
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
        values = [row.cells[task].value for task in tasks if task in row.cells]
        if values:
            yield tag, Mean.of_values(values, len(tasks))


def _find_baseline(name: str, rows: Sequence[Row], protocols: Sequence[str]) -> Baseline:
    named = [row for row in rows if is_model(row, name)]
    if not named:
        models = dict.fromkeys(row.model for row in rows)
        families = dict.fromkeys(model.partition("/")[0] for model in models)
        raise UsageError(
            f"There is no result for the baseline {name!r}.{did_you_mean(name, [*families, *models])} "
            f"Name a model (resnet/50) or a family: {', '.join(families)}."
        )
    shown = [row for row in named if row.protocol in protocols] or named
    best = max(shown, key=lambda row: (len(row.cells), row.average))
    return Baseline(name, best, len(shown))


def _differences(row: Row, baselines: Sequence[Baseline], tasks: Sequence[str]) -> Iterable[tuple[str, Mean]]:
    for baseline in baselines:
        other = baseline.row.cells
        points = [row.cells[task].value - other[task].value for task in tasks if task in row.cells and task in other]
        if points:
            yield baseline.name, Mean.of_values(points, len(tasks))
