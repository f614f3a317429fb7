"""`evalsuite robustness`: accuracy under shift, and how much of it baselines of the same accuracy do not have."""

from __future__ import annotations

import click

from evalsuite.cli.destination import Destination, destination_options
from evalsuite.cli.options import Command
from evalsuite.cli.tables import Shown, names_option, shown_options
from evalsuite.text import counted


@click.command(
    "robustness",
    cls=Command,
    epilog="""
    evalsuite run -m ViT-B/32 -t imagenet,shift           measure it first
    evalsuite robustness                                  against the models of the paper that were trained on ImageNet
    evalsuite robustness --protocol zero_shot -t objectnet
    evalsuite robustness --baseline 'resnet/*'            against baselines of your own
    evalsuite robustness --to shift.csv                   a line for each model and task
    """,
)
@shown_options
@names_option(
    "--baseline",
    "baselines",
    help="Models or families, measured or published, that the line is fitted on. [default: the paper's ResNet-101, "
    "NS EfficientNet-L2 and FixResNeXt101]",
)
@destination_options("markdown", "csv", "json", told="markdown")
def robustness(shown: Shown, baselines: list[str], to: Destination) -> None:
    """Show accuracy under shift and effective robustness: points above baselines of the same accuracy without shift."""
    from evalsuite.report.robustness import build_robustness
    from evalsuite.report.robustness_formats import FORMATS
    from evalsuite.results.library import Library
    from evalsuite.results.shift import read_shift_tables

    to.chosen(FORMATS)
    table, _ = shown.read(Library(), required=False)
    found = build_robustness(table, read_shift_tables(), baselines=baselines, **shown.filters)
    to.emit(found, FORMATS, counted(len(found.rows), "row"), found.notes)
