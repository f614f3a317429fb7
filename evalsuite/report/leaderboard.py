"""Build the table of models x tasks from results and published results.

A row is one model under one protocol; a cell is the task's own metric in percent. What was measured and what a paper
printed are never merged into one row, nor are models that share a name and differ in their weights.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from evalsuite.records import MetricRecord, Result
from evalsuite.report.claims import check_claims
from evalsuite.report.selection import RowKey, Values, best_values, has_value, problem_of, row_labels, select
from evalsuite.report.standings import find_baselines, with_differences, with_groups, with_standings
from evalsuite.report.table import Cell, Leaderboard, Row, Verdict
from evalsuite.results.published import PublishedRow, load_published, load_published_tasks, published_sets

MEASURED = "measured"
"""Origin of the rows that come from results; published rows carry their own."""


def build_leaderboard(
    results: Iterable[Result],
    published: Sequence[PublishedRow] = (),
    *,
    protocols: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    include_partial: bool = False,
    baselines: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    claims: bool = False,
) -> Leaderboard:
    """Return the leaderboard of `results`, with the rows `published` beside them.

    protocols, tasks, models: names or patterns of what is shown, measured and published alike; one that selects
    nothing is a UsageError. Without them the columns and protocols are those that results have a value for, or else
    those of `published`.
    baselines: models or families; each row gets its difference to the best of each, measured or published.
    groups: tag -> tasks; each row gets its average over those of them in the table. claims: check the claims of the
    published sets, on all their tasks, whatever the table shows.
    """
    chosen = select(results, published, protocols=protocols, tasks=tasks, models=models)
    records, shown_tasks, shown_protocols = chosen.records, chosen.tasks, chosen.protocols
    values, label = best_values(records, include_partial), row_labels(records)
    if tasks is None:
        printed = {task for row in chosen.published for task in row.scores}
        shown_tasks = _in_order(shown_tasks, {task for _, task in values} or printed)
    if protocols is None and values:
        shown_protocols = sorted({key.protocol for key, _ in values})
    beside = [row for row in chosen.published if row.protocol in shown_protocols and row.scores.keys() & {*shown_tasks}]
    rows = [*_measured_rows(values, label, shown_tasks), *_published_rows(beside, shown_tasks)]
    rows.sort(key=lambda row: (-len(row.cells), -row.average, row.model, row.protocol, row.origin))
    rivals = find_baselines(baselines, _with_published(rows, shown_tasks), shown_protocols) if baselines else []
    shown_groups = _groups_of(shown_tasks, groups or {})
    compared = with_groups(with_differences(with_standings(rows, shown_tasks), rivals, shown_tasks), shown_groups)
    notes = [
        *_average_note(rows, shown_tasks),
        *_standing_notes(compared, shown_tasks),
        *(rival.note(len(shown_tasks)) for rival in rivals),
        *_group_notes(shown_groups),
        *_source_notes(beside),
        *_caveat_notes(beside, shown_tasks),
        *_filter_notes(published, beside),
        *_selection_notes(records, values, include_partial),
        *_variant_notes(records, label),
        *_problem_notes(records, values, label),
    ]
    verdicts = _verdicts(chosen.of_models) if claims else ()
    return Leaderboard(tuple(shown_tasks), tuple(compared), tuple(notes), shown_groups, tuple(baselines), verdicts)


def _in_order(names: Sequence[str], chosen: set[str]) -> list[str]:
    return [name for name in names if name in chosen]


def _group_notes(groups: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"tag:{tag}: average over {', '.join(names)}." for tag, names in groups.items()]


def _source_notes(rows: Sequence[PublishedRow]) -> list[str]:
    return list(dict.fromkeys(f"{row.origin}: {row.source}." for row in rows))


def _caveat_notes(rows: Sequence[PublishedRow], tasks: Sequence[str]) -> Iterable[str]:
    """Say which imported numbers are of other test samples than the task's; a paper's caveats are in its YAML."""
    for origin in dict.fromkeys(row.origin for row in rows if row.imported):
        caveats = {task: text for row in rows if row.origin == origin for task, text in row.caveats.items()}
        if known := [f"{task}: {caveats[task]}" for task in tasks if task in caveats]:
            yield f"{origin}, other test samples than the task's: {'; '.join(known)}."


def _filter_notes(published: Sequence[PublishedRow], shown: Sequence[PublishedRow]) -> Iterable[str]:
    if published and not shown:
        yield (
            f"none of the {len(published)} published row(s) is of the models, tasks and protocols of the table; "
            "--tasks and --protocol choose others than those that were measured."
        )


def _with_published(rows: Sequence[Row], tasks: Sequence[str]) -> list[Row]:
    """Return the rows of the table and every published one: what a baseline is chosen from."""
    shown = {(row.model, row.protocol, row.origin) for row in rows}
    others = _published_rows(load_published(), tasks)
    return [*rows, *(row for row in others if (row.model, row.protocol, row.origin) not in shown)]


def _groups_of(tasks: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the tasks of the table in each group; groups without any are left out."""
    found = {tag: tuple(task for task in tasks if task in members) for tag, members in groups.items()}
    return {tag: names for tag, names in found.items() if names}


