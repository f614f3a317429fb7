"""evalsuite run: evaluate models on tasks."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite import config
from evalsuite.cli.config_file import config_option
from evalsuite.cli.options import (
    Command,
    NumberType,
    cache_dir_option,
    data_root_option,
    include_path_option,
    models_option,
    offline_option,
    split_commas,
    tasks_option,
    trust_adapters_option,
)
from evalsuite.errors import UsageError

if TYPE_CHECKING:
    from evalsuite.runner.job import Jobs
    from evalsuite.runner.settings import RunSettings

DEFAULT_MODELS = ("pocket", "pixels")
DEFAULT_TASKS = ("embedded",)
NEXT_STEP = "evalsuite run --model ViT-B/32 --tasks all --data-root DIR"


class Auto(NumberType):
    """`auto`, which becomes None, or a whole number of at least `minimum`."""

    name = "auto|N"

    def __init__(self, minimum: int) -> None:
        self.minimum = minimum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return None for auto, else the number."""
        if value is None or value == "auto":
            return None
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is neither `auto` nor a whole number.", param, ctx)
        if number < self.minimum:
            self.fail(f"{number} is too small: give `auto`, or a number of {self.minimum} or more.", param, ctx)
        return number


@click.command(
    cls=Command,
    epilog="""
    evalsuite run                                              pocket and pixels on the embedded task
    evalsuite run -m ViT-B/32 -t all --data-root DIR           the paper's 27 datasets
    evalsuite run -m ViT-B/32,resnet/50 -t 'cifar*' --dry-run  what would be done; loads no model
    evalsuite run -m timm:resnet50.tv_in1k -t mnist --protocol linear_probe
    evalsuite run -m open_clip:ViT-B-32/my.pt -t my_birds.yaml --limit 100
    evalsuite run -C night.yaml                                options from a file
    """,
)
@models_option
@tasks_option
@click.option(
    "--protocol",
    "--protocols",
    "protocols",
    multiple=True,
    metavar="NAME",
    help=f"Protocol: {' or '.join(config.PROTOCOLS)}; repeat it or separate by commas. [default: both]",
)
@data_root_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the results. [default: results/runs in a checkout, else $EVALSUITE_HOME/results]",
)
@cache_dir_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or cuda:0,cuda:1.")
@click.option(
    "--precision",
    type=click.Choice(config.PRECISIONS),
    default="auto",
    show_default=True,
    help="auto: fp32 on CPUs, fp16 on GPUs.",
)
@click.option("--batch-size", type=Auto(1), default="auto", show_default=True, help="Images encoded at a time.")
@click.option("--workers", type=Auto(0), default="auto", show_default=True, help="Processes that decode images.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most N samples a split, drawn by class; the results are marked partial.",
)
@click.option(
    "--prompts", default="default", show_default=True, metavar="default|simple|FILE", help="Prompt templates."
)
@click.option(
    "--probe-grid",
    type=click.Choice(config.PROBE_GRIDS),
    default="parametric",
    show_default=True,
    help="Lambdas the probe tries: the paper's binary search, or all 97.",
)
@click.option(
    "--probe-solver",
    type=click.Choice(config.PROBE_SOLVERS),
    default="lbfgs",
    show_default=True,
    help="sklearn: scikit-learn's, for cross-checks; slow.",
)
@click.option(
    "--probe-tolerance",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=1e-6,
    show_default=True,
    help="Relative suboptimality of the probe's fits; the final fit's is a hundredth of it.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of hold-outs, limits and bootstraps.")
