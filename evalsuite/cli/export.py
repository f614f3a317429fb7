"""evalsuite export: results for other programs, one row per number or as the head of a model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.options import Command, Group, ModelName
from evalsuite.cli.tables import RAW, Shown, deliver, measured_options, shown_options
from evalsuite.cli.terminal import say
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.results.numbers import Number

target_option = click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file.  [default: the terminal]",
)


@click.group(cls=Group)
def export() -> None:
    """Write results for other programs: csv, parquet, or the head of a model card."""


@export.command(
    cls=Command,
    epilog="""
    evalsuite export csv --to numbers.csv                   everything measured so far
    evalsuite export csv --published all -t mnist,cifar10   next to the numbers of papers and imports
    """,
)
@shown_options
@RAW
@target_option
def csv(shown: Shown, raw: bool, target: Path | None) -> None:
    """Write one row per number: model, task, protocol, metric, value, interval, n, origin, versions; fractions."""
    from evalsuite.report.escaping import frame_to_csv
    from evalsuite.report.export import to_frame

    numbers = _numbers(shown)
    deliver(frame_to_csv(to_frame(numbers), raw=raw), target, counted(len(numbers), "number"))


@export.command(
    cls=Command,
    epilog="""
    evalsuite export parquet --to numbers.parquet
    evalsuite export parquet -o runs/mon -o runs/tue --published clip-paper --to numbers.parquet
    """,
)
@shown_options
@click.option(
    "--to", "target", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write."
)
def parquet(shown: Shown, target: Path) -> None:
    """Write the table of `export csv` as a Parquet file, with types."""
    from evalsuite.atomic import write_with
    from evalsuite.errors import UsageError
    from evalsuite.report.export import to_frame

    numbers = _numbers(shown)
    try:
        write_with(target, lambda file: to_frame(numbers).to_parquet(file, index=False))
    except OSError as error:
        raise UsageError(f"Cannot write {target}: {error.strerror or error}.") from error
    say(f"Wrote {counted(len(numbers), 'number')} to {target}.")


@export.command(
    "model-card",
    cls=Command,
    epilog="""
    evalsuite export model-card ViT-B/32                          to paste between the --- lines of a README.md
    evalsuite export model-card my_model --protocol zero_shot --to card.yaml
    """,
)
@click.argument("model", type=ModelName())
@measured_options
@target_option
def model_card(shown: Shown, model: str, target: Path | None) -> None:
    """Write the `model-index` YAML of a Hugging Face model card: what was measured of MODEL."""
    from evalsuite.report.model_card import model_card
    from evalsuite.results.task_files import index_of

    numbers = _numbers(shown, [model])
    index = index_of(numbers)
    titles = {name: index.load(name).title for name in {number.task for number in numbers} if name in index.files}
    deliver(model_card(numbers, titles), target)


def _numbers(shown: Shown, models: list[str] | None = None) -> list[Number]:
    """Return the numbers that the options select; models: in place of the option."""
    from evalsuite.report.export import exported
    from evalsuite.results.library import Library

    table, _ = shown.read(Library())
    return exported(table, **{**shown.filters, **({"models": models} if models else {})})
