"""`evalsuite figure`: the figures of the CLIP paper, drawn from what was measured and what was published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.destination import Destination, destination_options, writing
from evalsuite.cli.options import Command
from evalsuite.cli.tables import INCLUDE_PARTIAL, MODELS, OUTPUTS, TASKS, Shown
from evalsuite.cli.terminal import say

if TYPE_CHECKING:
    from evalsuite.report.paper.drawing import ImageFormat
    from evalsuite.report.paper.figure import PaperFigure
    from evalsuite.report.paper.material import Material
    from evalsuite.results.library import Library
    from evalsuite.results.numbers import Number

IMAGES: tuple[ImageFormat, ...] = ("svg", "png", "pdf")

ORIGIN = click.option(
    "--origin",
    type=click.Choice(["both", "measured", "published"]),
    default="both",
    show_default=True,
    help="Draw what was measured here, what the paper printed, or both.",
)


@click.command(
    "figure",
    cls=Command,
    epilog="""
    evalsuite figure                          which figures there are, and which can be drawn now
    evalsuite figure 8                        zero-shot by linear probe, in evalsuite-figure-8.svg
    evalsuite figure 5 -m ViT-B/32 --to 5.png the same for a model that was measured
    evalsuite figure 10 --cost training       by the training cost, where it is published
    evalsuite figure 12 --to 12.csv           its data
    """,
)
@click.argument("number", required=False)
@OUTPUTS
@MODELS
@TASKS
@ORIGIN
@INCLUDE_PARTIAL
@click.option(
    "--cost",
    type=click.Choice(["gflops", "training"]),
    default="gflops",
    show_default=True,
    help="Figure 10: by GFLOPs of an image, or by V100 days of training.",
)
@destination_options(
    *IMAGES, "csv", "json", "markdown", told="svg, or what the suffix of --to says",
    also="  [default: evalsuite-figure-NUMBER.svg; data goes to the terminal]",
)  # fmt: skip
def figure(
    number: str | None,
    outputs: tuple[Path, ...],
    models: list[str],
    tasks: list[str],
    origin: str,
    include_partial: bool,
    cost: str,
    to: Destination,
) -> None:
    """Draw a figure of the paper, and say where the published numbers agree with its text."""
    from evalsuite.report.paper.figures import draw, material_of
    from evalsuite.report.paper.formats import FORMATS
    from evalsuite.results.library import Library

    chosen = to.chosen([*IMAGES, *FORMATS], "svg")
    library = Library()
    numbers = read_numbers(Shown(outputs, (), (), (), include_partial), origin, library)
    material = material_of(numbers, tasks, models)
    if number is None:
        _list(material)
        return
    made = draw(number, material, library, training=cost == "training")
    image = next((name for name in IMAGES if name == chosen), None)
    if image is None:
        to.emit(made, FORMATS, "", (made.caption, *made.notes))
        return
    _write_image(made, image, to.target or Path(f"evalsuite-figure-{number}.{image}"))
    for line in (made.caption, *made.notes):
        say(f"- {line}")


def read_numbers(shown: Shown, origin: str, library: Library) -> list[Number]:
    """Return the numbers to draw: measured ones of the folders, the paper's, or both."""
    from evalsuite.report.paper.figures import published_numbers

    found: list[Number] = []
    if origin != "published":
        table, _ = shown.read(library, required=origin == "measured")
        found += [number for number in table.numbers if shown.include_partial or not number.partial]
    return found if origin == "measured" else [*found, *published_numbers(library)]


def _list(material: Material) -> None:
    from evalsuite.report.paper.figures import FIGURES, missing

    for number, recipe in FIGURES.items():
        lacks = missing(number, material)
        say(f"{number:>3}  {recipe.title:42}  {'needs measurements' if lacks else 'can be drawn'}")
    say("\nevalsuite figure NUMBER draws one, or says which runs it needs.")


def _write_image(made: PaperFigure, name: ImageFormat, target: Path) -> None:
    from evalsuite.atomic import write_bytes
    from evalsuite.report.paper.drawing import draw

    image = draw(made, name)
    with writing(target):
        write_bytes(target, image)
    say(f"Wrote figure {made.number} to {target}.")
