"""The tables of the paper by number: 9 (datasets), 10 and 11 (scores), 13 (retrieval), 16 (shift)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tabulate import tabulate

from evalsuite.errors import UsageError
from evalsuite.metrics import RECALLS
from evalsuite.registry import did_you_mean
from evalsuite.report.escaping import markdown_cell, markdown_line, to_csv_text, to_json_text
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.paper.figures import material_of, published_numbers, verdicts
from evalsuite.report.paper.shift import gains, shift_tasks
from evalsuite.report.table import Leaderboard
from evalsuite.results.figures import read_retrieval
from evalsuite.results.library import Library
from evalsuite.results.numbers import Number, Numbers
from evalsuite.results.shift import read_shift_tables
from evalsuite.tasks import TaskIndex
from evalsuite.tasks.spec import TaskSpec

TABLES: Mapping[str, str] = {
    "9": "Datasets: what the paper printed and what the task files have",
    "10": "Linear probes",
    "11": "Zero-shot",
    "13": "Retrieval of captions and images",
    "16": "Accuracy under shift",
}
"""Number -> title."""

PROTOCOL = {"10": "linear_probe", "11": "zero_shot"}

DATASETS = "9"

COLUMNS = (
    "task", "dataset", "classes_printed", "classes", "train_printed", "train", "test_printed", "test", "metric_printed",
    "metric", "differs",
)  # fmt: skip
"""Of table 9. train: with the validation images, which the paper's fit has, too."""


@dataclass(frozen=True)
class DatasetTable:
    """Table 9. rows: by COLUMNS; an empty cell is one that is not known."""

    rows: tuple[Mapping[str, object], ...]
    notes: tuple[str, ...]


def score_table(
    number: str, measured: Sequence[Number], library: Library, *, models: Sequence[str] = (), printed: bool = True
) -> Leaderboard:
    """Return table 10, 11, 13 or 16 as a leaderboard of the paper's rows and those that were measured.

    printed: with the paper's rows. UsageError for another number, and for a model that has none of these scores.
    """
    every = [*measured, *(published_numbers(library) if printed else ())]
    if number in PROTOCOL:
        chosen, tasks = _scores(every, number, library)
        protocols = [PROTOCOL[number]]
    elif number == "13":
        chosen = list(_recalls(every))
        tasks = list(dict.fromkeys(one.task for one in chosen))
        protocols = list(dict.fromkeys(one.protocol for one in chosen))
    elif number == "16":
        chosen, tasks = _shifted(every), list(shift_tasks())
        protocols = list(dict.fromkeys(one.protocol for one in chosen))
    else:
        raise UsageError(
            f"Table {number} is not drawn.{did_you_mean(number, list(TABLES))} There are: {', '.join(TABLES)}."
        )
    there = {one.task for one in chosen}
    if not chosen:
        raise UsageError(
            f"Nothing that was measured belongs into table {number}; --origin both shows the paper's rows."
        )
    board = build_leaderboard(
        Numbers(tuple(chosen)), protocols=protocols, tasks=[task for task in tasks if task in there], models=models,
        claims=number in PROTOCOL, library=library, include_partial=True,
    )  # fmt: skip
    claims = tuple(one for one in board.claims if number in one.where and one.origin == "paper")
    return replace(board, notes=(*board.notes, *_words(number)), claims=claims)


def dataset_table(library: Library) -> DatasetTable:
    """Return table 9 next to what the task files have, and what is known of the differences."""
    index, paper = TaskIndex(), library.papers[0]
    rows = []
    for printed in paper.tasks:
        task = index.load(printed.task)
        here = {
            "classes": len(task.class_list),
            "train": _fitted(task),
            "test": _most(task.sizes.test),
            "metric": task.metric,
        }
        said = {
            "classes": printed.classes,
            "train": printed.train_size,
            "test": printed.test_size,
            "metric": paper.described.datasets.metrics[printed.metric],
        }
        differs = [name for name, value in said.items() if here[name] is not None and here[name] != value]
        cells = {f"{name}_printed": value for name, value in said.items()} | here
        rows.append({"task": printed.task, "dataset": printed.dataset, **cells, "differs": ", ".join(differs)})
    caveats = paper.described.caveats
    notes = [
        f"{row['task']}: {' '.join(caveats[str(row['task'])].split())}"
        for row in rows
        if row["differs"] and row["task"] in caveats
    ]
    return DatasetTable(
        tuple(rows), ("train: with the validation images, on which the fit of the paper is, too.", *notes)
    )


