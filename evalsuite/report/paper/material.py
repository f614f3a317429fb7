"""What figures are drawn from: rows of models, measured here or published, over the tasks that are asked for."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean
from evalsuite.report.costs import gflops_of
from evalsuite.report.paper.figure import CannotDrawError, Point
from evalsuite.report.ranking import rows_called
from evalsuite.report.table import Row, pivot
from evalsuite.results.numbers import Number, family, newest, told_apart

BEST = "clip/vit-l-14-336px"
"""What the paper calls CLIP where it names no model (section 2.5)."""

BASELINE = "resnet/50"
"""The probe that the paper's figure 5 holds zero-shot against."""


@dataclass(frozen=True)
class Material:
    """Numbers to draw. tasks: those of the figure; few: those of them in the suite of Kornblith et al. 2019.

    models: names of models that figures of one model are of; without any, the paper's best.
    """

    numbers: tuple[Number, ...]
    tasks: tuple[str, ...]
    few: tuple[str, ...]
    models: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> list[Row]:
        """Every row, with the values of all of its tasks."""
        kept = newest(self.numbers)
        return pivot(kept, list(dict.fromkeys(number.task for number in kept)), told_apart(kept))

    def of(self, protocol: str) -> list[Row]:
        """Return the rows of a protocol with its default options and a value for some of the tasks."""
        wanted = set(self.tasks)
        return [row for row in self.rows if row.protocol == protocol and not row.options and wanted & row.cells.keys()]

    def complete(self, protocol: str, tasks: Collection[str]) -> list[Row]:
        """Return the rows of a protocol that have a value for each of `tasks`."""
        return [row for row in self.of(protocol) if all(task in row.cells for task in tasks)]

    def subject(self, protocol: str) -> Row | None:
        """Return the row of the model that the figure is of: named, else the paper's best, else the best measured."""
        rows = self.of(protocol)
        if self.models:
            return _foremost(self.named(rows))
        published = [row for row in rows if row.model == BEST and is_published(row)]
        return _foremost(published) or _foremost(rows)

    def named(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of the models that are asked for, or all; UsageError where there is none of these."""
        if not self.models:
            return list(rows)
        found = {id(row) for name in self.models for row in rows_called(name, rows)}
        if not found:
            names, known = ", ".join(self.models), sorted({row.model for row in rows})
            raise UsageError(f"Nothing to draw is called {names}.{did_you_mean(self.models[0], known)}")
        return [row for row in rows if id(row) in found]

    def partner(self, row: Row, protocol: str) -> Row | None:
        """Return the row of the same model under another protocol."""
        same = (one for one in self.of(protocol) if (one.title, one.origin) == (row.title, row.origin))
        return next(same, None)

    def called(self, name: str, protocol: str) -> Row | None:
        """Return the row of a model, measured before published."""
        return _foremost(rows_called(name, self.of(protocol)))

    def gflops(self, row: Row) -> float | None:
        """Return the GFLOPs of an image, where they are known."""
        return gflops_of(row)


def is_published(row: Row) -> bool:
    """Say whether a row was not measured here."""
    return row.origin.kind != "measured"


def mean(row: Row, tasks: Collection[str]) -> float:
    """Return the unweighted mean over tasks in percent."""
    return 100 * math.fsum(row.cells[task].value for task in tasks) / len(tasks)


def label(row: Row) -> str:
    """Return the model, and whether it is from a paper."""
    return f"{row.title} ({row.origin.label})" if is_published(row) else row.title


def kind(slug: str) -> str:
    """Return the family of a model as the paper draws it: CLIP's ResNets and ViTs apart."""
    name = family(slug)
    return f"{name} {'ViT' if slug.startswith('clip/vit') else 'ResNet'}" if name == "clip" else name


def point(row: Row, x: float, y: float, *, shown: bool = False) -> Point:
    """Return the mark of a model."""
    return Point(row.title, x, y, hollow=is_published(row), shown=shown)


def needed(figure: str, what: str, *commands: str) -> CannotDrawError:
    """Return the error that says which runs would give a figure."""
    return CannotDrawError("\n".join([f"{figure.capitalize()} cannot be drawn: {what} Measure it:", *commands]))


def _foremost(rows: Sequence[Row]) -> Row | None:
    """Return the row with most values; of equals a measured one, then the best average."""
    return max(rows, key=lambda row: (len(row.cells), not is_published(row), row.average), default=None)