@include_path_option
@trust_adapters_option
@config_option
@offline_option
@click.option("--overwrite", is_flag=True, help="Compute results again even if they are stored.")
@click.option("--download", is_flag=True, help="Fetch data that is not there, as `evalsuite download` does.")
@click.option("--skip-missing", is_flag=True, help="Leave out tasks whose data is not there; no error.")
@click.option("--log-samples", is_flag=True, help="Store every prediction: one parquet file a result.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and stop; loads no model.")
def run(models: tuple[str, ...], tasks: tuple[str, ...], protocols: tuple[str, ...], **options: Any) -> int:
    """Evaluate models on tasks.

    Every image is encoded once a model, whatever the number of protocols. Features and results are stored:
    the same command again does only what is missing.
    """
    if options["offline"]:
        # Libraries below read it when they are imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    from evalsuite.api import prepare
    from evalsuite.cli.progress import make_reporter
    from evalsuite.runner.loop import run_jobs
    from evalsuite.tasks import TaskIndex

    reporter = make_reporter()
    index = TaskIndex(options["include_paths"])
    # An option that is given and empty (`-t "$TASKS"` of an unset variable) does not mean the default.
    choices = split_commas(tasks) if tasks else list(DEFAULT_TASKS)
    specs = index.select(choices)
    settings = _settings(options)
    jobs = prepare(
        split_commas(models) if models else list(DEFAULT_MODELS),
        specs,
        split_commas(protocols) or list(config.PROTOCOLS),
        settings,
        options["device"],
        options["precision"],
        reporter,
    )
    if absent := index.without_file(choices):
        reporter.note(f"{len(absent)} tasks of the chosen groups have no task file yet: {', '.join(absent)}.")
    if options["dry_run"]:
        return _show_plan(jobs)
    with reporter:
        results = run_jobs(jobs, settings, reporter)
    return _summarise(results, settings, first_time=not models)


def _settings(options: dict[str, Any]) -> RunSettings:
    from evalsuite.runner.settings import RunSettings

    root: Path | None = options["data_root"]
    download = options["download"] and not options["dry_run"]
    if root is not None and not root.is_dir() and not download:
        raise UsageError(f"--data-root {root}: there is no such folder. Make it, or name the folder of your datasets.")
    return RunSettings(
        output=options["output"] or config.default_output(),
        cache_dir=options["cache_dir"] or config.default_cache(),
        data_root=root or config.default_data_root(),
        offline=config.is_offline(options["offline"]),
        download=download,
        command=shlex.join(["evalsuite", *sys.argv[1:]]),
        **{
            name: options[name]
            for name in (
                "batch_size", "workers", "limit", "prompts", "seed", "overwrite", "skip_missing", "log_samples",
                "trust_adapters", "probe_grid", "probe_solver", "probe_tolerance",
            )
        },
    )  # fmt: skip


def _show_plan(jobs: list[Jobs]) -> int:
    from tabulate import tabulate

    from evalsuite.runner.plan import plan

    lines = plan(jobs)
    rows = [[p.model, p.task, p.protocol, p.state, _count(p.images), _count(p.total), p.note] for p in lines]
    headers = ["model", "task", "protocol", "state", "to encode", "images", ""]
    click.echo(tabulate(rows, headers, tablefmt="simple", colalign=("left",) * 4 + ("right",) * 2 + ("left",)))
    todo = sum(line.state == "to do" for line in lines)
    blocked = sum(line.state == "blocked" for line in lines)
    click.echo(f"\n{len(lines)} jobs: {todo} to do, {blocked} blocked. Nothing was done (--dry-run).")
    return 0


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _summarise(results: list[Any], settings: RunSettings, first_time: bool) -> int:
    from evalsuite.report.formats import to_markdown
    from evalsuite.report.leaderboard import build_leaderboard
    from evalsuite.results.numbers import Numbers

    failed = [result for result in results if result.status == "error"]
    if any(result.metric is not None for result in results):
        click.echo("\n" + to_markdown(build_leaderboard(Numbers.of(results), include_partial=True)))
    counts = {status: sum(r.status == status for r in results) for status in dict.fromkeys(r.status for r in results)}
    shown = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items())
    click.echo(f"\n{len(results)} results{f' ({shown})' if shown else ''} in {settings.output}")
    if failed:
        for result in failed:
            click.echo(f"  failed: {result.model} {result.task} {result.protocol}", err=True)
        click.echo(
            "The same command tries the failed ones again; what went wrong is said above and in the records.", err=True
        )
        return 1
    if first_time:
        click.echo(f"Next: a real model on real datasets (DIR is where they are):\n  {NEXT_STEP}")
    return 0
