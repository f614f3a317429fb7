"""One registry for everything that has a name: built-ins, entry points, and what a user adds."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from typing import Generic, TypeVar, cast

from evalsuite.errors import UsageError

T = TypeVar("T")

LONGEST = 100
"""Letters of a name that is compared with others: the time grows with the square."""

MOST_COMPARED = 20_000
"""Names that one is compared with."""


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Return the known names most like `name`, ignoring case, best first; none for a name longer than any word."""
    if len(name) > LONGEST:
        return []
    by_folded = {item.casefold(): item for item in islice(known, MOST_COMPARED) if len(item) <= LONGEST}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=limit, cutoff=0.55)
    return [by_folded[match] for match in found]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that offers the nearest names, or nothing.

    >>> did_you_mean("mnits", ["cifar10", "mnist"])
    ' Did you mean mnist?'
    """
    matches = nearest(name, known)
    return f" Did you mean {', '.join(matches)}?" if matches else ""


class Registry(Generic[T]):
    """Names to things, where a thing may be given as "module:attribute" and is imported on first use.

    kind: what the names stand for, in messages ("metric").
    entry_point_group: other packages add names through this group.
    """

    def __init__(self, kind: str, entry_point_group: str | None = None) -> None:
        self.kind = kind
        self._group = entry_point_group
        self._items: dict[str, T | str] = {}
        self._entry_points: dict[str, EntryPoint] | None = None

    def register(self, name: str, item: T | str) -> None:
        """Add `item`, or the "module:attribute" where it will be found; a name is given once."""
        if name in self._items:
            raise UsageError(f"The {self.kind} {name!r} is registered twice.")
        self._items[name] = item

    def get(self, name: str) -> T:
        """Return the thing called `name`; UsageError offers the nearest names."""
        item = self._items.get(name)
        if item is None:
            found = self._from_entry_points().get(name)
            if found is None:
                raise UsageError(
                    f"Unknown {self.kind} {name!r}.{did_you_mean(name, self.names())} Known: {', '.join(self.names())}."
                )
            item = self._load(found)
            self._items[name] = item
        if isinstance(item, str):
            module, _, attribute = item.partition(":")
            item = cast(T, getattr(importlib.import_module(module), attribute))
            self._items[name] = item
        return item

    def _load(self, point: EntryPoint) -> T:
        try:
            return cast(T, point.load())
        except (Exception, SystemExit) as error:
            package = f" of {point.dist.name}" if point.dist else ""
            raise UsageError(
                f"The {self.kind} {point.name!r}{package} could not be imported from {point.value}: {error!r}."
            ) from error

    def names(self) -> list[str]:
        """Return every known name, sorted."""
        return sorted({*self._items, *self._from_entry_points()})

    def __contains__(self, name: object) -> bool:
        return name in self._items or name in self._from_entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _from_entry_points(self) -> dict[str, EntryPoint]:
        if self._entry_points is None:
            found = entry_points(group=self._group) if self._group else ()
            self._entry_points = {point.name: point for point in found}
        return self._entry_points
