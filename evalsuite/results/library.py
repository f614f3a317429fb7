"""What papers printed and what was imported: read when it is first asked for, each file once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean
from evalsuite.results.imported import read_imported
from evalsuite.results.naming import ALL, PUBLISHED, stands_for
from evalsuite.results.numbers import ModelKey, Number, Numbers, Origin
from evalsuite.results.published import Paper, read_papers
from evalsuite.results.store import load_stored


class Library:
    """The tables that ship and the imports of this machine. folder: of the tables, by default those that ship."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @cached_property
    def papers(self) -> tuple[Paper, ...]:
        """The sets of published tables."""
        return read_papers(self._folder)

    @cached_property
    def printed(self) -> tuple[Number, ...]:
        """The numbers of papers."""
        return tuple(number for paper in self.papers for number in paper.numbers)

    @cached_property
    def imported(self) -> tuple[Number, ...]:
        """The numbers of imports."""
        return read_imported()

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Those of papers, then those of imports."""
        return (*self.printed, *self.imported)

    def names(self) -> list[str]:
        """Return what a shell offers: `all`, the tables and the slugs."""
        tables = (number.origin.table for number in self.numbers)
        return list(dict.fromkeys([ALL, *tables, *(number.model for number in self.numbers)]))

    def choose(self, names: Sequence[str]) -> list[Number]:
        """Return the numbers that `names` stand for (see `stands_for`), in the order of the tables.

        A name that stands for none is a UsageError.
        """
        known = {number.model_key for number in self.numbers}
        chosen: set[ModelKey] = set()
        for name in names:
            chosen |= stands_for(name, known) or self._unknown(name)
        return [number for number in self.numbers if number.model_key in chosen]

    def one_model(self, name: str) -> list[Number]:
        """Return the numbers of the one model that `name` stands for, a paper's before an import's; else UsageError."""
        models = stands_for(name, {number.model_key for number in self.printed})
        models = models or stands_for(name, {number.model_key for number in self.imported}) or self._unknown(name)
        found = [number for number in self.numbers if number.model_key in models]
        slugs = list(dict.fromkeys((number.model, number.origin) for number in found))
        if len(slugs) > 1:
            shown = ", ".join(PUBLISHED + _shortest(*slug) for slug in slugs[:5])
            raise UsageError(f"{name!r} stands for {len(slugs)} published models; name one of them, such as {shown}.")
        return found

    def _unknown(self, name: str) -> set[ModelKey]:
        known = self.names()
        tables = dict.fromkeys(number.origin.table for number in self.numbers)
        raise UsageError(
            f"No published result is called {name.removeprefix(PUBLISHED)!r}.{did_you_mean(name, known)} "
            f"Use {ALL}, {', '.join(tables)}, a row such as resnet/50, or a pattern such as 'bit-m/*'."
        )


def _shortest(slug: str, origin: Origin) -> str:
    """Return a name that stands for this model alone: where a paper has it too, an import's needs its table."""
    return slug if origin.kind == "published" else f"{origin.table}:{slug}"


def load_numbers(
    folders: Sequence[Path], published: Sequence[str] = (), library: Library | None = None
) -> tuple[Numbers, list[str]]:
    """Return the table of what is in the folders of results and of the published and imported numbers named.

    Also a warning for each file that is left out. UsageError for a folder that is not there, or an unknown name.
    """
    chosen = (library or Library()).choose(published) if published else ()
    stored, warnings = load_stored(folders)
    return Numbers.of(stored, chosen), warnings
