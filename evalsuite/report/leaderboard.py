"""Build the table of models x tasks: the pivot of the numbers that the filters let through.

A row is one model under one protocol; a cell is the task's own metric. What was measured and what a paper printed are
never merged into one row, nor are models that share a name and differ in their weights.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from evalsuite.protocols import FURTHER_PROTOCOLS
from evalsuite.report.claims import check_claims
from evalsuite.report.editions import editions
from evalsuite.report.few_shot import FEW_SHOT, matching_notes
from evalsuite.report.places import places_note, with_places
from evalsuite.report.ranking import find_baselines, with_differences, with_groups, with_standings
from evalsuite.report.table import Leaderboard, Row, Verdict, pivot
from evalsuite.results.library import Library
from evalsuite.results.naming import Selection, select
from evalsuite.results.numbers import (
    ModelKey,
    Number,
    Numbers,
    Place,
    model_label,
    newest,
    protocol_label,
    told_apart,
)
from evalsuite.text import counted, shortened

Tell = Callable[[str], None]


def build_leaderboard(
    table: Numbers,
    *,
    protocols: Sequence[str] = (),
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    tags: Sequence[str] = (),
    include_partial: bool = False,
    baselines: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    claims: bool = False,
    library: Library | None = None,
    tell: Tell | None = None,
) -> Leaderboard:
    """Return the leaderboard of a table of numbers.

    protocols, tasks, models, tags: what is shown, measured and published alike, see `select`; one that selects nothing
    is a UsageError. Without them the columns and protocols are those that results have a value for, or else those of
    the published numbers, whose tasks are added where none of them was measured; the further protocols of this project
    only where there is nothing else.
    baselines: models or families; each row gets its difference to the best of each, measured or published.
    groups: tag -> tasks; each row gets its average over those of them in the table. claims: check the claims of the
    published sets, on all their tasks, whatever the table shows. library: of the baselines and claims. tell: for the
    HTML page, gets the notes that say which options to type; those of the table leave that out, and what the page says
    itself of the columns that its reader chose.
    """
    library = library or Library()
    selected = select(table, protocols=protocols, tasks=tasks, models=models, tags=tags)
    selected, left_out = (selected, []) if protocols else _without_further(selected, tell)
    found = _found(selected, all_tasks=bool(tasks or tags), all_protocols=bool(protocols), partial=include_partial)
    rows = sorted(pivot([*found.values, *found.printed], found.tasks, found.states), key=_best_first)
    candidates = _with_printed(rows, library, found.tasks) if baselines else []
    rivals = find_baselines(baselines, candidates, found.tasks, found.protocols, table, library)
    shown_groups = _groups_of(found.tasks, groups or {})
    standing = with_places(with_standings(rows, found.tasks), found.tasks)
    compared = with_groups(with_differences(standing, rivals, found.tasks), shown_groups)
    notes = [
        *([] if tell else _average_note(rows, found.tasks)),
        *places_note(compared),
        *([] if tell else _standing_notes(compared, found.tasks)),
        *filter(None, (editions(compared, task) for task in found.tasks)),
        *(rival.note(len(found.tasks)) for rival in rivals),
        *(f"tag:{tag}: average over {', '.join(names)}." for tag, names in shown_groups.items()),
        *_published_notes(found.printed, found.tasks),
        *_widening_notes(found, tell),
        *_hidden_notes(table.published, found, tell),
        *_selection_notes(found, include_partial, tell),
        *_variant_notes(found),
        *left_out,
        *(matching_notes(selected.of_models.numbers) if FEW_SHOT in selected.protocols else ()),
        *_problem_notes(found),
    ]
    verdicts = _verdicts(selected.of_models, library) if claims else ()
    return Leaderboard(tuple(found.tasks), tuple(compared), tuple(notes), shown_groups, tuple(baselines), verdicts)


@dataclass(frozen=True)
class _Found:
    """What the table shows: measured values and printed numbers on its tasks; states: hashes that tell models apart."""

    selected: Selection
    values: Sequence[Number]
    printed: Sequence[Number]
    tasks: Sequence[str]
    protocols: Sequence[str]
    states: Mapping[ModelKey, str]


def _found(selected: Selection, *, all_tasks: bool, all_protocols: bool, partial: bool) -> _Found:
    """Return what is shown of a selection: all of its tasks and protocols, or those that there is a value for."""
    chosen = selected.chosen
    values = newest(filter(_is_measured, chosen.numbers), include_partial=partial)
    measured = sorted({number.protocol for number in values})
    protocols = selected.protocols if all_protocols or not measured else measured
    printed = [number for number in chosen.published if number.protocol in protocols]
    tasks = selected.tasks if all_tasks else _columns(selected.tasks, values, printed)
    printed = [number for number in printed if number.task in tasks]
    return _Found(selected, values, printed, tasks, protocols, told_apart(chosen.places))


def _hinted(note: str, hint: str, tell: Tell | None) -> str:
    """Return a note with what can be done about it; where somebody else is told that, the note alone."""
    whole = f"{note}; {hint}."
    if tell is None:
        return whole
    tell(whole)
    return f"{note}."


def _without_further(selected: Selection, tell: Tell | None) -> tuple[Selection, list[str]]:
    """Leave out this project's further protocols where others were measured, and say so: by default, like is compared
    with like."""
    measured = {number.protocol for number in selected.chosen.numbers if number.is_measured}
    further = measured.intersection(FURTHER_PROTOCOLS)
    if further in (set(), measured):
        return selected, []
    rows = len({number.row for number in selected.chosen.numbers if number.protocol in further})
    left_out = f"Not shown: {counted(rows, 'row')} of {', '.join(sorted(further))}"
    left_out = _hinted(left_out, "--protocol all shows everything", tell)
    chosen = selected.chosen.where(lambda place: place.protocol not in further)
    protocols = [protocol for protocol in selected.protocols if protocol not in further]
    return replace(selected, chosen=chosen, protocols=protocols), [left_out]


def _there(tasks: Sequence[str], numbers: Iterable[Number]) -> list[str]:
    found = {number.task for number in numbers}
    return [task for task in tasks if task in found]


def _columns(tasks: Sequence[str], measured: Sequence[Number], printed: Sequence[Number]) -> list[str]:
    """Return the tasks that were measured, and those of the published numbers where none of these is on one of them."""
    own = _there(tasks, measured)
    on_these = any(number.task in own for number in printed)
    return own if on_these else [*own, *_there(tasks, printed)]


def _is_measured(number: Number) -> bool:
    return number.is_measured


def _with_printed(rows: Sequence[Row], library: Library, tasks: Sequence[str]) -> list[Row]:
    """Return the rows of the table and every published one: what a baseline is chosen from."""
    shown = {(row.model, row.protocol, row.origin) for row in rows}
    printed = pivot(library.printed, tasks, {})
    return [*rows, *(row for row in printed if (row.model, row.protocol, row.origin) not in shown)]


def _best_first(row: Row) -> tuple[int, float, tuple[str, ...]]:
    return -len(row.cells), -row.average, row.labels


def _groups_of(tasks: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the tasks of the table in each group; groups without any are left out."""
    found = {tag: tuple(task for task in tasks if task in members) for tag, members in groups.items()}
    return {tag: names for tag, names in found.items() if names}