def _verdicts(records: list[Result]) -> tuple[Verdict, ...]:
    """Check the claims of every published set on its own rows and on the measured ones, partial ones excepted."""
    values, label = best_values(records, include_partial=False), row_labels(records)
    verdicts: list[Verdict] = []
    for name, described in published_sets().items():
        tasks = [task.task for task in load_published_tasks(name)]
        rows = [*_published_rows(load_published([name]), tasks), *_measured_rows(values, label, tasks)]
        verdicts += check_claims(described.claims, rows, tasks)
    return tuple(verdicts)


def _measured_rows(values: Values, label: Mapping[RowKey, tuple[str, str]], tasks: Sequence[str]) -> Iterable[Row]:
    for key in dict.fromkeys(key for key, _ in values):
        cells = {
            task: _cell(record.metric, record)
            for task in tasks
            if (record := values.get((key, task))) is not None and record.metric is not None
        }
        if cells:
            yield Row(*label[key], MEASURED, cells)


def _cell(metric: MetricRecord, record: Result) -> Cell:
    interval = metric.interval
    low, high = (100 * interval.low, 100 * interval.high) if interval else (None, None)
    return Cell(100 * metric.value, record.status == "partial", metric.n, low, high, record)


def _published_rows(published: Sequence[PublishedRow], tasks: Sequence[str]) -> Iterable[Row]:
    for row in published:
        cells = {task: Cell(100 * row.scores[task], n=row.test_sizes.get(task)) for task in tasks if task in row.scores}
        if cells:
            yield Row(row.slug, row.protocol, row.origin, cells)


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


def _selection_notes(records: list[Result], values: Values, include_partial: bool) -> Iterable[str]:
    """Say which values were marked, left out, or chosen among several."""
    partial = [record for record in records if record.status == "partial" and has_value(record)]
    if partial and include_partial:
        yield "*: a partial result, computed from a part of the samples."
    elif partial:
        yield f"{len(partial)} partial result(s) are left out; --include-partial shows them, marked."
    complete = Counter((RowKey.of(record), record.task) for record in records if record.status == "ok")
    repeated = sum(1 for cell, count in complete.items() if count > 1 and cell in values)
    if repeated:
        yield f"{repeated} value(s) were found in several files; the newest is shown."


def _variant_notes(records: list[Result], label: Mapping[RowKey, tuple[str, str]]) -> Iterable[str]:
    """Explain the hashes in names: other weights (@) and other options (#)."""
    renamed = sorted({label[key][0] for key in label if label[key][0] != key.model})
    if renamed:
        yield f"@: one name, different weights or preprocessing: {', '.join(renamed)}."
    variants = {label[RowKey.of(record)][1]: record for record in records if record.options_hash is not None}
    for name, record in sorted(variants.items()):
        options = ", ".join(f"{key}={value}" for key, value in record.changed_options.items())
        yield f"{name}: other options than the default ({options})." if options else f"{name}: other options."


def _problem_notes(records: list[Result], values: Values, label: Mapping[RowKey, tuple[str, str]]) -> Iterable[str]:
    """Name every job that failed or does not apply; jobs of one row that failed alike share a line."""
    tasks: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for record in records:
        problem = problem_of(record)
        if problem is None:
            continue
        key = RowKey.of(record)
        word, message = problem
        shown = " (another run's value is shown)" if (key, record.task) in values else ""
        tasks[(word, *label[key], message)].append(record.task + shown)
    for (word, model, protocol, message), names in sorted(tasks.items()):
        yield f"{word}: {model}, {protocol}, {', '.join(sorted(names))}: {message}"
