"""evalsuite new: files to start from."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from pathlib import Path

import click

from evalsuite.cli.destination import writing
from evalsuite.cli.options import Command, Group
from evalsuite.cli.terminal import program, say
from evalsuite.errors import UsageError

TEMPLATE = Path(__file__).with_name("task_template.yaml")
TITLE = "title: My birds\n"
"""The line of the template that another title replaces."""


@click.group(cls=Group)
def new() -> None:
    """Write a commented file to start from."""


@new.command(
    cls=Command,
    epilog="""
    evalsuite new task "My Birds"                      my_birds.yaml, commented, to be edited
    evalsuite new task --from-folder birds             birds.yaml, with the classes and splits of a folder of images
    evalsuite new task wild.yaml --from-folder birds
    evalsuite validate my_birds.yaml && evalsuite run -m pocket -t my_birds.yaml
    """,
)
@click.argument("name", required=False, metavar="NAME|FILE.yaml")
@click.option(
    "--from-folder",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Describe the images of this folder: train/CLASS/ and test/CLASS/, or CLASS/ alone.",
)
def task(name: str | None, folder: Path | None) -> None:
    """Write a commented task file: a dataset of your own."""
    from evalsuite.atomic import write_text

    if name is None and folder is None:
        raise UsageError('Name the task (evalsuite new task "My Birds"), or the folder of its images (--from-folder).')
    path, title = _named(name or (folder or Path()).resolve().name)
    if path.exists():
        raise UsageError(f"{path} is there already; name another file, or remove it first.")
    if folder is None:
        own = f"title: {json.dumps(title, ensure_ascii=False)}\n"
        text, said = TEMPLATE.read_text("utf-8").replace(TITLE, own), "Edit it"
    else:
        from evalsuite.data.drafting import draft

        drafted = draft(path, title, folder)
        text, said = drafted.text, f"{drafted.found}\nLook at the names of the classes in it"
    with writing(path):
        write_text(path, text)
    file = shlex.quote(str(path))
    say(f"Wrote {path}. {said}, then:\n  {program()} validate {file}\n  {program()} run -m pocket -t {file}")


def _named(name: str) -> tuple[Path, str]:
    """Return the file of a task and its title; the name of a file is what names of tasks may be."""
    path = Path(name)
    stem, suffix = (path.stem, path.suffix) if path.suffix in {".yaml", ".yml"} else (path.name, ".yaml")
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_.-]+", "_", plain).strip("_.-")
    if not slug:
        raise UsageError(
            f"{name!r} has no letter a to z and no digit, of which the name of a task is made. Name the file, too: "
            "evalsuite new task NAME.yaml, with --from-folder if it is of images."
        )
    title = stem if stem != slug else re.sub(r"[_.-]+", " ", stem).capitalize()
    return path.with_name(slug + suffix), title
