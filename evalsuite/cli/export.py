"""evalsuite export: results for other programs, one row per number or as the head of a model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.destination import deliver, raw_option, target_option, to_option, writing
from evalsuite.cli.options import Command, Group, ModelName, split_commas
from evalsuite.cli.tables import Shown, measured_options, shown_options
from evalsuite.cli.terminal import say
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.report.eval_results import Units
    from evalsuite.results.numbers import Number
    from evalsuite.tasks import TaskSpec


@click.group(cls=Group)
def export() -> None:
    """Write results for other programs: csv, parquet, the head of a model card, or what the hub's leaderboards read."""


@export.command(
    cls=Command,
    epilog="""
    evalsuite export csv --to numbers.csv                   everything measured so far
    evalsuite export csv --published all -t mnist,cifar10   next to the numbers of papers and imports
    """,
)
@shown_options
@raw_option
@to_option
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
@target_option("The file to write.", required=True)
def parquet(shown: Shown, target: Path) -> None:
    """Write the table of `export csv` as a Parquet file, with types."""
    from evalsuite.atomic import write_with
    from evalsuite.report.export import to_frame

    numbers = _numbers(shown)
    with writing(target):
        write_with(target, lambda file: to_frame(numbers).to_parquet(file, index=False))
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
@to_option
def model_card(shown: Shown, model: str, target: Path | None) -> None:
    """Write the `model-index` YAML of a Hugging Face model card: what was measured of MODEL."""
    from evalsuite.report.model_card import model_card

    numbers = _numbers(shown, [model])
    deliver(model_card(numbers, {task.name: task.title for task in _tasks_of(numbers)}), target)


def _repositories(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return task -> repository."""
    found = {}
    for value in split_commas(values):
        task, _, repository = value.partition("=")
        if not task or repository.count("/") != 1 or repository.startswith("/") or repository.endswith("/"):
            raise click.BadParameter(f"{value!r} is not of the form TASK=ORG/NAME, such as mnist=ylecun/mnist.")
        found[task] = repository
    return found


@export.command(
    "eval-results",
    cls=Command,
    epilog="""
    evalsuite export eval-results ViT-B/32 --protocol zero_shot --to .eval_results/zero_shot.yaml
    evalsuite export eval-results my_model -t my_birds --dataset my_birds=me/birds --units percent
    """,
)
@click.argument("model", type=ModelName())
@measured_options
@click.option(
    "--units",
    type=click.Choice(["fraction", "percent"]),
    default="fraction",
    show_default=True,
    help="What the leaderboard counts in.",
)
@click.option(
    "--dataset",
    "repositories",
    multiple=True,
    metavar="TASK=ORG/NAME",
    callback=_repositories,
    help="Dataset repository whose leaderboard is meant, in place of that of the images or the task file.",
)
@click.option("--task-id", default="default", show_default=True, help="Task in the eval.yaml of the repository.")
@to_option
def eval_results(
    shown: Shown, model: str, units: Units, repositories: dict[str, str], task_id: str, target: Path | None
) -> None:
    """Write the `.eval_results/*.yaml` from which the hub's leaderboards take results: what was measured of MODEL."""
    from evalsuite.report.eval_results import eval_results

    numbers = _numbers(shown, [model])
    text, left_out = eval_results(numbers, _homes(numbers), named=repositories, units=units, task_id=task_id)
    deliver(text, target)
    for line in left_out:
        say(line, err=True)


def _homes(numbers: Sequence[Number]) -> dict[str, str]:
    """Return the dataset repository of each task whose file names one; the first, in the order of its sources."""
    repositories = {
        task.name: [repo for source in task.sources if (repo := getattr(source, "repo", None))]
        for task in _tasks_of(numbers)
    }
    return {name: found[0] for name, found in repositories.items() if found}


def _tasks_of(numbers: Sequence[Number]) -> list[TaskSpec]:
    """Return the tasks of the numbers, without those whose file is gone."""
    from evalsuite.results.task_files import index_of

    index = index_of(numbers)
    return [index.load(name) for name in sorted({number.task for number in numbers}) if name in index.files]


def _numbers(shown: Shown, models: list[str] | None = None) -> list[Number]:
    """Return the numbers that the options select; models: in place of the option."""
    from evalsuite.report.editions import edition_notes
    from evalsuite.report.export import exported
    from evalsuite.results.library import Library

    table, _ = shown.read(Library())
    numbers = exported(table, **{**shown.filters, **({"models": models} if models else {})})
    for note in edition_notes(number for number in numbers if number.is_main):
        say(f"warning: {note}", err=True)
    return numbers
