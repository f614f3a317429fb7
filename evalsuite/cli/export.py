"""evalsuite export: results for other programs, a row a number or as the head of a model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.options import (
    Command,
    Group,
    ModelName,
    include_partial_option,
    published_option,
    results_option,
    shown_models_option,
    shown_protocols_option,
    shown_tags_option,
    shown_tasks_option,
    split_commas,
)
from evalsuite.cli.tables import read_results, task_names, tasks_there, with_tags, write_output

if TYPE_CHECKING:
    from evalsuite.report.tidy import Number

target_option = click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file.  [default: the terminal]",
)


@click.group(cls=Group)
def export() -> None:
    """Write results for other programs: csv, parquet, or the head of a model card."""


def _selecting(command: Any) -> Any:
    """Give a command the filters of `leaderboard`."""
    options = (
        results_option,
        shown_protocols_option,
        shown_tasks_option,
        shown_models_option,
        published_option,
        shown_tags_option,
        include_partial_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@export.command(
    cls=Command,
    epilog="""
    evalsuite export csv --to numbers.csv                   everything measured so far
    evalsuite export csv --published all -t mnist,cifar10   beside the numbers of papers and imports
    """,
)
@_selecting
@target_option
def csv(target: Path | None, **filters: Any) -> None:
    """Write a row a number: model, task, protocol, metric, value, interval, n, origin, versions; fractions."""
    from evalsuite.report.tidy import to_frame

    numbers = _numbers(**filters)
    text = to_frame(numbers).to_csv(index=False, lineterminator="\n")
    if target is None:
        click.echo(text, nl=False)
        return
    write_output(target, text)
    click.echo(f"Wrote {len(numbers)} numbers to {target}.")


@export.command(
    cls=Command,
    epilog="""
    evalsuite export parquet --to numbers.parquet
    evalsuite export parquet -o runs/mon -o runs/tue --published clip-paper --to numbers.parquet
    """,
)
@_selecting
@click.option(
    "--to", "target", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write."
)
def parquet(target: Path, **filters: Any) -> None:
    """Write the table of `export csv` as a Parquet file, with types."""
    from evalsuite.atomic import write_with
    from evalsuite.errors import UsageError
    from evalsuite.report.tidy import to_frame

    numbers = _numbers(**filters)
    try:
        write_with(target, lambda path: to_frame(numbers).to_parquet(path, index=False))
    except OSError as error:
        raise UsageError(f"Cannot write {target}: {error.strerror or error}.") from error
    click.echo(f"Wrote {len(numbers)} numbers to {target}.")


@export.command(
    "model-card",
    cls=Command,
    epilog="""
    evalsuite export model-card ViT-B/32                          to paste between the --- lines of a README.md
    evalsuite export model-card my_model --protocol zero_shot --to card.yaml
    """,
)
@click.argument("model", type=ModelName())
@results_option
@shown_protocols_option
@shown_tasks_option
@shown_tags_option
@include_partial_option
@target_option
def model_card(model: str, target: Path | None, **filters: Any) -> None:
    """Write the `model-index` YAML of a Hugging Face model card: what was measured of MODEL."""
    from evalsuite.report.model_card import model_card
    from evalsuite.tasks import TaskIndex

    name, _, state = model.partition(" @")  # how a leaderboard tells weights of one name apart
    numbers = [item for item in _numbers(models=(name,), published=(), **filters) if not state or item.model == model]
    index = TaskIndex()
    titles = {name: index.load(name).title for name in {number.task for number in numbers} if name in index.files}
    text = model_card(numbers, titles)
    if target is None:
        click.echo(text, nl=False)
        return
    write_output(target, text)
    click.echo(f"Wrote {target}.")


def _numbers(
    outputs: tuple[Path, ...],
    protocols: tuple[str, ...],
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    published: tuple[str, ...],
    tags: tuple[str, ...],
    include_partial: bool,
) -> list[Number]:
    """Return the numbers that the options select."""
    from evalsuite.report.tidy import list_numbers
    from evalsuite.results.imported import load_published_or_imported

    rows = load_published_or_imported(split_commas(published)) if published else []
    results = [item.result for item in read_results(outputs, required=not rows)]
    names = task_names(split_commas(tasks), tasks_there(results, rows))
    return list_numbers(
        results,
        rows,
        protocols=split_commas(protocols) or None,
        tasks=with_tags(names, split_commas(tags), results, rows) or None,
        models=split_commas(models) or None,
        include_partial=include_partial,
    )
