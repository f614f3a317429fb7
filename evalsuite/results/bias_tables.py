"""What a paper printed of bias on faces: results/published/bias/*.yaml, for `evalsuite.report.bias`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from evalsuite.records import Strict
from evalsuite.resources import data_dir
from evalsuite.results.published import read_description


class PrintedRow(Strict):
    """A row of a table: what it is of, and a number for each column that has one."""

    table: str
    what: str
    values: dict[str, Annotated[float, Field(ge=0, le=100)]]


class BiasPaper(Strict):
    """The tables of one paper, and the tasks that they are measured on here.

    task: that of the protocol `bias`; sets: name of a label set -> the task that classifies by it; reference: the race
    that is set against all others.
    """

    name: str
    origin: str
    citation: str
    model: str
    units: Literal["percent"]
    task: str
    sets: dict[str, str]
    reference: str
    rows: list[PrintedRow]

    @property
    def tasks(self) -> list[str]:
        """The tasks that its tables need."""
        return [self.task, *self.sets.values()]

    def printed(self, table: str) -> Mapping[str, Mapping[str, float]]:
        """Return the rows of a table: what each is of -> column -> a fraction."""
        return {
            row.what: {column: value / 100 for column, value in row.values.items()}
            for row in self.rows
            if row.table == table
        }


def read_bias_paper(folder: Path | None = None) -> BiasPaper:
    """Read the tables of the CLIP paper; SpecError names what is wrong in them."""
    return read_description((folder or data_dir("results/published") / "bias") / "clip_paper.yaml", BiasPaper)
