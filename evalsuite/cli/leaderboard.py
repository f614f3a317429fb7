"""`evalsuite leaderboard`: compare what was measured, and what papers printed, in one table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.options import (
    Command,
    include_partial_option,
    published_option,
    results_option,
    shown_models_option,
    shown_protocols_option,
    shown_tags_option,
    shown_tasks_option,
    split_commas,
)

if TYPE_CHECKING:
    from evalsuite.records import Result
    from evalsuite.report.table import Leaderboard
    from evalsuite.results.published import PublishedRow

MAIN_TAGS = ("general", "fine-grained", "abstract", "digits", "ocr", "satellite", "medical", "action")
"""Kinds of tasks on which encoders are known to differ (paper, sections 3.1.5 and 6)."""


@click.command(
    "leaderboard",
    cls=Command,
    epilog="""
    evalsuite leaderboard                                          everything measured so far
    evalsuite leaderboard --protocol linear_probe --published all  your probes among the paper's 66
    evalsuite leaderboard -m 'clip/*' -t mnist,cifar10             some models on two tasks
    evalsuite leaderboard --published resnet/50,'bit-m/*'          beside chosen rows of the paper
    evalsuite leaderboard --baseline resnet/50,bit-m --groups main how far ahead, and on what kind of task
    evalsuite leaderboard --claims                                 does the paper's table say what is said of it
    evalsuite leaderboard -o runs/mon -o runs/tue --to board.md    two results folders in one file
    evalsuite leaderboard --to board.csv --include-partial         for a spreadsheet, partial ones named
    """,
)
@results_option
@shown_protocols_option
@shown_tasks_option
@shown_models_option
@published_option
@shown_tags_option
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME",
    help="Add the difference to the best of a model or family, measured or published: resnet/50,bit-m,efficientnet-ns.",
)
@click.option(
    "--groups",
    multiple=True,
    metavar="main|TAG",
    help="Add averages by tag: these tags, or main for those where encoders are known to differ.",
)
@click.option("--claims", is_flag=True, help="Check the headline claims of the paper on its tables and your results.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["terminal", "markdown", "csv", "json", "latex", "html"]),
    help="[default: terminal on one, markdown in a pipe]",
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file; its suffix (.md, .csv, .json, .tex, .html) tells the format.",
)
@include_partial_option
def leaderboard(
    outputs: tuple[Path, ...],
    protocols: tuple[str, ...],
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    published: tuple[str, ...],
    tags: tuple[str, ...],
    baselines: tuple[str, ...],
    groups: tuple[str, ...],
    claims: bool,
    format_name: str | None,
    target: Path | None,
    include_partial: bool,
) -> None:
    """Show models x tasks: every metric in percent, best average first."""
    from evalsuite.report.formats import FORMATS, format_of
    from evalsuite.report.leaderboard import build_leaderboard
    from evalsuite.results.imported import load_published_or_imported
    from evalsuite.results.published import load_published

    chosen_format = format_name or (format_of(target) if target else _format_of_stdout())
    rows = load_published_or_imported(split_commas(published)) if published else []
    results = load_folders(outputs, required=not rows and not claims)
    if claims and not rows and not results:
        rows = load_published()
    board = build_leaderboard(
        results,
        rows,
        protocols=split_commas(protocols) or None,
        tasks=with_tags(task_names(split_commas(tasks), results, rows), split_commas(tags), results, rows) or None,
        models=split_commas(models) or None,
        include_partial=include_partial,
        baselines=split_commas(baselines),
        groups=_groups(split_commas(groups)),
        claims=claims,
    )
    if chosen_format == "terminal" and target is None:
        _show(board)
        return
    text = FORMATS[chosen_format](board)
    if target is None:
        click.echo(text, nl=False)
    else:
        write_output(target, text)
        click.echo(f"Wrote {len(board.rows)} rows to {target}.")
    if chosen_format == "csv":  # it has no place for notes, and they must not be lost
        for note in board.remarks:
            click.echo(note, err=True)


def _format_of_stdout() -> str:
    return "terminal" if sys.stdout.isatty() else "markdown"


def _show(board: Leaderboard) -> None:
    from rich.console import Console

    from evalsuite.report.terminal import renderables

    console = Console(highlight=False)
    console.print(*renderables(board, console.width), sep="\n")


def write_output(target: Path, text: str) -> None:
    """Write `text` to the file that --to names; UsageError where that cannot be."""
    from evalsuite.atomic import write_text
    from evalsuite.errors import UsageError

    try:
        write_text(target, text)
    except OSError as error:
        raise UsageError(f"Cannot write {target}: {error.strerror or error}.") from error


def task_names(names: Sequence[str], results: Sequence[Result], published: Sequence[PublishedRow]) -> list[str]:
    """Return `names` with each group replaced by those of its tasks that have results, and each file by its task."""
    if not names:
        return []
    from evalsuite.tasks import TaskIndex

    groups = TaskIndex().groups
    there = {result.task for result in results} | {task for row in published for task in row.scores}
    tasks: list[str] = []
    for name in names:
        members = [task for task in groups.get(name, []) if task in there]
        tasks += members or [Path(name).stem if name.endswith((".yaml", ".yml")) else name]
    return tasks


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


def _groups(tags: Sequence[str]) -> dict[str, list[str]]:
    """Return the tasks of each tag; `main` stands for MAIN_TAGS."""
    if not tags:
        return {}
    from evalsuite.tasks import TaskIndex

    index = TaskIndex()
    chosen = dict.fromkeys(name for tag in tags for name in (MAIN_TAGS if tag == "main" else (tag,)))
    return {tag: index.expand(f"tag:{tag}") for tag in chosen}


def load_folders(outputs: Sequence[Path], *, required: bool) -> list[Result]:
    """Read the results; where none are found and some are required, say what to type to get some."""
    from evalsuite.config import default_output
    from evalsuite.errors import UsageError
    from evalsuite.results.store import load_results

    folders = list(outputs) or [default_output()]
    how = "Measure something first, for example:\n  evalsuite run --model pocket --tasks digits"
    missing = [str(folder) for folder in folders if not folder.exists()]
    if missing and (outputs or required):
        raise UsageError(f"There is no results folder {', '.join(missing)}. {how}")
    results, warnings = ([], []) if missing else load_results(folders)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if required and not results:
        raise UsageError(f"There are no results in {', '.join(map(str, folders))}. {how}")
    return results
