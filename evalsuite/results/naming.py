"""What a name stands for: models, tables, patterns, tasks. One rule for every command and for Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean
from evalsuite.results.numbers import ModelKey, Number, Numbers, family
from evalsuite.results.store import hash8
from evalsuite.text import shortened

PUBLISHED = "published:"
"""What a name begins with that stands for nothing measured here."""

ALL = "all"
"""The name of everything that papers printed or was imported; of protocols, of every one."""

MAIN = "main"
MAIN_TAGS = ("general", "fine-grained", "abstract", "digits", "ocr", "satellite", "medical", "action")
"""What `main` stands for: kinds of tasks on which encoders are known to differ (paper, sections 3.1.5 and 6)."""

NAMED = 30
"""Names an error lists before it counts the rest: the paper's tasks fit."""


def stands_for(name: str, known: Iterable[ModelKey]) -> set[ModelKey]:
    """Return those of `known` that `name` stands for, whatever the case; none: it is unknown.

    The first of these that there is: a slug, the name that was typed or that the paper prints, an alias; a family
    (resnet), a table (clip-paper, the name of an import), `all` tables; a pattern. NAME@HASH is one state of a model,
    TABLE:SLUG a row of one table, and `published:` before a name leaves out what was measured here.
    """
    from evalsuite.models.aliases import find_alias

    wanted, models = name.casefold().replace(" @", "@"), set(known)  # a table for people has a blank before the hash
    if wanted.startswith(PUBLISHED):
        wanted = wanted.removeprefix(PUBLISHED)
        models = {model for model in models if model.origin.kind != "measured"}
    words = {model: _words(model) for model in models}
    alias = find_alias(wanted)
    exact = {wanted, alias.slug if alias else wanted}
    return (
        {model for model in models if not exact.isdisjoint(words[model])}
        or {model for model in models if wanted in _collections(model)}
        or {model for model in models if any(fnmatchcase(word, wanted) for word in words[model])}
    )


def _words(model: ModelKey) -> set[str]:
    names = {model.slug.casefold(), model.name.casefold()}
    if model.state:
        names |= {f"{name}@{hash8(model.state)}" for name in names}
    return names | ({f"{model.origin.table}:{model.slug}".casefold()} if model.origin.table else set())


def _collections(model: ModelKey) -> set[str]:
    tables = {ALL, model.origin.table, model.origin.label} if model.origin.table else set()
    return {family(model.slug).casefold(), *tables}


@dataclass(frozen=True)
class Selection:
    """What filters let through. of_models: all numbers of the chosen models; chosen: those on the chosen tasks and
    protocols; tasks, protocols: the chosen names in order.
    """

    of_models: Numbers
    chosen: Numbers
    tasks: list[str]
    protocols: list[str]


def select(
    table: Numbers,
    *,
    protocols: Sequence[str] = (),
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> Selection:
    """Return what the names choose; without any, everything. One that chooses nothing is a UsageError.

    models: see stands_for; tasks, tags: see choose_tasks; protocols: names or patterns, `all` for every one.
    """
    of_models = _of_models(table, models)
    known = dict.fromkeys(number.task for number in of_models.published)
    known |= dict.fromkeys(sorted({place.task for place in of_models.places} - known.keys()))
    chosen_tasks = choose_tasks(tasks, list(known), tags, table.numbers)
    chosen_protocols = resolve_names("protocol", protocols, sorted({place.protocol for place in of_models.places}))
    there = {*chosen_tasks}, {*chosen_protocols}
    chosen = of_models.where(lambda place: place.task in there[0] and place.protocol in there[1])
    return Selection(of_models, chosen, chosen_tasks, chosen_protocols)


def _of_models(table: Numbers, names: Sequence[str]) -> Numbers:
    if not names:
        return table
    known = {place.model_key for place in table.places}
    chosen: set[ModelKey] = set()
    for name in names:
        found = stands_for(name, known)
        if not found:
            words = sorted({word for model in known for word in (model.slug, model.name)})
            raise _nothing_for("model", name, words, sorted({model.slug for model in known}))
        chosen |= found
    return table.where(lambda place: place.model_key in chosen)


def choose_tasks(
    names: Sequence[str], known: Sequence[str], tags: Sequence[str] = (), numbers: Iterable[Number] = ()
) -> list[str]:
    """Return the `known` tasks that `names` choose, in their order: tasks, groups, task files, patterns; none: all.

    tags: only tasks that have one of them, also of task files that the records of `numbers` name. UsageError for a
    name that chooses nothing, and where no task has a tag.
    """
    chosen = resolve_names("task", _spelled_out(names, known), known)
    if not tags:
        return chosen
    from evalsuite.results.task_files import index_of

    index = index_of(numbers)
    tagged = {task for tag in tags for task in index.expand(f"tag:{tag}")}
    found = [task for task in chosen if task in tagged]
    if not found:
        raise UsageError(
            f"No task of the table has the tag {' or '.join(tags)}; leave out --tag or choose other tasks."
        )
    return found


def tasks_of_tags(tags: Sequence[str], numbers: Iterable[Number] = ()) -> dict[str, list[str]]:
    """Return tag -> its tasks, in the order given; `main` stands for MAIN_TAGS. UsageError for a tag of no task.

    Task files that the records of `numbers` name count, too.
    """
    if not tags:
        return {}
    from evalsuite.results.task_files import index_of

    index = index_of(numbers)
    chosen = dict.fromkeys(name for tag in tags for name in (MAIN_TAGS if tag == MAIN else (tag,)))
    return {tag: index.expand(f"tag:{tag}") for tag in chosen}


def _spelled_out(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the names with each group replaced by those of its tasks that are known, and each file by its task."""
    if all(name in known for name in names):
        return list(names)
    from evalsuite.tasks import TaskIndex

    groups = TaskIndex().groups
    tasks: list[str] = []
    for name in names:
        members = [task for task in groups.get(name, []) if task in known]
        tasks += members or [Path(name).stem if name.endswith((".yaml", ".yml")) else name]
    return tasks


def resolve_names(kind: str, patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the known names that `patterns` match, in the order of the patterns; without any, every known name.

    kind: what the names are, for the UsageError about a pattern that matches nothing.
    """
    if not patterns:
        return list(known)
    chosen: dict[str, None] = {}
    for pattern in patterns:
        folded = "*" if (kind, pattern) == ("protocol", ALL) else pattern.casefold()
        found = [name for name in known if name.casefold() == folded or fnmatchcase(name.casefold(), folded)]
        if not found:
            raise _nothing_for(kind, pattern, known)
        chosen |= dict.fromkeys(found)
    return list(chosen)


def _nothing_for(kind: str, name: str, known: Sequence[str], listed: Sequence[str] = ()) -> UsageError:
    """Return the error; listed: those of the known names to list."""
    return UsageError(
        f"There is no result for the {kind} {name!r}.{did_you_mean(name, known)} "
        f"There are results for: {shortened(listed or known, NAMED) or 'none'}."
    )