def _verdicts(table: Numbers, library: Library) -> tuple[Verdict, ...]:
    """Check the claims of every published set on its own rows and on the measured ones, partial ones excepted."""
    measured = newest(filter(_is_measured, table.numbers), include_partial=False)
    states = told_apart(table.places)
    verdicts: list[Verdict] = []
    for paper in library.papers:
        tasks = [task.task for task in paper.tasks]
        verdicts += check_claims(paper.described.claims, pivot([*paper.numbers, *measured], tasks, states), tasks)
    return tuple(verdicts)


def _average_note(rows: Sequence[Row], tasks: Sequence[str]) -> Iterable[str]:
    if not rows:
        return
    over = "the one task" if len(tasks) == 1 else f"the {len(tasks)} tasks"
    text = f"average: unweighted mean over {over} of the table, each in percent of its own metric"
    if any(len(row.cells) < len(tasks) for row in rows):
        text += "; (k/n) marks an average over the k tasks the row has, and such rows come last"
    yield text + "."


def _standing_notes(rows: Sequence[Row], tasks: Sequence[str]) -> Iterable[str]:
    if any(row.best for row in rows):
        text = "bold: the best score of its task, or not below the 99.5 % interval of that score"
        yield f"{text}; wins counts them." if len(tasks) > 1 else f"{text}."
    if len(tasks) > 1 and len(rows) > 1:
        yield "rank: mean rank over the tasks, among the rows that have a whole value for each."