def _datasets_csv(table: DatasetTable, *, raw: bool = False) -> str:
    return to_csv_text(COLUMNS, table.rows, raw)


def _datasets_json(table: DatasetTable) -> str:
    return to_json_text({"rows": table.rows, "notes": table.notes})


def _datasets_text(table: DatasetTable, format_name: str) -> str:
    lines = [["" if row[name] is None else str(row[name]) for name in COLUMNS] for row in table.rows]
    if format_name == "markdown":
        lines = [list(map(markdown_cell, line)) for line in lines]
    alignment = ["right" if "classes" in name or "train" in name or "test" in name else "left" for name in COLUMNS]
    grid = tabulate(
        lines, headers=list(COLUMNS), tablefmt=LAYOUTS[format_name], colalign=alignment, disable_numparse=True
    )
    notes = "\n".join(f"- {markdown_line(note)}" for note in table.notes)
    return f"{grid}\n\n{notes}\n" if format_name in ("markdown", "terminal") else f"{grid}\n"


LAYOUTS = {"markdown": "github", "terminal": "simple", "latex": "latex_booktabs", "html": "html"}
"""Format -> what tabulate calls it."""

DATASET_FORMATS: Mapping[str, Callable[..., str]] = {
    **{name: partial(_datasets_text, format_name=name) for name in LAYOUTS}, "csv": _datasets_csv,
    "json": _datasets_json,
}  # fmt: skip
"""Format of a leaderboard -> what writes table 9 in it."""


def _scores(numbers: Sequence[Number], number: str, library: Library) -> tuple[list[Number], list[str]]:
    tasks = [task.task for task in library.papers[0].tasks]
    protocol, shifts = PROTOCOL[number], {table.name for table in read_shift_tables()}
    chosen = [
        one for one in numbers if one.protocol == protocol and one.task in tasks and one.origin.table not in shifts
    ]
    return chosen, tasks


def _recalls(numbers: Sequence[Number]) -> Iterator[Number]:
    """Yield the recalls as numbers of columns of their own: those of papers, and those in records."""
    for number in numbers:
        if number.protocol == "retrieval" or number.origin.table == read_retrieval().name:
            for one in (number, *number.further()):
                if one.metric in RECALLS:
                    side, _, k = one.metric.partition("_recall_at_")
                    yield replace(one, task=f"{one.task} {side} R@{k}", is_main=True)


def _shifted(numbers: Sequence[Number]) -> list[Number]:
    """Return what belongs into table 16: the rows that have an accuracy under shift."""
    tables, tasks = {table.name for table in read_shift_tables()}, shift_tasks()
    known = [one for one in numbers if one.task in tasks and (one.is_measured or one.origin.table in tables)]
    under_shift = {one.row for one in known if one.task != tasks[0]}
    return [one for one in known if one.row in under_shift]


def _words(number: str) -> list[str]:
    """Say what the paper's text and its own numbers make of each other."""
    if number == "13":
        return [" ".join(caveat.split()) for caveat in read_retrieval().caveats]
    if number == "16":
        shipped = material_of(one for table in read_shift_tables() for one in table.numbers())
        caveats = [" ".join(caveat.split()) for table in read_shift_tables() for caveat in table.caveats]
        return [*verdicts("table 16", gains(shipped.rows)), *caveats]
    return []


def _fitted(task: TaskSpec) -> int | None:
    """Return the images that a probe is fitted on in the end; None where the task file does not know."""
    sizes = task.sizes
    if sizes.train is None:
        return None
    return (_most(sizes.train) or 0) + (0 if task.refit == "train" else _most(sizes.val) or 0)


def _most(size: int | list[int] | None) -> int | None:
    """Return the size of the first fold."""
    return size[0] if isinstance(size, list) else size
