"""Choose the two sides of a comparison: a measured model, or a row of a paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from evalsuite.errors import UsageError
from evalsuite.models.aliases import find_alias
from evalsuite.records import Result
from evalsuite.registry import did_you_mean
from evalsuite.report.selection import has_value, preference
from evalsuite.results.published import PublishedRow, load_published, load_published_tasks, published_sets
from evalsuite.results.store import StoredResult, hash8
from evalsuite.stats import clopper_pearson

PUBLISHED = "published:"
"""Prefix of a side that is a row of a paper."""

METRIC_OF_TABLE_9 = {"mean_per_class": "mean_per_class_recall", "11_point_map": "map_11_point"}
"""Names of metrics in the paper's table that are called otherwise here."""

FAITHFUL = ("exact", "convention")
"""Levels of split fidelity at which a published number is of the same samples, or of those that others take."""


class Key(NamedTuple):
    """What two numbers must share to be compared."""

    protocol: str
    task: str
    options_hash: str | None

    @property
    def shown(self) -> str:
        """Return the protocol for a table, with a hash where the options are not the default."""
        return self.protocol if self.options_hash is None else f"{self.protocol} #{self.options_hash[:8]}"

    def __str__(self) -> str:
        return f"{self.task} ({self.shown})"


class State(NamedTuple):
    """A model in one state of its weights, preprocessing and precision."""

    model: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.model}@{hash8(self.fingerprint)}"


@dataclass(frozen=True)
class Score:
    """A number to compare, as a fraction, with its interval; stored: the record, None for a published number."""

    value: float
    metric: str
    low: float | None = None
    high: float | None = None
    stored: StoredResult | None = None


@dataclass(frozen=True)
class Side:
    """All numbers of one model from one origin.

    label: its name in a table; caveats: task -> what to know of a published number; partial: results left out because
    they were computed from a part of the samples.
    """

    label: str
    scores: Mapping[Key, Score]
    caveats: Mapping[str, str] = field(default_factory=dict)
    partial: int = 0

    @property
    def is_published(self) -> bool:
        """Say whether the numbers are a paper's."""
        return any(score.stored is None for score in self.scores.values())


def newest(stored: Iterable[StoredResult]) -> dict[tuple[State, Key], StoredResult]:
    """Return the record to show for each model and key: ok before partial, then the newest."""
    chosen: dict[tuple[State, Key], StoredResult] = {}
    for item in stored:
        result = item.result
        if not has_value(result):
            continue
        place = (
            State(result.model, result.run_key),
            Key(result.protocol, result.task, result.options_hash),
        )
        if place not in chosen or preference(result) > preference(chosen[place].result):
            chosen[place] = item
    return chosen


def split_fidelity(result: Result) -> str:
    """Return how near the splits of a result are to the published ones: exact, convention, approximate or unknown."""
    return result.split_level or "unknown"


def shown_name(state: State, chosen: Mapping[tuple[State, Key], StoredResult]) -> str:
    """Return the model's slug, with a hash where there are results of several states of it."""
    return state.model if len({other for other, _ in chosen if other.model == state.model}) == 1 else str(state)


def states_named(name: str, chosen: Mapping[tuple[State, Key], StoredResult]) -> list[State]:
    """Return the states among `chosen` that `name` stands for, at least one, else UsageError.

    name: a slug, the name a model was run by, an alias, a pattern of them, or NAME@HASH.
    """
    called: dict[State, set[str]] = {}
    for (state, _), item in chosen.items():
        names = (state.model.casefold(), item.result.model_name.casefold())
        called.setdefault(state, set()).update(names, (f"{one}@{hash8(state.fingerprint)}" for one in names))
    wanted = name.replace(" @", "@").casefold()  # a leaderboard writes a blank before the hash
    found = [state for state, words in called.items() if wanted in words]
    if not found and (alias := find_alias(name)):
        found = [state for state, words in called.items() if alias.slug in words]
    if not found:
        found = [state for state, words in called.items() if any(fnmatchcase(word, wanted) for word in words)]
    if found:
        return sorted(found)
    models = sorted({state.model for state in called})
    raise UsageError(
        f"There is no result of the model {name!r}.{did_you_mean(name, models)} There are results of: "
        f"{', '.join(models) or 'none'}. A row of a paper is {PUBLISHED}NAME, e.g. {PUBLISHED}resnet/50."
    )


