"""evalsuite download: fetch the images of tasks."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import Command, TaskName, include_path_option, place_options, split_commas
from evalsuite.cli.terminal import say
from evalsuite.columns import Column, as_table, room
from evalsuite.data.place import DataPlace
from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.options import build
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.cli.progress import ConsoleReporter
    from evalsuite.tasks import TaskSpec

_NOTE_WIDTH = 80


def _kinds(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from evalsuite.tasks.sources import SOURCE_KINDS

    return [name for name in SOURCE_KINDS if name.startswith(incomplete)]


@click.command(
    cls=Command,
    epilog="""
    evalsuite download mnist cifar10 --data-root DIR   fetch, check and unpack; the same command again resumes
    evalsuite download all --data-root DIR --dry-run   what would be fetched, from where, and how large it is
    evalsuite download food101 --kind huggingface      from the source of that kind only
    evalsuite download my_birds.yaml
    """,
)
@click.argument("choices", nargs=-1, type=TaskName(), metavar="[TASK|GROUP|FILE]...")
@place_options
@include_path_option
@click.option(
    "--kind",
    metavar="KIND",
    shell_complete=_kinds,
    help="Use only sources of this kind: torchvision, huggingface, webdataset, folder, table, python, or one that "
    "another package brings. [default: the first that works]",
)
@click.option("--dry-run", is_flag=True, help="Show what would be fetched and stop.")
def download(choices: tuple[str, ...], dry_run: bool, **options: Any) -> int:
    """Fetch the images of tasks, check and unpack them.

    What is there already is not fetched again, and what was stopped is resumed. A task that cannot be
    fetched does not stop the others. Exit code 1 if any task is not ready in the end.
    """
    from evalsuite.cli.progress import make_reporter
    from evalsuite.tasks.sources import SOURCE_KINDS

    if options["kind"] is not None:
        SOURCE_KINDS.get(options["kind"])
    if not choices:
        raise UsageError("Name the tasks to download, or a group such as `all`. `evalsuite ls tasks` shows them.")
    index = task_index(options["include_paths"])
    names = split_commas(choices)
    tasks = index.select(names)
    with make_reporter() as reporter:
        if absent := index.without_file(names):
            reporter.note(f"Tasks of the chosen groups that have no task file yet: {', '.join(absent)}.")
        place = build(DataPlace, options, progress=reporter)
        return _show_plan(tasks, place, options["kind"]) if dry_run else _fetch(tasks, place, options["kind"], reporter)


def _fetch(tasks: list[TaskSpec], place: DataPlace, kind: str | None, reporter: ConsoleReporter) -> int:
    from rich.filesize import decimal

    from evalsuite.data.fetching import fetch_task

    rows, failures = [], []
    for task in tasks:
        try:
            done = fetch_task(task, place, kind=kind)
        except UsageError:
            raise
        except EvalsuiteError as error:
            failures.append(f"{task.name}: {error}")
            rows.append([task.name, "failed", "", "see below"])
            continue
        fetched = f"fetched {decimal(done.received)}" if done.received else "fetched"
        note = "was there" if done.before == "ready" else fetched
        # All of a note was printed when it happened.
        notes = [textwrap.shorten(text.partition("\n")[0], _NOTE_WIDTH, placeholder=" ...") for text in done.notes]
        rows.append([task.name, done.after, done.source, "; ".join([note, *notes])])
    reporter.close()
    columns = [Column("task"), Column("state"), Column("source", wraps=True), Column("", wraps=True)]
    say(as_table(columns, rows, room()))
    say(f"\n{counted(len(tasks), 'task')}, {len(failures)} failed. Data root: {place.data_root}")
    for failure in failures:
        say(f"\n{failure}", err=True)
    return 1 if failures else 0


def _show_plan(tasks: list[TaskSpec], place: DataPlace, kind: str | None) -> int:
    from rich.filesize import decimal

    from evalsuite.data.download.prober import Prober
    from evalsuite.data.fetching import plan_task

    prober = Prober()
    rows = []
    for task in tasks:
        state, source, planned = plan_task(task, place, kind=kind)
        if not planned:
            rows.append([task.name, state, "", "nothing to fetch" if state == "ready" else "cannot be fetched", "", ""])
        for item in planned:
            size = prober.ask_url(item.what).size if "://" in item.what else None
            shown = "-" if size is None else decimal(size)
            rows.append([task.name, state, source, item.what, shown, item.where])
    columns = [Column("task"), Column("state"), Column("source", wraps=True), Column("what", wraps=True)]
    say(as_table([*columns, Column("size", right=True), Column("to", wraps=True)], rows, room()))
    say(f"\n{counted(len(tasks), 'task')}. Nothing was fetched (--dry-run).")
    return 0
