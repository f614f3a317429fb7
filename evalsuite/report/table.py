"""The leaderboard as data: cells, rows, and what its reader must know. Values are in percent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from evalsuite.records import Result


@dataclass(frozen=True)
class Cell:
    """A value in percent; partial: it was computed from a part of the samples.

    n: test samples, or None where nobody said. low, high: the bounds of the value's interval where it is stored,
    in percent; without them the interval follows from `n`. result: the record of a measured value.
    """

    value: float
    partial: bool = False
    n: int | None = None
    low: float | None = None
    high: float | None = None
    result: Result | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Mean:
    """An unweighted mean over `over` of the `of` tasks it should cover; less than all must be marked."""

    value: float
    over: int
    of: int

    @classmethod
    def of_values(cls, values: Sequence[float], of: int) -> Mean:
        """Return the mean of `values`, at least one."""
        return cls(math.fsum(values) / len(values), len(values), of)

    @property
    def mark(self) -> str:
        """Return ' (k/n)' where tasks are missing, else nothing."""
        return f" ({self.over}/{self.of})" if self.over < self.of else ""


@dataclass(frozen=True)
class Row:
    """The values of one model under one protocol. A task that is not in `cells` has no value.

    best: tasks on which the value is the best or inside its interval. rank: mean rank over the tasks; None where
    a value is missing. groups: tag -> mean over its tasks. differences: baseline -> this row minus it, in points.
    """

    model: str
    protocol: str
    origin: str
    cells: Mapping[str, Cell]
    best: frozenset[str] = frozenset()
    rank: float | None = None
    groups: Mapping[str, Mean] = field(default_factory=dict)
    differences: Mapping[str, Mean] = field(default_factory=dict)

    @property
    def average(self) -> float:
        """Return the unweighted mean of the row's values, in percent."""
        return math.fsum(cell.value for cell in self.cells.values()) / len(self.cells)

    @property
    def wins(self) -> int:
        """Return the number of tasks on which the row is the best or inside the best score's interval."""
        return len(self.best)

    @property
    def partial_tasks(self) -> list[str]:
        """Return the tasks whose value was computed from a part of the samples."""
        return [task for task, cell in self.cells.items() if cell.partial]


@dataclass(frozen=True)
class Verdict:
    """What the tables say about a claim of a paper.

    figure: what is claimed. value: what `origin`'s rows give, None where rows are missing. evidence: the rows and
    numbers behind it. word: confirmed, holds, does not hold, cannot be told.
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


@dataclass(frozen=True)
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

    def to_frame(self) -> pd.DataFrame:
        """Return the table in percent, NaN where there is no value.

        `average_over` counts the values behind the average, as every `... over` does for the column before it;
        `partial` names the tasks with a partial value. `vs NAME` is a difference in points, `tag:TAG` an average.
        """
        import pandas as pd

        columns = ["model", "protocol", "origin", *self.tasks, "average", "average_over", "partial"]
        columns += ["average_rank", "wins"]
        columns += [name for baseline in self.baselines for name in (f"vs {baseline}", f"vs {baseline} over")]
        columns += [name for tag in self.groups for name in (f"tag:{tag}", f"tag:{tag} over")]
        return pd.DataFrame([self._record(row) for row in self.rows], columns=columns)

    def _record(self, row: Row) -> list[Any]:
        values = [row.cells[task].value if task in row.cells else math.nan for task in self.tasks]
        partial = " ".join(row.partial_tasks)
        rank = math.nan if row.rank is None else row.rank
        means = [row.differences.get(name) for name in self.baselines] + [row.groups.get(tag) for tag in self.groups]
        pairs = [item for mean in means for item in ((mean.value, mean.over) if mean else (math.nan, 0))]
        named = [row.model, row.protocol, row.origin]
        return [*named, *values, row.average, len(row.cells), partial, rank, row.wins, *pairs]
