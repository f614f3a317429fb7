"""Read the tables of papers that ship with the project: results/published/*.yaml and the CSVs they name.

Every file is checked when it is read, so that a shifted column or a lost row is an error and not a number.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalsuite.errors import SpecError, UsageError
from evalsuite.registry import did_you_mean
from evalsuite.resources import data_dir
from evalsuite.results.claims import Claim

ALL = "all"
"""The name that stands for every published row."""

_ROW_COLUMNS = ["slug", "family", "model"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class PublishedRow(_Strict):
    """The scores of one model under one protocol, as a paper printed them.

    scores: task -> fraction in [0, 1]. test_sizes: task -> test samples, as the paper printed them.
    """

    slug: str = Field(pattern=r"^[a-z0-9.-]+/[a-z0-9.-]+$")
    family: str
    model: str
    protocol: str
    origin: str
    set_name: str
    source: str = Field(description="paper, address and table, for a note under a leaderboard")
    scores: dict[str, Annotated[float, Field(ge=0, le=1)]]
    test_sizes: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)


class PublishedTask(_Strict):
    """A row of a paper's table of datasets, its errors included."""

    task: str
    dataset: str
    classes: int = Field(gt=0)
    train_size: int = Field(gt=0)
    test_size: int = Field(gt=0)
    metric: str


class DatasetsFile(_Strict):
    """The file with the tasks of a set, in the order of its columns."""

    file: str
    table: int


class TableFile(_Strict):
    """A file with the scores of one protocol."""

    protocol: str
    file: str
    table: int
    rows: int = Field(gt=0, description="rows the file must have")
    description: str


class PublishedSet(_Strict):
    """The tables of one paper: where they come from and what is known to be wrong in them."""

    name: str
    origin: str = Field(description="label of the rows in a leaderboard")
    title: str
    authors: str
    citation: str
    year: int
    url: str
    units: Literal["percent"]
    datasets: DatasetsFile
    tables: tuple[TableFile, ...]
    caveats: dict[str, str] = Field(default_factory=dict, description="task -> what to know before comparing")
    claims: tuple[Claim, ...] = Field(default=(), description="headline claims over all tasks of the set")


def published_sets(folder: Path | None = None) -> dict[str, PublishedSet]:
    """Return the description of every set in `folder` (default: those that ship), by name."""
    sets: dict[str, PublishedSet] = {}
    for path in sorted((folder or data_dir("results/published")).glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            described = PublishedSet.model_validate(content)
        except ValidationError as error:
            raise SpecError(f"{path}: {_first_problem(error)}") from error
        if described.name in sets:
            raise SpecError(f"{path}: the set {described.name!r} is described twice.")
        sets[described.name] = described
    return sets


def load_published_tasks(name: str, folder: Path | None = None) -> list[PublishedTask]:
    """Return the tasks of the set `name` in the order of its tables, with the sizes the paper printed."""
    sets = published_sets(folder)
    if name not in sets:
        raise UsageError(f"Unknown set of published results {name!r}.{did_you_mean(name, sets)}")
    return _read_tasks(sets[name], folder or data_dir("results/published"))


def load_published(names: Sequence[str] = (ALL,), folder: Path | None = None) -> list[PublishedRow]:
    """Return the published rows that `names` select, in the order of the tables.

    names: "all", the name of a set ("clip-paper"), a family ("resnet"), a slug or a pattern of slugs
    ("bit-m/*"), or a model as the paper writes it ("ViT-B/32"). A name that selects nothing is a UsageError.
    """
    sets = published_sets(folder)
    root = folder or data_dir("results/published")
    rows = [row for described in sets.values() for row in _read_set(described, root)]
    chosen: set[int] = set()
    for name in names:
        found = {index for index, row in enumerate(rows) if _is_named(row, name)}
        if not found:
            known = [ALL, *sets, *dict.fromkeys(row.slug for row in rows)]
            raise UsageError(
                f"No published result is called {name!r}.{did_you_mean(name, known)} "
                f"Use {ALL}, {', '.join(sets)}, a row such as resnet/50, or a pattern such as 'bit-m/*'."
            )
        chosen |= found
    return [row for index, row in enumerate(rows) if index in chosen]


def _is_named(row: PublishedRow, name: str) -> bool:
    folded = name.casefold()
    names = (ALL, row.set_name, row.slug, row.slug.partition("/")[0], row.model.casefold())
    return folded in names or fnmatchcase(row.slug, folded)


def _read_set(described: PublishedSet, root: Path) -> list[PublishedRow]:
    tasks = {task.task: task.test_size for task in _read_tasks(described, root)}
    unknown = sorted(set(described.caveats) - set(tasks))
    if unknown:
        raise SpecError(f"The set {described.name!r} has caveats for tasks it does not list: {', '.join(unknown)}.")
    rows: list[PublishedRow] = []
    for table in described.tables:
        rows += _read_table(described, table, tasks, root / table.file)
    return rows


def _read_tasks(described: PublishedSet, root: Path) -> list[PublishedTask]:
    path = root / described.datasets.file
    header, lines = _read_csv(path)
    tasks: list[PublishedTask] = []
    for number, cells in lines:
        try:
            tasks.append(PublishedTask.model_validate(dict(zip(header, cells, strict=True))))
        except ValidationError as error:
            raise SpecError(f"{path}, line {number}: {_first_problem(error)}") from error
    _check_unique(path, [task.task for task in tasks])
    return tasks


def _read_table(described: PublishedSet, table: TableFile, tasks: dict[str, int], path: Path) -> list[PublishedRow]:
    header, lines = _read_csv(path)
    if header != [*_ROW_COLUMNS, *tasks]:
        raise SpecError(
            f"{path}: the columns must be {', '.join(_ROW_COLUMNS)} and then the {len(tasks)} tasks of "
            f"{described.datasets.file}, in its order."
        )
    rows = [_parse_row(path, number, header, cells, described, table, tasks) for number, cells in lines]
    _check_unique(path, [row.slug for row in rows])
    if len(rows) != table.rows:
        raise SpecError(f"{path}: {len(rows)} rows where {table.rows} are expected.")
    return rows


def _parse_row(
    path: Path,
    number: int,
    header: list[str],
    cells: list[str],
    described: PublishedSet,
    table: TableFile,
    test_sizes: dict[str, int],
) -> PublishedRow:
    named: dict[str, Any] = dict(zip(header, cells, strict=True))
    identity = {column: named.pop(column) for column in _ROW_COLUMNS}
    try:
        return PublishedRow(
            **identity,
            protocol=table.protocol,
            origin=described.origin,
            set_name=described.name,
            source=f"{described.citation}, table {table.table}",
            scores={task: float(percent) / 100 for task, percent in named.items()},
            test_sizes=test_sizes,
        )
    except ValidationError as error:
        raise SpecError(f"{path}, line {number}: {_first_problem(error)}") from error
    except ValueError as error:
        raise SpecError(f"{path}, line {number}: a score is not a number ({error}).") from error


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the numbered lines of a CSV file, all of the header's length."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            lines = [(reader.line_num, cells) for cells in reader]
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}.") from error
    for number, cells in lines:
        if len(cells) != len(header):
            raise SpecError(f"{path}, line {number}: {len(cells)} cells where the header has {len(header)}.")
    return header, lines


def _check_unique(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"{path}: listed twice: {', '.join(twice)}.")


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
