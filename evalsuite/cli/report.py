"""`evalsuite report`: the results as one web page, to look at and to send to others."""

from __future__ import annotations

from pathlib import Path

import click

from evalsuite import __version__
from evalsuite.cli.leaderboard import MAIN_TAGS
from evalsuite.cli.options import (
    Command,
    data_root_option,
    include_partial_option,
    include_path_option,
    published_option,
    results_option,
    shown_models_option,
    shown_protocols_option,
    shown_tags_option,
    shown_tasks_option,
    split_commas,
    trust_adapters_option,
)
from evalsuite.cli.tables import read_results_and_warnings, task_names, tasks_there, with_tags, write_output


@click.command(
    "report",
    cls=Command,
    epilog="""
    evalsuite report                                     everything measured so far, in evalsuite-report.html
    evalsuite report --published all --to board.html     among the rows of the paper
    evalsuite report --published all -o runs/monday      one results folder
    evalsuite report --detail ViT-B/32 --data-root DIR   what one model gets wrong, with thumbnails
    evalsuite report --tag satellite --detail 'clip/*'   the mistakes of several models on two tasks
    """,
)
@results_option
@shown_protocols_option
@shown_tasks_option
@shown_models_option
@published_option
@shown_tags_option
@click.option(
    "--detail",
    "details",
    multiple=True,
    metavar="MODEL",
    help="Look behind the scores of this model: name or pattern; repeat it or separate by commas.  "
    "[default: the best measured one of each task and protocol]",
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("evalsuite-report.html"),
    show_default=True,
    help="The file to write.",
)
@include_partial_option
@data_root_option
@include_path_option
@trust_adapters_option
def report(
    outputs: tuple[Path, ...],
    protocols: tuple[str, ...],
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    published: tuple[str, ...],
    tags: tuple[str, ...],
    details: tuple[str, ...],
    target: Path,
    include_partial: bool,
    data_root: Path | None,
    include_paths: tuple[Path, ...],
    trust_adapters: bool,
) -> None:
    """Write one self-contained HTML page: the leaderboard, plots, and what models get wrong.

    Confusions, calibration and mistakes need results of `evalsuite run --log-samples`; thumbnails need the images, too.
    """
    from evalsuite.data.place import DataPlace
    from evalsuite.options import build
    from evalsuite.report.html.page import report_page
    from evalsuite.report.leaderboard import build_leaderboard
    from evalsuite.results.imported import load_published_or_imported
    from evalsuite.tasks import TaskIndex

    index = TaskIndex(include_paths)
    rows = load_published_or_imported(split_commas(published)) if published else []
    stored, warnings = read_results_and_warnings(outputs, required=not rows)
    results = [item.result for item in stored]
    names = task_names(split_commas(tasks), tasks_there(results, rows))
    board = build_leaderboard(
        results,
        rows,
        protocols=split_commas(protocols) or None,
        tasks=with_tags(names, split_commas(tags), results, rows) or None,
        models=split_commas(models) or None,
        include_partial=include_partial,
        groups={tag: index.expand(f"tag:{tag}") for tag in MAIN_TAGS},
    )
    place = build(DataPlace, {"data_root": data_root, "trust_adapters": trust_adapters})
    page = report_page(
        board,
        stored,
        detail=split_commas(details),
        index=index,
        place=place,
        left_out=warnings,
        version=__version__,
    )
    write_output(target, page)
    click.echo(
        f"Wrote {len(board.rows)} rows and {len(board.tasks)} tasks to {target} ({len(page.encode()) / 1e6:.1f} MB)."
    )
