"""The leaderboard as data: rows of numbers, and what its reader must know. Values are fractions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evalsuite.results.numbers import PARTIAL, ModelKey, Number, Origin, RowKey, model_label, protocol_label

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("model", "protocol", "origin")
"""The first columns; all others are numbers."""

UNIT = "percent"
"""Of every value in a table, whatever its format; a difference is in points."""

PLACES = ("first_place", "last_place")
"""The columns of `Places` in a table for programs."""


@dataclass(frozen=True)
class Mean:
    """An unweighted mean over `over` of the `of` tasks it should cover, some `partial`; both must be marked."""

    value: float
    over: int
    of: int
    partial: bool = False

    @classmethod
    def of_values(cls, values: Sequence[float], of: int, partial: bool) -> Mean:
        """Return the mean of `values`, at least one."""
        return cls(math.fsum(values) / len(values), len(values), of, partial)

    @property
    def mark(self) -> str:
        """Return a star where a value is partial, and ' (k/n)' where tasks are missing."""
        return (PARTIAL if self.partial else "") + (f" ({self.over}/{self.of})" if self.over < self.of else "")


@dataclass(frozen=True)
class Places:
    """The places that a row may have by its average, 1 the highest: no other follows from the test images.

    alike: numbers of the other rows, from 0, that it cannot be told from.
    """

    first: int
    last: int
    alike: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """Return them for a table."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


@dataclass(frozen=True)
class Row:
    """The numbers of one model under one protocol: task -> number. A task that is not in `cells` has none.

    state: eight digits, where the table has several states of the model. options: hash of those that are not the
    default. best: tasks on which the value is the best or inside its interval. rank: mean rank over the tasks; None
    where a value is missing. places: see `with_places`; None where a value is missing, or there is no other row.
    groups: tag -> mean over its tasks. differences: baseline -> this row minus it.
    """

    model: str
    protocol: str
    origin: Origin
    cells: Mapping[str, Number]
    state: str = ""
    options: str | None = None
    best: frozenset[str] = frozenset()
    rank: float | None = None
    places: Places | None = None
    groups: Mapping[str, Mean] = field(default_factory=dict)
    differences: Mapping[str, Mean] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, str, str]:
        """Return the row's LABELS as a table for people has them."""
        return self.title, protocol_label(self.protocol, self.options), self.origin.label

    @property
    def title(self) -> str:
        """Return the model, with its state where that tells it from another row."""
        return model_label(self.model, self.state)

    @property
    def described(self) -> str:
        """Return the row in one phrase: model (protocol, origin)."""
        model, *rest = self.labels
        return f"{model} ({', '.join(rest)})"

    @property
    def average(self) -> float:
        """Return the unweighted mean of the row's values."""
        return math.fsum(cell.value for cell in self.cells.values()) / len(self.cells)

    @property
    def average_mark(self) -> str:
        """Return what stands behind the average wherever it is written: a star where one of its values is partial."""
        return PARTIAL if self.partial_tasks else ""

    @property
    def wins(self) -> int:
        """Return the number of tasks on which the row is the best or inside the best score's interval."""
        return len(self.best)

    def is_complete(self, tasks: Sequence[str]) -> bool:
        """Say whether the row has a whole value for each of `tasks`."""
        return all(task in self.cells and not self.cells[task].partial for task in tasks)

    @property
    def partial_tasks(self) -> list[str]:
        """Return the tasks whose value was computed from a part of the samples."""
        return [task for task, cell in self.cells.items() if cell.partial]


def pivot(numbers: Iterable[Number], tasks: Sequence[str], states: Mapping[ModelKey, str]) -> list[Row]:
    """Return the rows of the numbers on `tasks`, in the order of their first numbers."""
    cells: dict[RowKey, dict[str, Number]] = defaultdict(dict)
    for number in numbers:
        cells[number.row][number.task] = number
    rows = []
    for found in cells.values():
        ordered = {task: found[task] for task in tasks if task in found}
        if ordered:
            first = next(iter(ordered.values()))
            state = states.get(first.model_key, "")
            rows.append(Row(first.model, first.protocol, first.origin, ordered, state, first.options))
    return rows


@dataclass(frozen=True)
class Verdict:
    """What the tables say about a claim of a paper.

    figure: what is claimed, in points or tasks. value: what `origin`'s rows give, None where rows are missing.
    evidence: the rows and numbers behind it. word: confirmed, holds, does not hold, cannot be told.
    """

    claim: str
    text: str
    where: str
    origin: str
    figure: float
    value: float | None
    word: str
    evidence: str

    def line(self) -> str:
        """Return the verdict on one line."""
        return f"claim: {self.text} ({self.where}) {self.origin}: {self.evidence}: {self.word}."


@dataclass(frozen=True, repr=False)
class Leaderboard:
    """A table and what its reader must know.

    tasks: the columns. rows: by number of values, so that complete ones come first, then by average.
    notes: a line each: what the average is over, errors, what was left out, what marks mean.
    groups: tag -> its tasks, for the averages by tag. baselines: names, for the differences. claims: verdicts.
    """

    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    baselines: tuple[str, ...] = ()
    claims: tuple[Verdict, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return every line that stands below the table: notes, then verdicts on claims."""
        return (*self.notes, *(verdict.line() for verdict in self.claims))

    def __repr__(self) -> str:
        from evalsuite.report.formats import to_markdown

        return to_markdown(self).rstrip()

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        from evalsuite.report.formats import to_html_part

        return to_html_part(self)

    @property
    def has_places(self) -> bool:
        """Whether there are rows to tell apart."""
        return any(row.places for row in self.rows)

    def to_frame(self) -> pd.DataFrame:
        """Return the table in percent, NaN where there is no value.

        `average_over` counts the values behind the average, as every `... over` does for the column before it;
        `partial` names the tasks with a partial value. `first_place` and `last_place`: see `Places`. `vs NAME` is a
        difference in points, `tag:TAG` an average.
        """
        import pandas as pd

        means = [f"vs {name}" for name in self.baselines] + [f"tag:{tag}" for tag in self.groups]
        columns = [*LABELS, *self.tasks, "average", "average_over", "partial", "average_rank", "wins", *PLACES, "unit"]
        columns += [name for mean in means for name in (mean, f"{mean} over")]
        frame = pd.DataFrame([self._record(row) for row in self.rows], columns=columns)
        return frame.astype(dict.fromkeys(PLACES, "Int64"))

    def _record(self, row: Row) -> list[Any]:
        values = [100 * row.cells[task].value if task in row.cells else math.nan for task in self.tasks]
        rank = math.nan if row.rank is None else row.rank
        means = [row.differences.get(name) for name in self.baselines] + [row.groups.get(tag) for tag in self.groups]
        pairs = [item for mean in means for item in ((100 * mean.value, mean.over) if mean else (math.nan, 0))]
        places = [row.places.first, row.places.last] if row.places else [None, None]
        summary = [100 * row.average, len(row.cells), " ".join(row.partial_tasks), rank, row.wins, *places, UNIT]
        return [*row.labels, *values, *summary, *pairs]
