"""Read the tables of papers that ship with the project: results/published/*.yaml and the CSVs they name.

Every file is checked when it is read, so that a shifted column or a lost row is an error and not a number.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalsuite.errors import SpecError, UsageError
from evalsuite.registry import did_you_mean
from evalsuite.resources import data_dir
from evalsuite.results.claims import Claim

ALL = "all"
"""The name that stands for every published row."""

_SLUG = re.compile(r"[a-z0-9.-]+/[a-z0-9.-]+")
"""How the slugs of shipped tables are written; those of imported ones are slugs of models and may have underscores."""

_ROW_COLUMNS = ["slug", "family", "model"]


Described = TypeVar("Described", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class PublishedRow(_Strict):
    """The scores of one model under one protocol, as a paper printed them.

    scores: task -> fraction in [0, 1]. metrics: task -> name of its metric in this project. test_sizes: task -> test
    samples, as the paper printed them. caveats: task -> what to know before comparing. imported: the row is not a
    paper's table that ships, but somebody's results read by `evalsuite import`.
    """

    slug: str = Field(pattern=r"^[a-z0-9._-]+/[a-z0-9._-]+$")
    family: str
    model: str
    protocol: str
    origin: str
    set_name: str
    source: str = Field(description="paper, address and table, for a note under a leaderboard")
    scores: dict[str, Annotated[float, Field(ge=0, le=1)]]
    metrics: dict[str, str] = Field(default_factory=dict)
    test_sizes: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    caveats: dict[str, str] = Field(default_factory=dict)
    imported: bool = False


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
    metrics: dict[str, str] = Field(description="a metric as the paper calls it -> its name in this project")


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
        described = read_description(path, PublishedSet)
        if described.name in sets:
            raise SpecError(f"{path}: the set {described.name!r} is described twice.")
        sets[described.name] = described
    return sets


def read_description(path: Path, schema: type[Described]) -> Described:
    """Read a YAML file that describes tables; SpecError names the file and the key that is wrong."""
    try:
        return schema.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error)}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


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
    root = folder or data_dir("results/published")
    rows = [row for described in published_sets(folder).values() for row in _read_set(described, root)]
    return choose_rows(rows, names)


def choose_rows(rows: Sequence[PublishedRow], names: Sequence[str]) -> list[PublishedRow]:
    """Return those of `rows` that one of `names` stands for, see load_published; UsageError where one has none."""
    chosen: set[int] = set()
    for name in names:
        found = {index for index, row in enumerate(rows) if _is_named(row, name)}
        if not found:
            sets = dict.fromkeys(row.set_name for row in rows)
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
    tasks = {task.task: task for task in _read_tasks(described, root)}
    unknown = sorted(set(described.caveats) - set(tasks))
    if unknown:
        raise SpecError(f"The set {described.name!r} has caveats for tasks it does not list: {', '.join(unknown)}.")
    rows: list[PublishedRow] = []
    for table in described.tables:
        rows += _read_table(described, table, tasks, root / table.file)
    return rows


def _read_tasks(described: PublishedSet, root: Path) -> list[PublishedTask]:
    path = root / described.datasets.file
    header, lines = read_csv(path)
    tasks: list[PublishedTask] = []
    for number, cells in lines:
        try:
            tasks.append(PublishedTask.model_validate(dict(zip(header, cells, strict=True))))
        except ValidationError as error:
            raise SpecError(f"{path}, line {number}: {first_problem(error)}") from error
    _check_unique(path, [task.task for task in tasks])
    unknown = sorted({task.metric for task in tasks} - set(described.datasets.metrics))
    if unknown:
        raise SpecError(f"The set {described.name!r} does not say which metric of this project is {unknown[0]!r}.")
    return tasks


def _read_table(
    described: PublishedSet, table: TableFile, tasks: dict[str, PublishedTask], path: Path
) -> list[PublishedRow]:
    header, lines = read_csv(path)
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
    tasks: dict[str, PublishedTask],
) -> PublishedRow:
    named: dict[str, Any] = dict(zip(header, cells, strict=True))
    identity = {column: named.pop(column) for column in _ROW_COLUMNS}
    if not _SLUG.fullmatch(identity["slug"]):
        raise SpecError(f"{path}, line {number}: the slug {identity['slug']!r} is not <family>/<model> in lower case.")
    try:
        return PublishedRow(
            **identity,
            protocol=table.protocol,
            origin=described.origin,
            set_name=described.name,
            source=f"{described.citation}, table {table.table}",
            scores={task: float(percent) / 100 for task, percent in named.items()},
            metrics={task: described.datasets.metrics[row.metric] for task, row in tasks.items()},
            test_sizes={task: row.test_size for task, row in tasks.items()},
            caveats=described.caveats,
        )
    except ValidationError as error:
        raise SpecError(f"{path}, line {number}: {first_problem(error)}") from error
    except ValueError as error:
        raise SpecError(f"{path}, line {number}: a score is not a number ({error}).") from error


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the numbered lines of a CSV file, all of the header's length.

    Raises SpecError that names the file and the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            lines = [(reader.line_num, cells) for cells in reader]
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"{path} is not a CSV file in UTF-8 ({error}).") from error
    for number, cells in lines:
        if len(cells) != len(header):
            raise SpecError(f"{path}, line {number}: {len(cells)} cells where the header has {len(header)}.")
    return header, lines


def _check_unique(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"{path}: listed twice: {', '.join(twice)}.")


def first_problem(error: ValidationError) -> str:
    """Return where the first error is and what it is, on one line."""
    first = error.errors()[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
