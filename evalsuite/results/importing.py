"""Turn what other projects wrote into rows of this one: names, metrics and units; what does not fit is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from evalsuite.errors import SpecError, UsageError
from evalsuite.hashing import file_sha256
from evalsuite.models.names import open_clip_slug, slugify
from evalsuite.results.imported import ImportedRow, ImportedTable, ImportedTask, check_name
from evalsuite.results.layouts import (
    COLUMN_SCORE,
    ForeignDataset,
    ForeignNumbers,
    Layout,
    load_layouts,
    read_foreign,
)
from evalsuite.results.naming import ALL
from evalsuite.results.published import read_papers
from evalsuite.tasks import TaskIndex

Units = Literal["fraction", "percent"]

_OTHER_METRIC = object()
"""Stands for a value that is there, but not in the metric of the task."""


@dataclass
class _Reading:
    """What was read so far. models: (slug, protocol) -> the model as written. skipped: why -> what."""

    layout: Layout
    units: Units
    metrics: Mapping[str, str]
    models: dict[tuple[str, str], str] = field(default_factory=dict)
    scores: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    skipped: dict[str, dict[str, None]] = field(default_factory=dict)

    def skip(self, why: str, what: str) -> None:
        """Note what was left out."""
        self.skipped.setdefault(why, {})[what] = None


def read_table(paths: Sequence[Path], name: str | None, units: Units) -> tuple[ImportedTable, dict[str, list[str]]]:
    """Read files of one layout; return the table and what was left out: why -> datasets, models or places.

    name: of the table; None: that of the layout. units: of the numbers in the files.
    Raises UsageError where nothing is left, the units cannot be right or the files have several layouts, SpecError for
    a number that is none.
    """
    found = [read_foreign(path) for path in paths]
    names = sorted({layout for layout, _ in found})
    if len(names) != 1:
        raise UsageError(f"The files have several layouts ({', '.join(names)}): import those of each by themselves.")
    layout = load_layouts()[names[0]]
    check_name(name or layout.name, [ALL, *(paper.described.name for paper in read_papers())])
    reading = _Reading(layout, units, {task.name: task.metric for task in TaskIndex().select(list(layout.datasets))})
    for _, numbers in found:
        for item in numbers:
            _read_one(item, reading)
    skipped = {why: list(what) for why, what in reading.skipped.items()}
    if not reading.scores:
        reasons = "; ".join(f"{why}: {', '.join(what)}" for why, what in skipped.items())
        raise UsageError(f"No number in {', '.join(map(str, paths))} can be imported. {reasons or 'They are empty'}.")
    if units == "percent" and max(max(scores.values()) for scores in reading.scores.values()) <= 0.01:
        raise UsageError("--units percent: no number in the files is above 1, so they are fractions; leave it out.")
    return _table(name or layout.name, paths, reading), skipped


def _table(name: str, paths: Sequence[Path], reading: _Reading) -> ImportedTable:
    layout = reading.layout
    there = {task for scores in reading.scores.values() for task in scores}
    return ImportedTable(
        name=name,
        layout=layout.name,
        title=layout.title,
        url=layout.url,
        created=datetime.now(UTC).replace(microsecond=0),
        files={str(path): file_sha256(path) for path in paths},
        notes={protocol: layout.notes[protocol] for _, protocol in reading.scores},
        tasks={
            task: ImportedTask(metric=reading.metrics[task], test_size=dataset.test_size, caveat=dataset.caveat)
            for task, dataset in layout.datasets.items()
            if task in there
        },
        rows=tuple(
            ImportedRow(slug=slug, model=reading.models[slug, protocol], protocol=protocol, scores=scores)
            for (slug, protocol), scores in reading.scores.items()
        ),
    )


def _read_one(item: ForeignNumbers, reading: _Reading) -> None:
    """Add a number to its row, or note why not."""
    layout = reading.layout
    if any(fnmatchcase(item.dataset, pattern) for pattern in layout.ignored_columns):
        return
    task, protocol = layout.task_of(item.dataset), layout.protocols.get(item.evaluation)
    if protocol is None:
        reading.skip(f"{item.evaluation} is no protocol here", item.dataset)
    elif task is None:
        reading.skip("no task here", item.dataset)
    elif item.language != "en":
        reading.skip(f"prompts in another language ({item.language})", item.dataset)
    elif _is_few_shot(item):
        reading.skip("a few-shot probe", item.dataset)
    else:
        written = _written(item, layout.datasets[task], layout, reading.metrics[task])
        if written is _OTHER_METRIC:
            reading.skip(f"not scored by {reading.metrics[task]}, the task's metric", item.dataset)
        else:
            _add(item, task, protocol, _fraction(written, item.place, reading.units), reading)


def _is_few_shot(item: ForeignNumbers) -> bool:
    """Say whether a probe saw a few images per class; CLIP_benchmark writes -1 for all."""
    shots = item.values.get("fewshot_k")
    return shots is not None and not str(shots).startswith("-")


def _written(item: ForeignNumbers, dataset: ForeignDataset, layout: Layout, wanted: str) -> Any:
    """Return the value in the metric of the task, as it is written."""
    if dataset.metric is not None:
        return item.values.get(COLUMN_SCORE) if dataset.metric == wanted else _OTHER_METRIC
    names = [name for name in layout.metrics.get(wanted, ()) if name in item.values]
    return item.values[names[0]] if names else _OTHER_METRIC


def _fraction(value: Any, place: str, units: Units) -> float | None:
    """Return a value as a fraction; None where the file says that there is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise SpecError(f"{place}: {value!r} is not a number.")
    try:
        number = float(value)
    except ValueError as error:
        raise SpecError(f"{place}: {value!r} is not a number.") from error
    if math.isnan(number):
        return None
    top = 100 if units == "percent" else 1
    if not 0 <= number <= top:
        hint = " If the file is in percent, say --units percent." if 1 < number <= 100 else ""
        raise SpecError(f"{place}: {value!r} is not between 0 and {top}.{hint}")
    return number / top


def _add(item: ForeignNumbers, task: str, protocol: str, fraction: float | None, reading: _Reading) -> None:
    model = f"{item.model} {item.pretrained}".strip()
    slug = open_clip_slug(item.model, item.pretrained) if item.pretrained else slugify(f"open_clip/{item.model}")
    if not item.model or "/" not in slug:
        raise SpecError(f"{item.place}: the name of the model has no letters or digits: {model!r}.")
    if fraction is None:
        reading.skip("no value", f"{model} on {item.dataset}")
        return
    reading.models.setdefault((slug, protocol), model)
    scores = reading.scores.setdefault((slug, protocol), {})
    if scores.setdefault(task, fraction) != fraction:
        reading.skip("another number for a model and task that has one already", item.place)
