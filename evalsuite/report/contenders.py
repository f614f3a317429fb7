"""Choose the two contenders of a comparison: a measured model, or a row of a paper or an import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean
from evalsuite.results.library import Library
from evalsuite.results.naming import PUBLISHED, stands_for
from evalsuite.results.numbers import Job, Number, Place, newest
from evalsuite.results.store import hash8
from evalsuite.text import counted

FAITHFUL = ("exact", "convention")
"""Levels of split fidelity at which a published number is of the same samples, or of those that others take."""


@dataclass(frozen=True)
class Contender:
    """All numbers of one model from one origin.

    label: its name in a table; partial: how many results are left out, because they were computed from a part of the
    samples.
    """

    label: str
    numbers: Mapping[Job, Number]
    partial: int = 0

    @property
    def is_measured(self) -> bool:
        """Say whether the numbers are from here."""
        return all(number.is_measured for number in self.numbers.values())


def choose_contenders(
    names: Sequence[str], numbers: Sequence[Number], *, include_partial: bool = False, library: Library | None = None
) -> tuple[Contender, Contender]:
    """Return the contenders that one or two names stand for (see `stands_for`); UsageError says what is wrong.

    `published:` comes before the name of a paper's row or an import's. Without a second name, or with that of a
    published set, the second contender is the first model's own row. numbers: what was measured.
    """
    library = library or Library()
    first = _contender(names[0], numbers, include_partial, library)
    own = len(names) == 1 or names[1] in {paper.described.name for paper in library.papers}
    second = _contender(_own_row(first) if own else names[1], numbers, include_partial, library)
    if first.label == second.label:
        raise UsageError(f"Both names stand for {first.label}; name two models, or a model and a row of a paper.")
    return first, second


def states_named(name: str, places: Iterable[Place]) -> list[tuple[str, str]]:
    """Return the (slug, state) of each measured model that `name` stands for, at least one, else UsageError."""
    known = {place.model_key for place in places}
    found = stands_for(name, known)
    if found:
        return sorted({(model.slug, model.state) for model in found})
    models = sorted({model.slug for model in known})
    raise UsageError(
        f"There is no result of the model {name!r}.{did_you_mean(name, models)} There are results of: "
        f"{', '.join(models) or 'none'}. A row of a paper is {PUBLISHED}NAME, e.g. {PUBLISHED}resnet/50."
    )


def state_label(slug: str, state: str, places: Iterable[Place]) -> str:
    """Return the model's slug, with a hash where there are results of several states of it."""
    return slug if len({place.state for place in places if place.model == slug}) == 1 else f"{slug}@{hash8(state)}"


def _contender(name: str, numbers: Sequence[Number], include_partial: bool, library: Library) -> Contender:
    if not name.casefold().startswith(PUBLISHED):
        return _measured(numbers, name, include_partial)
    found = library.one_model(name)
    return Contender(f"{found[0].model} ({found[0].origin.label})", {number.job: number for number in found})


def _own_row(contender: Contender) -> str:
    """Return the name of the published row of a measured model, as its results tell."""
    slugs = {number.info.published for number in contender.numbers.values() if number.info} - {None}
    if not slugs:
        raise UsageError(
            f"{contender.label} has no published row of its own. Name what to compare it with: another model, or a row "
            f"such as {PUBLISHED}resnet/50; `evalsuite leaderboard --published all` shows all of them."
        )
    return f"{PUBLISHED}{slugs.pop()}"


def _measured(numbers: Sequence[Number], name: str, include_partial: bool) -> Contender:
    states = states_named(name, numbers)
    if len(states) > 1:
        some = ", ".join(f"{slug}@{hash8(state)}" for slug, state in states)
        raise UsageError(f"{name!r} stands for {counted(len(states), 'model')}; name one of: {some}.")
    ((slug, state),) = states
    own = newest(number for number in numbers if (number.model, number.state) == (slug, state))
    chosen = {number.job: number for number in own if include_partial or not number.partial}
    if not chosen:
        raise UsageError(f"All results of {slug} are partial; --include-partial compares them.")
    return Contender(state_label(slug, state, numbers), chosen, len(own) - len(chosen))
