"""`evalsuite bias`: how people of each group are labelled and classified on FairFace, next to the paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.destination import Destination, destination_options
from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import (
    Command,
    as_flags,
    data_root_option,
    include_path_option,
    trust_adapters_option,
)
from evalsuite.cli.predict import encoding_options, one_model_option
from evalsuite.cli.terminal import say, typed
from evalsuite.data.place import DataPlace
from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.options import RunOptions, build, declared
from evalsuite.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evalsuite.records import Result
    from evalsuite.results.bias_tables import BiasPaper
    from evalsuite.runner.job import ModelTaskJob

RUN = ("output", "limit", "prompts", "overwrite", "verify", "download")
"""Options of a run that this command has, too."""


@click.command(
    "bias",
    cls=Command,
    epilog="""
    evalsuite describe fairface                      how to get the images
    evalsuite bias -m ViT-L/14 --data-root DIR       tables 6 and 7 and, zero-shot, 3 to 5; reads 10,954 images
    evalsuite bias -m ViT-L/14 --probes              also linear probes, which read 86,744 more
    evalsuite bias -m ViT-L/14 --prompts mine.yaml   with templates of your own
    evalsuite bias -m ViT-L/14 --to bias.csv         a line for each share
    """,
)
@one_model_option
@click.option(
    "--probes", is_flag=True, help="Also fit linear probes for tables 3 to 5: the training images are encoded."
)
@as_flags(*(option for option in declared(RunOptions) if option.name in RUN))
@data_root_option
@trust_adapters_option
@include_path_option
@encoding_options
@destination_options("markdown", "csv", "json", told="markdown")
def bias(
    model: str,
    probes: bool,
    to: Destination,
    include_paths: tuple[Path, ...],
    **keywords: Any,
) -> int:
    """Show how often a model gives people of each race, gender and age labels of crime or animals.

    Faces of FairFace, tables 3 to 7 of the CLIP paper, over a named set of templates. What is stored is not computed
    again.
    """
    from evalsuite.report.bias import build_bias
    from evalsuite.report.bias_formats import FORMATS
    from evalsuite.results.bias_tables import read_bias_paper
    from evalsuite.results.library import load_numbers

    to.chosen(FORMATS)
    options = build(RunOptions, keywords, command=typed())
    options = replace(options, log_samples=True)
    paper = read_bias_paper()
    results = _measured(model, probes, paper, include_paths, options, keywords)
    errors = _complain(results, model, probes)
    table, _ = load_numbers([options.output])
    asked = {(result.model, result.run_key, result.protocol, result.options_hash) for result in results}
    asked |= {(name, key, "linear_probe", None) for name, key, _, _ in asked}
    kept = table.where(lambda place: (place.model, place.state, place.protocol, place.options) in asked)
    found = build_bias(kept, paper)
    if found.tables or not errors:
        to.emit(found, FORMATS, counted(sum(len(one.lines) for one in found.tables), "row"), found.notes)
    return 1 if errors else 0


def _measured(
    model: str,
    probes: bool,
    paper: BiasPaper,
    include_paths: tuple[Path, ...],
    options: RunOptions,
    keywords: dict[str, Any],
) -> Sequence[Result]:
    """Do what is missing of the protocol `bias`, of zero-shot on the label sets, and of their probes where asked."""
    from evalsuite.api import prepare
    from evalsuite.cli.progress import make_reporter
    from evalsuite.protocols import make_protocols
    from evalsuite.protocols.base import unsuited
    from evalsuite.report.bias import BIAS
    from evalsuite.runner.loop import run_jobs

    tasks = task_index(include_paths).select(paper.tasks)
    protocols = make_protocols([BIAS, "zero_shot", *(["linear_probe"] if probes else [])], {}, {})
    with make_reporter() as reporter:
        place = build(DataPlace, keywords, progress=reporter)
        jobs = prepare([model], tasks, protocols, options, place, reporter)
        for job in jobs:
            job.protocols = [one for one in job.protocols if unsuited(one, job.task.task) is None]
        if not _has_images(jobs[0]):  # nor have the sets, which share them: it is said once for each protocol
            jobs = jobs[: 2 if probes else 1]
        return run_jobs(jobs, options, reporter)


def _has_images(job: ModelTaskJob) -> bool:
    try:
        job.task.folds(training=False)
    except EvalsuiteError:
        return False
    return True


def _complain(results: Sequence[Result], model: str, probes: bool) -> list[Result]:
    """Say what has no number, after the reporter has said why; return the errors."""
    errors = [result for result in results if result.status == "error"]
    unfit = [result for result in results if result.status == "not_applicable"]
    if unfit and not probes:
        raise UsageError(
            f"The model {model!r} has no text encoder: it cannot choose among labels in words (tables 6 and 7). Its "
            f"linear probes (tables 3 to 5) are measured by: evalsuite bias -m {model} --probes"
        )
    if unfit:
        say("No text encoder: tables 6 and 7 and zero-shot are left out.", err=True)
    if errors:
        names = ", ".join(f"{result.task} ({result.protocol})" for result in errors)
        say(f"There is no number of {names}; what went wrong is said above and in the records.", err=True)
    return errors
