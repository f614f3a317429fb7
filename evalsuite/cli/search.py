"""evalsuite search: find images by words or by an image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from evalsuite.cli.destination import Destination, destination_options
from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import (
    Command,
    Number,
    TaskName,
    data_root_option,
    include_path_option,
    trust_adapters_option,
)
from evalsuite.cli.predict import encoding_options, one_model_option
from evalsuite.cli.terminal import say, say_that_it_starts
from evalsuite.columns import room
from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError
from evalsuite.options import RunOptions, build
from evalsuite.text import counted

FORMATS = ("table", "json", "html")


@click.command(
    cls=Command,
    epilog="""
    evalsuite search "a red circle" -m ViT-B/32 --folder holiday            the folder is encoded once
    evalsuite search "a shaky seven" -m pocket -t digits --top 5            in the test images of a task
    evalsuite search -m ViT-B/32 --folder holiday --image cat.jpg           what looks like it
    evalsuite search "a dog" -m ViT-B/32 --folder holiday --to dogs.html    a page of thumbnails; or .json
    """,
)
@click.argument("words", required=False)
@one_model_option
@click.option("-t", "--task", type=TaskName(), metavar="NAME", help="Search the test images of a task.")
@click.option("--folder", type=click.Path(path_type=Path), metavar="DIR", help="Search the images in a folder.")
@click.option(
    "--image",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Look for what is like this image.",
)
@click.option("--top", type=Number(int, 1), default=24, show_default=True, help="How many to show.")
@destination_options(*FORMATS, told="table", raw=False)
@data_root_option
@trust_adapters_option
@include_path_option
@encoding_options
def search(
    words: str | None,
    model: str,
    task: str | None,
    folder: Path | None,
    image: Path | None,
    top: int,
    to: Destination,
    include_paths: tuple[Path, ...],
    **keywords: Any,
) -> int:
    """Find the images nearest to WORDS, or to an image, in a task's test images or a folder.

    Images are encoded once and stored; the search is exact.
    """
    say_that_it_starts()
    from evalsuite.api import open_model
    from evalsuite.applied import searching
    from evalsuite.cli.progress import make_reporter
    from evalsuite.report.html.contact_sheet import contact_sheet

    to.chosen(FORMATS, "table")
    words = (words or "").strip() or None
    if (words is None) == (image is None):
        raise UsageError("Say what to look for: words, or --image FILE, one of both.")
    if (task is None) == (folder is None):
        raise UsageError("Say where to look: --task NAME or --folder DIR, one of both.")
    where = task_index(include_paths).load(task) if task is not None else Path(folder or "")
    with make_reporter() as reporter:
        options, place = build(RunOptions, keywords), build(DataPlace, keywords, progress=reporter)
        session = open_model(model, options, place, reporter.note)
        within = searching.collection(session, where, options, place, reporter)
        found = searching.search(session, image or str(words), within, top, options, reporter)
    title = f"{found.query} in {task or folder}, by {session.name}"
    written: dict[str, Callable[..., str]] = {
        "table": partial(searching.Found.to_table, width=None if to.target else room()),
        "json": searching.Found.to_json,
        "html": lambda one: contact_sheet(title, [(hit.image, hit.described) for hit in one.hits], one.pictures()),
    }
    to.emit(found, written, counted(len(found.hits), "image"), default="table")
    for problem in within.encoded.unreadable:
        say(f"left out: {problem}", err=True)
    return 0
