"""`evalsuite report`: the results as one web page, to look at and to send to others."""

from __future__ import annotations

import functools
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite import __version__
from evalsuite.cli.destination import target_option, write_output
from evalsuite.cli.known_tasks import tell_foreign
from evalsuite.cli.options import (
    Command,
    data_root_option,
    include_path_option,
    trust_adapters_option,
)
from evalsuite.cli.tables import Shown, names_option, shown_options
from evalsuite.cli.terminal import say

if TYPE_CHECKING:
    from evalsuite.results.numbers import Numbers


@click.command(
    "report",
    cls=Command,
    epilog="""
    evalsuite report --open                              everything measured so far, in evalsuite-report.html
    evalsuite report --published all --to board.html     among the rows of the paper
    evalsuite report --published all -o runs/monday      one results folder
    evalsuite report --detail ViT-B/32 --data-root DIR   what one model gets wrong, with thumbnails
    evalsuite report --tag satellite --detail 'clip/*'   the mistakes of several models on two tasks
    """,
)
@shown_options
@names_option(
    "--detail",
    "details",
    metavar="MODEL",
    help="Look behind the scores of this model: name or pattern; repeat it or separate by commas.  "
    "[default: the best measured one of each task and protocol]",
)
@target_option("The file to write.", default=Path("evalsuite-report.html"), show_default=True)
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@data_root_option
@include_path_option
@trust_adapters_option
def report(
    shown: Shown,
    details: list[str],
    target: Path,
    show: bool,
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
    from evalsuite.results.library import Library
    from evalsuite.results.naming import MAIN_TAGS
    from evalsuite.results.task_files import index_of
    from evalsuite.text import counted

    library = Library()
    table, warnings = shown.read(library)
    index = tell_foreign(index_of(table.numbers, include_paths))
    tell = functools.partial(say, err=True)
    groups = {tag: index.expand(f"tag:{tag}") for tag in MAIN_TAGS}
    board = build_leaderboard(table, **shown.filters, groups=groups, library=library, tell=tell)
    page = report_page(
        board,
        detail=details,
        index=index,
        place=build(DataPlace, {"data_root": data_root, "trust_adapters": trust_adapters}),
        left_out=warnings,
        version=__version__,
        library=library,
        numbers=_chosen(table, shown),
        folder=target.resolve().parent,
        tell=tell,
    )
    write_output(target, page)
    size = f"{len(page.encode()) / 1e6:.1f} MB"
    say(f"Wrote {counted(len(board.rows), 'row')} and {counted(len(board.tasks), 'task')} to {target} ({size}).")
    if show and not webbrowser.open(target.resolve().as_uri()):
        say(f"There is no browser here. Open it elsewhere: {target.resolve()}", err=True)


def _chosen(table: Numbers, shown: Shown) -> Numbers:
    """Return what the filters let through, of all protocols unless some are named."""
    from evalsuite.results.naming import select
    from evalsuite.results.numbers import Numbers

    filters = {name: names for name, names in shown.filters.items() if name != "include_partial"}
    chosen = select(table, **filters).chosen
    kept = (number for number in chosen.numbers if shown.include_partial or not number.partial)
    return Numbers(tuple(kept), chosen.failures)
