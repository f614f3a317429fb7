"""How other projects write their results: data in results/published/layouts/*.yaml, and readers for their files.

A layout says which task of this project a dataset there is, and in which metric it is scored. The readers know the
shape of a file alone: they name no dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from evalsuite.errors import SpecError
from evalsuite.reading import read_csv, read_json
from evalsuite.records import Strict, first_problem
from evalsuite.resources import data_dir
from evalsuite.results.published import read_description

COLUMN_SCORE = "score"
"""The name a number gets where a column holds it and the layout alone says its metric."""


class ForeignDataset(Strict):
    """What a dataset of another project is here."""

    names: tuple[str, ...] = Field(min_length=1, description="what it is called there")
    metric: str | None = Field(default=None, description="metric of its column, if a file has one number per dataset")
    test_size: int | None = Field(default=None, gt=0, description="test samples there")
    caveat: str | None = Field(default=None, description="how they differ from those of the task here")


class Layout(Strict):
    """How to read the results of another project."""

    name: str
    title: str
    url: str
    dataset_prefix: str = Field(default="", description="left off before the name of a dataset is looked up")
    protocols: dict[str, str] = Field(description="what an evaluation is called there -> protocol label here")
    notes: dict[str, str] = Field(description="protocol label -> what to know about its numbers")
    metrics: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="metric here -> its names there")
    ignored_columns: tuple[str, ...] = Field(default=(), description="patterns of columns that are no dataset")
    datasets: dict[str, ForeignDataset] = Field(description="task here -> dataset there")

    @model_validator(mode="after")
    def _says_what_its_protocols_are(self) -> Layout:
        silent = sorted(set(self.protocols.values()) - set(self.notes))
        if silent:
            raise ValueError(f"`notes` says nothing of the protocol {silent[0]!r}")
        return self

    def task_of(self, dataset: str) -> str | None:
        """Return the task that `dataset` is here, None where there is none."""
        name = dataset.removeprefix(self.dataset_prefix)
        return next((task for task, known in self.datasets.items() if name in known.names), None)


@dataclass(frozen=True)
class ForeignNumbers:
    """What a file says of one model on one dataset.

    values: name of the metric there -> the value as it is written. place: the file, and the line or key.
    """

    place: str
    model: str
    pretrained: str
    dataset: str
    evaluation: str
    values: Mapping[str, Any]
    language: str = "en"


def load_layouts() -> dict[str, Layout]:
    """Return every layout by name."""
    paths = sorted((data_dir("results/published") / "layouts").glob("*.yaml"))
    return {layout.name: layout for layout in (read_description(path, Layout) for path in paths)}


def read_foreign(path: Path) -> tuple[str, list[ForeignNumbers]]:
    """Read results of another project; return the name of their layout and what they say.

    Raises SpecError for a file of no known layout, or that breaks its layout.
    """
    if path.suffix.lower() == ".json":
        return "clip-benchmark", [_read_evaluation(path)]
    header, lines = read_csv(path) if path.suffix.lower() == ".csv" else ([], [])
    if {"name", "pretrained"} <= set(header):
        return "open-clip", list(_read_wide(path, header, lines))
    if {"dataset", "model", "pretrained", "task"} <= set(header):
        return "clip-benchmark", list(_read_long(path, header, lines))
    raise SpecError(
        f"{path} has no known layout. It must be the .json of a CLIP_benchmark evaluation, or a .csv whose first line "
        "has the columns name and pretrained (open_clip), or dataset, model, pretrained and task (CLIP_benchmark)."
    )


class _Evaluation(BaseModel):
    """The JSON file that one evaluation of CLIP_benchmark leaves; other keys do not matter."""

    dataset: str
    model: str
    pretrained: str | None = None
    task: str
    metrics: dict[str, Any]
    language: str = "en"


def _read_evaluation(path: Path) -> ForeignNumbers:
    content = read_json(path)
    if isinstance(content, dict) and "schema_version" in content and "fingerprint" in content:
        raise SpecError(f"{path} is a result of evalsuite: `evalsuite leaderboard --output FOLDER` reads it as it is.")
    try:
        found = _Evaluation.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{path} is not the JSON of a CLIP_benchmark evaluation: {first_problem(error)}.") from error
    return ForeignNumbers(
        str(path), found.model, found.pretrained or "", found.dataset, found.task, found.metrics, found.language
    )


def _read_long(path: Path, header: list[str], lines: list[tuple[int, list[str]]]) -> Iterator[ForeignNumbers]:
    for number, cells in lines:
        row = dict(zip(header, cells, strict=True))
        yield ForeignNumbers(
            f"{path}, line {number}",
            row["model"],
            row["pretrained"],
            row["dataset"],
            row["task"],
            {name: value for name, value in row.items() if value},
            row.get("language") or "en",
        )


def _read_wide(path: Path, header: list[str], lines: list[tuple[int, list[str]]]) -> Iterator[ForeignNumbers]:
    for number, cells in lines:
        row = dict(zip(header, cells, strict=True))
        model, pretrained = row.pop("name"), row.pop("pretrained")
        for column, value in row.items():
            values = {COLUMN_SCORE: value} if value else {}
            place = f"{path}, line {number}, column {column!r}"
            yield ForeignNumbers(place, model, pretrained, column, "zero_shot", values)
