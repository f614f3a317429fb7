"""Published accuracies under shift: results/published/shift/*.yaml, for `evalsuite.report.robustness`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalsuite.records import Strict
from evalsuite.resources import data_dir
from evalsuite.results.numbers import Number, Origin
from evalsuite.results.published import read_description


class ShiftRow(Strict):
    """The accuracies of one model, in the order of the tasks. baseline: it was trained on the labels of ImageNet."""

    slug: str
    model: str
    protocol: str
    where: str = Field(description="table or figure")
    baseline: bool = False
    scores: list[Annotated[float, Field(ge=0, le=100)]]


class ShiftTable(Strict):
    """The rows of one paper."""

    name: str
    origin: str
    citation: str
    units: Literal["percent"]
    tasks: list[str]
    rows: list[ShiftRow]
    caveats: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_a_score_for_each_task(self) -> ShiftTable:
        if any(len(row.scores) != len(self.tasks) for row in self.rows):
            raise ValueError(f"each row needs {len(self.tasks)} scores, one for each task")
        return self

    def numbers(self, *, baselines: bool = False) -> Iterator[Number]:
        """Yield the numbers of all rows, or of the baselines alone."""
        for row in self.rows:
            if row.baseline or not baselines:
                for task, score in zip(self.tasks, row.scores, strict=True):
                    yield Number(
                        model=row.slug,
                        name=row.model,
                        protocol=row.protocol,
                        task=task,
                        metric="accuracy",
                        value=score / 100,
                        origin=Origin("published", self.name, self.origin),
                        source=f"{self.citation}, {row.where}",
                    )


def read_shift_tables(folder: Path | None = None) -> tuple[ShiftTable, ...]:
    """Read the tables in `folder` (default: those that ship); SpecError names what is wrong in one."""
    paths = sorted((folder or data_dir("results/published") / "shift").glob("*.yaml"))
    return tuple(read_description(path, ShiftTable) for path in paths)
