"""evalsuite audit: duplicates between train and test, and likely label errors."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import Command, TaskName, as_flags, include_path_option, protocols_option, split_commas
from evalsuite.cli.predict import one_model_option, target_option
from evalsuite.cli.tables import deliver
from evalsuite.cli.terminal import say
from evalsuite.data.place import DataPlace
from evalsuite.options import RunOptions, build, declared
from evalsuite.protocols import DEFAULT_PROTOCOLS
from evalsuite.text import printable

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
    type=click.FloatRange(-1, 1),
    metavar="COSINE",
    help="From where on two images are near duplicates.  [default: told by the training images]",
)
@click.option(
    "--label-errors/--no-label-errors",
    default=True,
    help="Whether to look for likely label errors, which needs cleanlab: pip install 'evalsuite[audit]'.",
)
@protocols_option("Whose scores are shown without the duplicates. ")
@click.option("--top", type=click.IntRange(1), default=100, show_default=True, help="Findings of each kind on a page.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["table", "csv", "json", "html"]),
    help="[default: by the suffix of --to]",
)
@target_option
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
    format_name: str | None,
    target: Path | None,
    include_paths: tuple[Path, ...],
    **keywords: Any,
) -> int:
    """Look for test images of TASK that are training images, too, and for likely label errors.

    What is missing of features and results is computed and stored, as by `evalsuite run`.
    """
    if keywords["offline"]:
        # Libraries below read it when they are imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    from evalsuite.applied import audit_formats, auditing
    from evalsuite.cli.progress import make_reporter
    from evalsuite.protocols import make_protocols

    spec = task_index(include_paths).load(task)
    chosen = make_protocols(split_commas(protocols) or DEFAULT_PROTOCOLS, keywords, {})
    with make_reporter() as reporter:
        options = build(RunOptions, keywords, command=printable(shlex.join(["evalsuite", *sys.argv[1:]])))
        place = build(DataPlace, keywords, progress=reporter)
        found = auditing.audit(
            model, spec, chosen, options, place, reporter, threshold=threshold, label_errors=label_errors
        )
    suffixes = {".html": "html", ".json": "json", ".csv": "csv"}
    kind = format_name or suffixes.get(target.suffix if target else "", "table")
    if kind == "html":
        text = audit_formats.to_html(found, top)
    else:
        text = {"csv": audit_formats.to_csv, "json": audit_formats.to_json, "table": audit_formats.to_table}[kind](
            found
        )
    deliver(text, target)
    if target is not None and kind != "table":
        for line in audit_formats.summary(found):
            say(line)
    return 1 if found.failed else 0
