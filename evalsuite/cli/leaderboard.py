"""`evalsuite leaderboard`: compare what was measured, and what papers printed, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.options import Command, ModelName, TaskName, split_commas
from evalsuite.cli.tables import emit, outputs_option, protocols_option, read_results, task_names

if TYPE_CHECKING:
    from evalsuite.records import Result
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
@outputs_option
@protocols_option
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
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only the tasks with one of these tags, e.g. ocr.")
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
    type=click.Choice(["markdown", "csv", "json", "latex", "html"]),
    help="[default: markdown]",
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file; its suffix (.md, .csv, .json, .tex, .html) tells the format.",
)
@click.option("--include-partial", is_flag=True, help="Show results computed from a part of the samples, marked *.")
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
    from evalsuite.results.published import load_published

    chosen_format = format_name or (format_of(target) if target else "markdown")
    rows = load_published(split_commas(published)) if published else []
    results = [item.result for item in read_results(outputs, required=not rows and not claims)]
    if claims and not rows and not results:
        rows = load_published()
    there = {result.task for result in results} | {task for row in rows for task in row.scores}
    board = build_leaderboard(
        results,
        rows,
        protocols=split_commas(protocols) or None,
        tasks=_with_tags(task_names(split_commas(tasks), there), split_commas(tags), results, rows) or None,
        models=split_commas(models) or None,
        include_partial=include_partial,
        baselines=split_commas(baselines),
        groups=_groups(split_commas(groups)),
        claims=claims,
    )
    text = FORMATS[chosen_format](board)
    emit(text, board.remarks, len(board.rows), target, chosen_format)


def _with_tags(
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
