"""evalsuite run: evaluate models on tasks."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from evalsuite.cli.arguments import volume
from evalsuite.cli.config_file import config_option
from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import (
    Command,
    ModelOrTask,
    as_flags,
    include_path_option,
    models_option,
    protocols_option,
    split_commas,
    tasks_option,
)
from evalsuite.cli.tables import show_board
from evalsuite.cli.terminal import program, say, say_that_it_starts, typed
from evalsuite.columns import Column, as_table, room
from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError
from evalsuite.options import RunOptions, build, declared
from evalsuite.protocols import DEFAULT_PROTOCOLS, EVERY, PROTOCOLS, EvaluationProtocol, idle, options_of
from evalsuite.text import counted, duration

if TYPE_CHECKING:
    from evalsuite.cli.progress import ConsoleReporter
    from evalsuite.records import Result
    from evalsuite.runner.base import Reporter
    from evalsuite.runner.job import ModelTaskJob

DEFAULT_MODELS = ("pocket", "pixels")
DEFAULT_TASKS = ("embedded",)
EXIT_LEFT = 75
"""EX_TEMPFAIL of sysexits.h: nothing failed, and the same command, later, has something left to do."""

PLAN = (
    Column("model", wraps=True),
    Column("task", wraps=True),
    Column("protocol"),
    Column("state"),
    Column("to encode", right=True),
    Column("images", right=True, spare=True),
    Column("expected", right=True),
    Column("", wraps=True),
)

MORE = "run -m pocket -t digits --protocol all"
NEXT_STEP = "run --model ViT-B/32 --tasks all --data-root DIR"


@click.command(
    cls=Command,
    epilog="""
    evalsuite run                                              pocket and pixels on the embedded task
    evalsuite run pocket digits                                names alone, told apart by what they are
    evalsuite run -m ViT-B/32 -t all --data-root DIR           the paper's 27 datasets
    evalsuite run -m ViT-B/32,resnet/50 -t 'cifar*' --dry-run  what would be done; loads no model
    evalsuite run -m timm:resnet50.tv_in1k -t mnist --protocol linear_probe,knn
    evalsuite run --protocol all                               also kNN, class means, few-shot
    evalsuite run -m ViT-B/32 -t dtd --prompts default,random  do the prompts say anything?
    evalsuite run -m open_clip:ViT-B-32/my.pt -t my_birds.yaml --limit 100
    evalsuite run -C night.yaml                                options from a file
    """,
)
@click.argument("named", nargs=-1, type=ModelOrTask(), metavar="[MODEL|TASK|PROTOCOL]...")
@models_option
@click.option(
    "--pretrained",
    multiple=True,
    metavar="WEIGHTS",
    help="Tag or file of the weights, where --model names an architecture of open_clip alone.",
)
@tasks_option
@protocols_option(
    f"Protocol: {', '.join(PROTOCOLS.names())}, or {EVERY} of this project; repeat it or separate by commas."
)
@click.option(
    "--protocol-option",
    "settings",
    multiple=True,
    metavar="PROTOCOL.NAME=VALUE",
    help="Option of a protocol, e.g. probe.tolerance=1e-8; repeatable.",
)
@as_flags(*declared(DataPlace), *declared(RunOptions), *options_of())
@include_path_option
@config_option
@click.option("--dry-run", is_flag=True, help="Show what would be done and stop; loads no model.")
def run(
    named: tuple[str, ...],
    models: tuple[str, ...],
    pretrained: tuple[str, ...],
    tasks: tuple[str, ...],
    protocols: tuple[str, ...],
    settings: tuple[str, ...],
    include_paths: tuple[Path, ...],
    dry_run: bool,
    **keywords: Any,
) -> int:
    """Evaluate models on tasks.

    Every image is decoded once and encoded once per model, whatever the number of protocols. Features and results are
    stored: the same command again does only what is missing.
    """
    from evalsuite.cli.choosing import choose
    from evalsuite.models.names import resolve
    from evalsuite.protocols import make_protocols

    # What is wrong with names and options is said before torch is imported, which takes seconds.
    index = task_index(include_paths)
    given = choose(named, models, tasks, protocols, index)
    choices = given.tasks or list(DEFAULT_TASKS)
    specs = index.select(choices)
    names = _models(given.models, pretrained)
    chosen = make_protocols(given.protocols or DEFAULT_PROTOCOLS, keywords, _assignments(settings))
    build(RunOptions, keywords)
    _say_what_is_idle(chosen)
    say_that_it_starts()
    for name in names:
        resolve(name)

    from evalsuite.api import check_data_root, prepare
    from evalsuite.cli.progress import make_reporter

    reporter = make_reporter()
    options, place = _options(keywords, reporter, dry_run=dry_run)
    check_data_root(keywords["data_root"], place, options)
    jobs = prepare(names, specs, chosen, options, place, reporter)
    if absent := index.without_file(choices):
        reporter.note(f"No task file yet for {counted(len(absent), 'task')} of the chosen groups: {', '.join(absent)}.")
    if dry_run:
        return _show_plan(jobs, options, place)
    return _carry_out(jobs, options, reporter, first_time=not given.models and volume() != "quiet")


def _options(keywords: dict[str, Any], reporter: Reporter, *, dry_run: bool) -> tuple[RunOptions, DataPlace]:
    from evalsuite.runner.shards import slurm_shard

    if keywords["shard"] is None and (place_in_array := slurm_shard(os.environ)):
        keywords["shard"] = place_in_array
        reporter.note(f"Task {place_in_array} of a SLURM array does its share; --shard 1/1 does everything.")
    options = build(RunOptions, keywords, command=typed())
    return replace(options, download=options.download and not dry_run), build(DataPlace, keywords, progress=reporter)


def _carry_out(jobs: list[ModelTaskJob], options: RunOptions, reporter: ConsoleReporter, *, first_time: bool) -> int:
    from evalsuite.api import log_results
    from evalsuite.runner.loop import run_jobs

    with reporter:
        results = run_jobs(jobs, options, reporter)
    left = [job for job in jobs if job.held is not None]
    code = _summarise(results, left, options, first_time)
    problems = log_results(results, options.log_to)
    for problem in problems:
        say(problem, err=True)
    return code or int(bool(problems))


def _say_what_is_idle(chosen: Sequence[EvaluationProtocol]) -> None:
    """Name each option that was typed and that no protocol of the run reads."""
    context = click.get_current_context()
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed_here = [name for name, source in sources.items() if source is ParameterSource.COMMANDLINE]
    for keyword, owners in idle(typed_here, chosen):
        which = " or ".join(f"--protocol {name}" for name in owners)
        say(f"note: --{keyword.replace('_', '-')} does nothing in this run: add {which}.", err=True)


def _models(given: list[str], pretrained: tuple[str, ...]) -> list[str]:
    from evalsuite.models.spellings import with_weights

    return with_weights(given, split_commas(pretrained)) if pretrained else given or list(DEFAULT_MODELS)


def _assignments(settings: tuple[str, ...]) -> dict[str, str]:
    pairs = [setting.partition("=") for setting in settings]
    for name, equals, _ in pairs:
        if not equals:
            raise UsageError(f"--protocol-option {name}: write PROTOCOL.NAME=VALUE, for example probe.tolerance=1e-8.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _show_plan(jobs: list[ModelTaskJob], options: RunOptions, place: DataPlace) -> int:
    from evalsuite.runner.plan import plan
    from evalsuite.speed.forecast import forecast

    lines = plan(jobs)
    seconds, unmeasured = forecast(jobs, lines, options, place.cache_dir)
    expected = ["" if time is None else duration(time) for time in seconds]
    rows = [
        [p.model, p.task, p.protocol, p.state, _count(p.images), _count(p.total), time, p.note]
        for p, time in zip(lines, expected, strict=True)
    ]
    say(as_table(PLAN, rows, room()))
    todo = sum(line.state == "to do" for line in lines)
    blocked = sum(line.state == "blocked" for line in lines)
    known = f"; expected: {duration(sum(time or 0.0 for time in seconds))}" if any(expected) else ""
    say(f"\n{counted(len(lines), 'job')}: {todo} to do, {blocked} blocked{known}. Nothing was done (--dry-run).")
    if unmeasured:
        say(f"How long will it take? evalsuite speed -m {','.join(unmeasured)}", err=True)
    return 0


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _summarise(results: list[Result], left: list[ModelTaskJob], options: RunOptions, first_time: bool) -> int:
    from evalsuite.report.formats import to_markdown
    from evalsuite.report.leaderboard import build_leaderboard
    from evalsuite.results.naming import ALL
    from evalsuite.results.numbers import Numbers

    failed = [result for result in results if result.status == "error"]
    if any(result.metric is not None for result in results):
        board = build_leaderboard(Numbers.of(results), protocols=[ALL], include_partial=True)
        say()
        if sys.stdout.isatty():
            show_board(board)
        else:
            say(to_markdown(board), nl=False)
    counts = {status: sum(r.status == status for r in results) for status in dict.fromkeys(r.status for r in results)}
    shown = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items())
    say(f"\n{counted(len(results), 'result')}{f' ({shown})' if shown else ''} in {options.output}")
    if failed:
        for result in failed:
            say(f"  failed: {result.model} {result.task} {result.protocol}", err=True)
        say("The same command tries the failed ones again; what went wrong is said above and in the records.", err=True)
        return 1
    if left:
        owners = dict.fromkeys(str(job.held.owner) for job in left if job.held)
        say(f"{counted(len(left), 'pair')} of model and task left to others: {'; '.join(owners)}.", err=True)
        return EXIT_LEFT
    if first_time:
        say(f"A real model on real datasets (DIR is where they are):\n  {program()} {NEXT_STEP}")
        say(f"Next: what else the same features tell, in seconds:\n  {program()} {MORE}")
    return 0
