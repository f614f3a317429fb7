"""evalsuite audit: duplicates between train and test, and likely label errors."""

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
    as_flags,
    include_path_option,
    protocols_option,
    split_commas,
)
from evalsuite.cli.predict import one_model_option
from evalsuite.cli.terminal import say, typed
from evalsuite.columns import room
from evalsuite.data.place import DataPlace
from evalsuite.options import RunOptions, build, declared
from evalsuite.protocols import DEFAULT_PROTOCOLS

OF_A_RUN = (
    "output", "device", "precision", "batch_size", "workers", "decoder", "executor", "layer", "seed", "overwrite",
    "verify", "download",
)  # fmt: skip
"""Options of a run that an audit has, too."""


@click.command(
    cls=Command,
    epilog="""
    evalsuite audit digits -m pocket                                         a summary, no download
    evalsuite audit cifar10 -m ViT-B/32 --data-root DIR --to audit.html      a page with pictures and the plot
    evalsuite audit cifar10 -m ViT-B/32 --data-root DIR --threshold 0.98     nearer than this is a duplicate
    evalsuite audit voc2007 -m ViT-B/32 --data-root DIR --no-label-errors    duplicates alone; or .csv, .json
    """,
)
@click.argument("task", type=TaskName())
@one_model_option
@click.option(
    "--threshold",
    type=Number(float, -1, 1),
    metavar="COSINE",
    help="From where on two images are near duplicates.  [default: told by the training images]",
)
@click.option(
    "--label-errors/--no-label-errors",
    default=True,
    help="Whether to look for likely label errors, which needs cleanlab: pip install 'evalsuite[audit]'.",
)
@protocols_option("Whose scores are shown without the duplicates. ")
@click.option("--top", type=Number(int, 1), default=100, show_default=True, help="Findings of each kind on a page.")
@destination_options("table", "csv", "json", "html", told="table", raw=False)
@as_flags(
    *declared(DataPlace),
    *(option for option in declared(RunOptions) if option.name in OF_A_RUN),
)
@include_path_option
def audit(
    task: str,
    model: str,
    threshold: float | None,
    label_errors: bool,
    protocols: tuple[str, ...],
    top: int,
    to: Destination,
    include_paths: tuple[Path, ...],
    **keywords: Any,
) -> int:
    """Look for test images of TASK that are training images, too, and for likely label errors.

    What is missing of features and results is computed and stored, as by `evalsuite run`.
    """
    from evalsuite.applied import audit_formats, auditing
    from evalsuite.cli.progress import make_reporter
    from evalsuite.protocols import make_protocols

    written: dict[str, Callable[..., str]] = {
        "table": partial(audit_formats.to_table, width=None if to.target else room()),
        "csv": audit_formats.to_csv,
        "json": audit_formats.to_json,
        "html": partial(audit_formats.to_html, most=top),
    }
    kind = to.chosen(written, "table")
    spec = task_index(include_paths).load(task)
    chosen = make_protocols(split_commas(protocols) or DEFAULT_PROTOCOLS, keywords, {})
    with make_reporter() as reporter:
        options = build(RunOptions, keywords, command=typed())
        place = build(DataPlace, keywords, progress=reporter)
        found = auditing.audit(
            model, spec, chosen, options, place, reporter, threshold=threshold, label_errors=label_errors
        )
    to.emit(found, written, "", default="table")
    if to.target is not None and kind != "table":
        for line in audit_formats.summary(found):
            say(line)
    return 1 if found.failed else 0
