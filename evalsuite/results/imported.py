"""Other people's results, read once by `evalsuite import` and kept as one JSON file per table.

    <home>/imported/<name>.json

They stand next to published rows in a leaderboard, never among what was measured here: their origin is
`imported:<name>`. Every file is checked when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from evalsuite import config
from evalsuite.errors import SpecError, UsageError
from evalsuite.listing import matching
from evalsuite.reading import read_bytes
from evalsuite.records import Strict, first_problem
from evalsuite.results.numbers import Number, Origin
from evalsuite.seals import BROKEN, unseal, write_sealed

_NAME = r"^[a-z0-9][a-z0-9._-]*$"


class ImportedTask(Strict):
    """What is known of the numbers of one task: test samples, and how they differ from the task's own."""

    metric: str
    test_size: int | None = Field(default=None, gt=0)
    caveat: str | None = None


class ImportedRow(Strict):
    """The scores of one model under one protocol: task -> fraction in [0, 1]."""

    slug: str = Field(pattern=r"^[a-z0-9._-]+/[a-z0-9._-]+$")
    model: str = Field(description="as it was written, architecture and weights")
    protocol: str
    scores: dict[str, Annotated[float, Field(ge=0, le=1)]]


class ImportedTable(Strict):
    """One import: what it was read from, and its rows."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=_NAME)
    layout: str
    title: str
    url: str
    created: datetime
    files: dict[str, str] = Field(description="file -> sha256")
    notes: dict[str, str] = Field(description="protocol -> what to know about its numbers")
    tasks: dict[str, ImportedTask]
    rows: tuple[ImportedRow, ...]

    @model_validator(mode="after")
    def _knows_its_tasks_and_protocols(self) -> ImportedTable:
        unknown = {task for row in self.rows for task in row.scores} - set(self.tasks)
        if unknown:
            raise ValueError(f"rows have scores for {', '.join(sorted(unknown))}, of which `tasks` says nothing")
        unlabelled = {row.protocol for row in self.rows} - set(self.notes)
        if unlabelled:
            raise ValueError(f"rows are of {', '.join(sorted(unlabelled))}, of which `notes` says nothing")
        return self

    def numbers(self) -> Iterator[Number]:
        """Yield every number of the table."""
        origin = Origin("imported", self.name, f"imported:{self.name}")
        for row in self.rows:
            for task, value in row.scores.items():
                known = self.tasks[task]
                yield Number(
                    model=row.slug,
                    name=row.model,
                    protocol=row.protocol,
                    task=task,
                    metric=known.metric,
                    value=value,
                    n=known.test_size,
                    origin=origin,
                    caveat=known.caveat or "",
                    source=f"{self.title} ({self.url}), {row.protocol}: {self.notes[row.protocol]}",
                )


def check_name(name: str, taken: Collection[str]) -> None:
    """Raise UsageError where `name` cannot name an import: a file is called so, and nothing in `taken` may be."""
    if not re.match(_NAME, name) or name in taken:
        raise UsageError(
            f"--name {name!r}: give lower case letters, digits, '.', '_' and '-', and no name of a published set "
            f"({', '.join(taken)})."
        )


def store_imported(table: ImportedTable) -> Path:
    """Write `table` in one step, in place of an earlier import of its name, and return the file."""
    path = config.imported_dir() / f"{table.name}.json"
    try:
        write_sealed(path, table.model_dump(mode="json"))
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror or error}. EVALSUITE_HOME names its folder.") from error
    return path


def read_imported() -> tuple[Number, ...]:
    """Return the numbers of every import, by its name; SpecError names the file, row and task that is wrong."""
    numbers: list[Number] = []
    for path in matching(config.imported_dir(), "[!.]*.json"):
        try:
            content, fits = unseal(read_bytes(path))
            table = ImportedTable.model_validate_json(content)
        except ValidationError as error:
            raise SpecError(f"{path}: {first_problem(error)}. Import it again, or remove the file.") from error
        if table.name != path.stem:
            raise SpecError(f"{path}: it says that its name is {table.name!r}. Import it again, or remove the file.")
        if not fits:
            raise SpecError(f"{path}: {BROKEN}. Import it again, or remove the file.")
        numbers += table.numbers()
    return tuple(numbers)
