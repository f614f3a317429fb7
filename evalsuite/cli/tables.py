"""What the commands that show results as a table share: folders, names of tasks, where the table goes."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from evalsuite.records import Result
    from evalsuite.results.published import PublishedRow
    from evalsuite.results.store import StoredResult


def read_results(outputs: Sequence[Path], *, required: bool) -> list[StoredResult]:
    """Read the results; where none are found and some are required, say what to type to get some."""
    return read_results_and_warnings(outputs, required=required)[0]


def read_results_and_warnings(outputs: Sequence[Path], *, required: bool) -> tuple[list[StoredResult], list[str]]:
    """Read the results like `read_results`; return also what it warns of: files that are left out, and why."""
    from evalsuite.config import default_output
    from evalsuite.errors import UsageError
    from evalsuite.results.store import load_stored

    folders = list(outputs) or [default_output()]
    how = "Measure something first, for example:\n  evalsuite run --model pocket --tasks digits"
    missing = [str(folder) for folder in folders if not folder.exists()]
    if missing and (outputs or required):
        raise UsageError(f"There is no results folder {', '.join(missing)}. {how}")
    stored, warnings = ([], []) if missing else load_stored(folders)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if required and not stored:
        raise UsageError(f"There are no results in {', '.join(map(str, folders))}. {how}")
    return stored, warnings


def task_names(names: Sequence[str], there: Container[str]) -> list[str]:
    """Return `names` with each group replaced by those of its tasks that are `there`, and each file by its task."""
    if not names:
        return []
    from evalsuite.tasks import TaskIndex

    groups = TaskIndex().groups
    tasks: list[str] = []
    for name in names:
        members = [task for task in groups.get(name, []) if task in there]
        tasks += members or [Path(name).stem if name.endswith((".yaml", ".yml")) else name]
    return tasks


def tasks_there(results: Sequence[Result], published: Sequence[PublishedRow]) -> set[str]:
    """Return the tasks of which any of them has a number."""
    return {result.task for result in results} | {task for row in published for task in row.scores}


def with_tags(
    names: list[str], tags: Sequence[str], results: Sequence[Result], published: Sequence[PublishedRow]
) -> list[str]:
    """Return the tasks of `names`, or of everything there, that have one of `tags`."""
    if not tags:
        return names
    from evalsuite.errors import UsageError
    from evalsuite.tasks import TaskIndex

    index = TaskIndex()
    there = [*dict.fromkeys(task for row in published for task in row.scores), *(result.task for result in results)]
    tagged = {task for tag in tags for task in index.expand(f"tag:{tag}")}
    found = [task for task in names or dict.fromkeys(there) if task in tagged]
    if not found:
        raise UsageError(
            f"No task of the table has the tag {' or '.join(tags)}; leave out --tag or choose other tasks."
        )
    return found


def emit(text: str, notes: Sequence[str], rows: int, target: Path | None, format_name: str) -> None:
    """Print a table, or write it to `target` and say so; a CSV has no place for notes, which go to stderr."""
    if target is None:
        click.echo(text, nl=False)
    else:
        write_output(target, text)
        click.echo(f"Wrote {rows} rows to {target}.")
    if format_name == "csv":
        for note in notes:
            click.echo(note, err=True)


def write_output(target: Path, text: str) -> None:
    """Write `text` to the file that --to names; UsageError where that cannot be."""
    from evalsuite.atomic import write_text
    from evalsuite.errors import UsageError

    try:
        write_text(target, text)
    except OSError as error:
        raise UsageError(f"Cannot write {target}: {error.strerror or error}.") from error
