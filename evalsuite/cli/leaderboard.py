"""`evalsuite leaderboard`: compare what was measured, and what papers printed, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.options import Command, ModelName, TaskName, split_commas

if TYPE_CHECKING:
    from evalsuite.records import Result
    from evalsuite.results.published import PublishedRow


@click.command(
    "leaderboard",
    cls=Command,
    epilog="""
    evalsuite leaderboard                                          everything measured so far
    evalsuite leaderboard --protocol linear_probe --published all  your probes among the paper's 66
    evalsuite leaderboard -m 'clip/*' -t mnist,cifar10             some models on two tasks
    evalsuite leaderboard --published resnet/50,'bit-m/*'          beside chosen rows of the paper
    evalsuite leaderboard -o runs/mon -o runs/tue --to board.md    two results folders in one file
    evalsuite leaderboard --to board.csv --include-partial         for a spreadsheet, partial ones named
    """,
)
@click.option(
    "--output",
    "-o",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of results, as given to `evalsuite run`; may be repeated.  [default: where `run` writes]",
)
@click.option("--protocol", "--protocols", "protocols", multiple=True, help="Only these protocols, e.g. zero_shot.")
@click.option(
    "--tasks",
    "--task",
    "-t",
    "tasks",
    multiple=True,
    type=TaskName(),
    metavar="NAME",
    help="Only these tasks, in this order: names, groups or patterns; repeat it or separate by commas.",
)
@click.option(
    "--models",
    "--model",
    "-m",
    "models",
    multiple=True,
    type=ModelName(),
    metavar="NAME",
    help="Only these of the measured models: names or patterns; repeat it or separate by commas.",
)
@click.option(
    "--published",
    multiple=True,
    metavar="all|clip-paper|NAME",
    help="Add rows of papers: all, a set, a row (resnet/50), a family (resnet) or a pattern ('bit-m/*').",
)
@click.option("--format", "format_name", type=click.Choice(["markdown", "csv"]), help="[default: markdown]")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file; its suffix (.md, .csv) tells the format.",
)
@click.option("--include-partial", is_flag=True, help="Show results computed from a part of the samples, marked *.")
def leaderboard(
    outputs: tuple[Path, ...],
    protocols: tuple[str, ...],
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    published: tuple[str, ...],
    format_name: str | None,
    target: Path | None,
    include_partial: bool,
) -> None:
    """Show models x tasks: every metric in percent, best average first."""
    from evalsuite.report.formats import FORMATS, format_of
    from evalsuite.report.leaderboard import build_leaderboard
    from evalsuite.results.published import load_published

    chosen_format = format_name or (format_of(target) if target else "markdown")
    rows = load_published(split_commas(published)) if published else []
    results = _load(outputs, required=not rows)
    board = build_leaderboard(
        results,
        rows,
        protocols=split_commas(protocols) or None,
        tasks=_task_names(split_commas(tasks), results, rows) or None,
        models=split_commas(models) or None,
        include_partial=include_partial,
    )
    text = FORMATS[chosen_format](board)
    if target is None:
        click.echo(text, nl=False)
    else:
        _write(target, text)
        click.echo(f"Wrote {len(board.rows)} rows to {target}.")
    if chosen_format == "csv":  # a CSV has no place for notes, and they must not be lost
        for note in board.notes:
            click.echo(note, err=True)


def _write(target: Path, text: str) -> None:
    from evalsuite.atomic import write_text
    from evalsuite.errors import UsageError

    try:
        write_text(target, text)
    except OSError as error:
        raise UsageError(f"Cannot write {target}: {error.strerror or error}.") from error


def _task_names(names: Sequence[str], results: Sequence[Result], published: Sequence[PublishedRow]) -> list[str]:
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


def _load(outputs: Sequence[Path], *, required: bool) -> list[Result]:
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
