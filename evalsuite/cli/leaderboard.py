"""`evalsuite leaderboard`: compare what was measured, and what papers printed, in one table."""

from __future__ import annotations

import click

from evalsuite.cli.destination import Destination
from evalsuite.cli.options import Command
from evalsuite.cli.tables import Shown, board_options, emit_board, names_option, shown_options


@click.command(
    "leaderboard",
    cls=Command,
    epilog="""
    evalsuite leaderboard                                          everything measured so far
    evalsuite leaderboard --protocol linear_probe --published all  your probes among the paper's 66
    evalsuite leaderboard -m 'clip/*' -t mnist,cifar10             some models on two tasks
    evalsuite leaderboard --published resnet/50,'bit-m/*'          next to chosen rows of the paper
    evalsuite leaderboard --baseline resnet/50,bit-m --groups main how far ahead, and on what kind of task
    evalsuite leaderboard --claims                                 does the paper's table say what is said of it
    evalsuite leaderboard -o runs/mon -o runs/tue --to board.md    two results folders in one file
    evalsuite leaderboard --to board.csv --include-partial         for a spreadsheet, partial ones named
    """,
)
@shown_options
@names_option(
    "--baseline",
    "baselines",
    help="Add the difference to the best of a model or family, measured or published: resnet/50,bit-m,efficientnet-ns.",
)
@names_option(
    "--groups",
    metavar="main|TAG",
    help="Add averages by tag: these tags, or main for those where encoders are known to differ.",
)
@click.option("--claims", is_flag=True, help="Check the headline claims of the paper on its tables and your results.")
@board_options
def leaderboard(
    shown: Shown,
    baselines: list[str],
    groups: list[str],
    claims: bool,
    to: Destination,
) -> None:
    """Show models x tasks: every metric in percent, best average first."""
    from evalsuite.report.leaderboard import build_leaderboard
    from evalsuite.results.library import Library
    from evalsuite.results.naming import tasks_of_tags
    from evalsuite.results.numbers import Numbers

    library = Library()
    table, _ = shown.read(library, required=not claims)
    if claims and not table.places:
        table = Numbers(library.printed)
    board = build_leaderboard(
        table,
        **shown.filters,
        baselines=baselines,
        groups=tasks_of_tags(groups, table.numbers),
        claims=claims,
        library=library,
    )
    emit_board(board, to)
