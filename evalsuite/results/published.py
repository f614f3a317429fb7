"""Read the tables of papers that ship with the project: results/published/*.yaml and the CSVs they name.

Every file is checked when it is read, so that a shifted column or a lost row is an error and not a number.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from evalsuite.errors import SpecError
from evalsuite.reading import parse_csv, read_bytes, read_text
from evalsuite.records import Strict, first_problem
from evalsuite.resources import data_dir
from evalsuite.results.claims import Claim
from evalsuite.results.numbers import Number, Origin
from evalsuite.text import counted, shortened
from evalsuite.yaml_loading import MOST_BYTES, parse_yaml

_SLUG = re.compile(r"[a-z0-9.-]+/[a-z0-9.-]+")

_DIGEST = re.compile(r"^digest: ([0-9a-f]{64})\n?\Z", re.MULTILINE)

_ROW_COLUMNS = ["slug", "family", "model"]


Described = TypeVar("Described", bound=BaseModel)


class PublishedRow(Strict):
    """A line of a table: the scores of one model, task -> fraction in [0, 1]."""

    slug: str
    family: str
    model: str
    scores: dict[str, Annotated[float, Field(ge=0, le=1)]]


class PublishedTask(Strict):
    """A row of a paper's table of datasets, its errors included."""

    task: str
    dataset: str
    classes: int = Field(gt=0)
    train_size: int = Field(gt=0)
    test_size: int = Field(gt=0)
    metric: str


_SHA256 = Field(pattern="^[0-9a-f]{64}$", description="of the file, its lines ended as Unix does")


class DatasetsFile(Strict):
    """The file with the tasks of a set, in the order of its columns."""

    file: str
    sha256: str = _SHA256
    table: int
    metrics: dict[str, str] = Field(description="a metric as the paper calls it -> its name in this project")


class TableFile(Strict):
    """A file with the scores of one protocol."""

    protocol: str
    file: str
    sha256: str = _SHA256
    table: int
    rows: int = Field(gt=0, description="rows the file must have")
    logit_scale: float | None = Field(
        default=None, gt=0, description="what cosines of image and text are multiplied by"
    )
    description: str


class PublishedSet(Strict):
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


@dataclass(frozen=True)
class Paper:
    """A set with its tasks, in the order of its tables, and every number it printed."""

    described: PublishedSet
    tasks: tuple[PublishedTask, ...]
    numbers: tuple[Number, ...]


def read_papers(folder: Path | None = None) -> tuple[Paper, ...]:
    """Read every set in `folder` (default: those that ship), each file once; SpecError names what is wrong in one."""
    root = folder or data_dir("results/published")
    papers: dict[str, Paper] = {}
    for path in sorted(root.glob("*.yaml")):
        described, changed = _read(path, PublishedSet)
        if described.name in papers:
            raise SpecError(f"{path}: the set {described.name!r} is described twice.")
        papers[described.name] = _read_paper(described, root)
        if changed:
            raise SpecError(changed)
    return tuple(papers.values())


def read_description(path: Path, schema: type[Described]) -> Described:
    """Read a YAML file that describes tables; SpecError names the file and the key that is wrong.

    Its last line is `digest:` with the sha256 of all before it: a changed digit looks like any other.
    """
    described, changed = _read(path, schema)
    if changed:
        raise SpecError(changed)
    return described


def _read(path: Path, schema: type[Described]) -> tuple[Described, str]:
    """Return what a YAML file describes, and what to know where it is not what was checked."""
    text = read_text(path, most=MOST_BYTES)
    found = _DIGEST.search(text)
    body = text[: found.start()] if found else text
    try:
        described = schema.model_validate(parse_yaml(body, path)[0])
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error)}") from error
    digest = hashlib.sha256(body.encode()).hexdigest()
    if found and found[1] == digest:
        return described, ""
    return described, (
        f"{path} is not the file that was checked. Restore it, as by installing evalsuite again; if you have corrected "
        f"it, make its last line\ndigest: {digest}"
    )


def _read_paper(described: PublishedSet, root: Path) -> Paper:
    files: list[DatasetsFile | TableFile] = [described.datasets, *described.tables]
    contents = {item.file: read_bytes(root / item.file) for item in files}
    tasks = _read_tasks(described, root, contents)
    unknown = sorted(set(described.caveats) - {task.task for task in tasks})
    if unknown:
        raise SpecError(f"The set {described.name!r} has caveats for tasks it does not list: {', '.join(unknown)}.")
    numbers = [
        number
        for table in described.tables
        for number in _read_table(described, table, tasks, root / table.file, contents[table.file])
    ]
    for item in files:
        _check_digest(root / item.file, contents[item.file], item.sha256)
    return Paper(described, tuple(tasks), tuple(numbers))


def _check_digest(path: Path, content: bytes, expected: str) -> None:
    """Raise SpecError where a file is not the one that its set describes: a changed digit looks like any other."""
    found = hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
    if found != expected:
        raise SpecError(
            f"{path} is not the file that was checked: its sha256 is {found}, not {expected}. Restore it, as by "
            "installing evalsuite again; if you have corrected it, write its sha256 into the YAML file of the set."
        )


def _read_tasks(described: PublishedSet, root: Path, contents: Mapping[str, bytes]) -> list[PublishedTask]:
    path = root / described.datasets.file
    header, lines = parse_csv(contents[described.datasets.file], path)
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
    described: PublishedSet, table: TableFile, tasks: Sequence[PublishedTask], path: Path, content: bytes
) -> Iterator[Number]:
    header, lines = parse_csv(content, path)
    if header != [*_ROW_COLUMNS, *(task.task for task in tasks)]:
        raise SpecError(
            f"{path}: the columns must be {', '.join(_ROW_COLUMNS)} and then the {counted(len(tasks), 'task')} of "
            f"{described.datasets.file}, in its order."
        )
    rows = [_parse_row(path, number, header, cells) for number, cells in lines]
    _check_unique(path, [row.slug for row in rows])
    if len(rows) != table.rows:
        raise SpecError(f"{path}: {counted(len(rows), 'row')} where {table.rows} are expected.")
    for row in rows:
        for task in tasks:
            yield Number(
                model=row.slug,
                name=row.model,
                protocol=table.protocol,
                task=task.task,
                metric=described.datasets.metrics[task.metric],
                value=row.scores[task.task],
                n=task.test_size,
                origin=Origin("published", described.name, described.origin),
                logit_scale=table.logit_scale,
                caveat=described.caveats.get(task.task, ""),
                source=f"{described.citation}, table {table.table}",
            )


def _parse_row(path: Path, number: int, header: list[str], cells: list[str]) -> PublishedRow:
    named: dict[str, Any] = dict(zip(header, cells, strict=True))
    identity = {column: named.pop(column) for column in _ROW_COLUMNS}
    if not _SLUG.fullmatch(identity["slug"]):
        raise SpecError(f"{path}, line {number}: the slug {identity['slug']!r} is not <family>/<model> in lower case.")
    try:
        scores = {task: float(percent) / 100 for task, percent in named.items()}
        return PublishedRow(**identity, scores=scores)
    except ValidationError as error:
        raise SpecError(f"{path}, line {number}: {first_problem(error)}") from error
    except ValueError as error:
        raise SpecError(f"{path}, line {number}: a score is not a number ({error}).") from error


def _check_unique(path: Path, names: list[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise SpecError(f"{path}: listed twice: {shortened(twice)}.")