def choose_sides(
    names: Sequence[str], stored: Sequence[StoredResult], *, include_partial: bool = False
) -> tuple[Side, Side]:
    """Return the sides that one or two names stand for; UsageError says what is wrong with a name.

    names: a measured model (its slug, a name it goes by, a pattern, or NAME@HASH for one state of its weights), or
    `published:NAME` for a row of a paper. Without a second name, or with that of a published set, the second side is
    the first model's own row.
    """
    first = _side(names[0], stored, include_partial)
    own = len(names) == 1 or names[1] in published_sets()
    second = _side(_own_row(first) if own else names[1], stored, include_partial)
    if first.label == second.label:
        raise UsageError(f"Both names stand for {first.label}; name two models, or a model and a row of a paper.")
    return first, second


def _side(name: str, stored: Sequence[StoredResult], include_partial: bool) -> Side:
    if name.startswith(PUBLISHED):
        return _published_side(load_published([name.removeprefix(PUBLISHED)]), name)
    return _measured_side(stored, name, include_partial)


def _own_row(side: Side) -> str:
    """Return the name of the published row of a measured model, as its results tell."""
    records = [score.stored.result for score in side.scores.values() if score.stored is not None]
    slugs = {record.model_info.published for record in records if record.model_info} - {None}
    if not slugs:
        raise UsageError(
            f"{side.label} has no published row of its own. Name what to compare it with: another model, or a row "
            f"such as {PUBLISHED}resnet/50; `evalsuite leaderboard --published all` shows all of them."
        )
    return f"{PUBLISHED}{slugs.pop()}"


def _measured_side(stored: Sequence[StoredResult], name: str, include_partial: bool) -> Side:
    chosen = newest(stored)
    states = states_named(name, chosen)
    if len(states) > 1:
        raise UsageError(f"{name!r} stands for {len(states)} models; name one of: {', '.join(map(str, states))}.")
    (state,) = states
    own = {key: item for (other, key), item in chosen.items() if other == state}
    scores = {key: _score(item) for key, item in own.items() if include_partial or item.result.status == "ok"}
    if not scores:
        raise UsageError(f"All results of {state.model} are partial; --include-partial compares them.")
    return Side(shown_name(state, chosen), scores, partial=len(own) - len(scores))


def _score(item: StoredResult) -> Score:
    metric = item.result.metric
    if metric is None:  # newest() leaves out what has no value
        raise ValueError(f"{item.path} has no value")
    low, high = (metric.interval.low, metric.interval.high) if metric.interval else (None, None)
    return Score(metric.value, metric.name, low, high, item)


def _published_side(rows: Sequence[PublishedRow], name: str) -> Side:
    """Return the numbers of one model, a row a protocol; intervals as the paper's rule has them: on the test size."""
    slugs = list(dict.fromkeys((row.slug, row.origin) for row in rows))
    if len(slugs) > 1:
        some = ", ".join(PUBLISHED + slug for slug, _ in slugs[:5])
        raise UsageError(f"{name!r} stands for {len(slugs)} published models; name one of them, such as {some}.")
    ((slug, origin),) = slugs
    metrics = {task.task: metric_name(task.metric) for task in load_published_tasks(rows[0].set_name)}
    scores: dict[Key, Score] = {}
    for row in rows:
        for task, value in row.scores.items():
            n = row.test_sizes[task]
            interval = clopper_pearson(round(value * n), n)
            scores[Key(row.protocol, task, None)] = Score(value, metrics[task], interval.low, interval.high)
    return Side(f"{slug} ({origin})", scores, published_sets()[rows[0].set_name].caveats)


def metric_name(printed: str) -> str:
    """Return the name of a metric here that a paper's table of datasets has in its own words."""
    return METRIC_OF_TABLE_9.get(printed, printed)