def _published_notes(shown: Sequence[Number], tasks: Sequence[str]) -> Iterable[str]:
    """Say where published numbers are from, and which imported ones are of other test samples.

    A paper's caveats are in its YAML.
    """
    yield from dict.fromkeys(f"{number.origin.label}: {number.source}." for number in shown)
    caveats: dict[str, dict[str, str]] = defaultdict(dict)
    for number in shown:
        if number.origin.kind == "imported" and number.caveat:
            caveats[number.origin.label][number.task] = number.caveat
    for label, known in caveats.items():
        listed = "; ".join(f"{task}: {known[task]}" for task in tasks if task in known)
        yield f"{label}, other test samples than the task's: {listed}."


def _widening_notes(found: _Found, tell: Tell | None) -> Iterable[str]:
    """Say why tasks are shown that nothing was measured on, and how to leave them out."""
    own = _there(found.tasks, found.values)
    if own and found.printed and not any(number.task in own for number in found.printed):
        why = f"No published row is on {shortened(own, 3)}, so the tasks of these rows are shown, too"
        yield _hinted(why, f"--tasks {','.join(own)} leaves them out", tell)


def _hidden_notes(given: Sequence[Number], found: _Found, tell: Tell | None) -> Iterable[str]:
    """Say which option shows the published rows that were named, where none of them is shown."""
    if not given or found.printed:
        return
    rows, named = {number.row: number for number in given}, found.selected.of_models.published
    if not named:
        how = f"--models leaves them out: add {shortened([number.model for number in rows.values()], 3)} to it"
    elif not any(number.protocol in found.protocols for number in named):
        others = ",".join(sorted({number.protocol for number in named}))
        how = f"they are of another protocol: --protocol {others} shows them"
    else:
        how = f"they are of other tasks: add some of theirs to --tasks, such as {shortened(_of(named), 3)}"
    yield _hinted(f"Not shown: {counted(len(rows), 'published row')}", how, tell)


def _of(numbers: Iterable[Number]) -> list[str]:
    return list(dict.fromkeys(number.task for number in numbers))


def _selection_notes(found: _Found, include_partial: bool, tell: Tell | None) -> Iterable[str]:
    """Say which values were marked, left out, or chosen among several."""
    numbers = found.selected.chosen.numbers
    partial = sum(number.partial for number in numbers)
    if partial and include_partial:
        yield "*: a partial result, computed from a part of the samples."
    elif partial:
        yield _hinted(f"Left out: {counted(partial, 'partial result')}", "--include-partial shows them, marked", tell)
    shown = {(number.row, number.task) for number in found.values}
    whole = Counter((number.row, number.task) for number in numbers if not number.partial)
    repeated = sum(1 for cell, count in whole.items() if count > 1 and cell in shown)
    if repeated:
        yield f"{counted(repeated, 'value')} found in several files; the newest is shown."


def _variant_notes(found: _Found) -> Iterable[str]:
    """Explain the hashes in names: other weights (@) and other options (#)."""
    renamed = sorted({model_label(key.slug, state) for key, state in found.states.items() if state})
    if renamed:
        yield f"@: one name, different weights or preprocessing: {', '.join(renamed)}."
    variants = {place.job.protocol_label: place for place in found.selected.chosen.places if place.options is not None}
    for name, place in sorted(variants.items()):
        options = ", ".join(f"{key}={value}" for key, value in place.changed_options.items())
        yield f"{name}: other options than the default ({options})." if options else f"{name}: other options."


def _problem_notes(found: _Found) -> Iterable[str]:
    """Name every job that failed or does not apply; jobs of one row that failed alike share a line."""
    there = {(number.row, number.task) for number in found.values}
    tasks: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for failure in found.selected.chosen.failures:
        shown = " (another run's value is shown)" if (failure.row, failure.task) in there else ""
        labels = _labels(failure, found.states)
        tasks[(failure.kind, *labels, failure.message)].append(failure.task + shown)
    for (kind, model, protocol, message), names in sorted(tasks.items()):
        yield f"{kind}: {model}, {protocol}, {', '.join(sorted(names))}: {message}"


def _labels(place: Place, states: Mapping[ModelKey, str]) -> tuple[str, str]:
    return model_label(place.model, states[place.model_key]), protocol_label(place.protocol, place.options)
