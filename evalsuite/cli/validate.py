"""evalsuite validate: prove task files against the data they describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.options import (
    Command,
    TaskName,
    cache_dir_option,
    data_root_option,
    include_path_option,
    offline_option,
    split_commas,
    trust_adapters_option,
)

if TYPE_CHECKING:
    from evalsuite.data.place import DataPlace
    from evalsuite.data.reachability import Prober
    from evalsuite.data.validation import Check
    from evalsuite.tasks import TaskSpec


@click.command(
    cls=Command,
    epilog="""
    evalsuite validate my_birds.yaml                 before the first run
    evalsuite validate mnist cifar10 --data-root DIR
    evalsuite validate '*'                           every known task, and whether its sources can be reached
    evalsuite validate '*' --offline                 the same without the network
    """,
)
@click.argument("choices", nargs=-1, type=TaskName(), metavar="[TASK|FILE]...")
@data_root_option
@cache_dir_option
@include_path_option
@trust_adapters_option
@offline_option
@click.option("--schema", is_flag=True, help="Print the JSON schema of task files and stop (for editors).")
def validate(choices: tuple[str, ...], schema: bool, **options: Any) -> int:
    """Check task files: schema, prompts, sources, label maps, sizes, labels, and that images decode.

    Tasks whose data is not there are checked as far as their files go, and whether it could be downloaded.
    Exit code 1 if anything fails.
    """
    from tabulate import tabulate

    from evalsuite.data.place import DataPlace
    from evalsuite.data.reachability import Prober
    from evalsuite.errors import SpecError
    from evalsuite.options import build
    from evalsuite.tasks import TaskIndex

    if schema:
        from evalsuite.tasks.schema import task_schema

        click.echo(task_schema())
        return 0
    prober = Prober()
    place = build(DataPlace, options)
    index = TaskIndex(options["include_paths"])
    rows = []
    failed = 0
    names = [name for choice in split_commas(choices) or ["*"] for name in index.expand(choice)]
    for name in names:
        try:
            task = index.load(name)
            checks = _checks(task, place, prober)
        except SpecError as error:
            click.echo(f"{error}", err=True)
            rows.append([name, "file", "failed", "see above"])
            failed += 1
            continue
        failed += any(check.state == "failed" for check in checks)
        rows += [[task.name, check.name, check.state, check.text] for check in checks]
    click.echo(tabulate(rows, ["task", "check", "state", ""], tablefmt="simple", maxcolwidths=[None, None, None, 100]))
    click.echo(f"\n{len(names)} tasks, {failed} failed.")
    return 1 if failed else 0


def _checks(task: TaskSpec, place: DataPlace, prober: Prober) -> list[Check]:
    from evalsuite.data.opening import data_state, open_task
    from evalsuite.data.reachability import check_sources
    from evalsuite.data.validation import Check, check_data, check_definition
    from evalsuite.errors import EvalsuiteError

    found = [*check_definition(task), *check_sources(task, place, prober)]
    state = data_state(task, place)
    if state.state != "ready":
        failed = state.state == "partial"
        return [
            *found,
            Check("data", "failed" if failed else "skipped", f"{state.state}: {state.missing}".rstrip(": ")),
        ]
    try:
        data = open_task(task, place)
        return [*found, Check("data", "ok", data.source), *check_data(data)]
    except EvalsuiteError as error:
        return [*found, Check("data", "failed", str(error))]
