"""evalsuite speed: measure this machine with a model and say how long a run will take."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalsuite.cli.known_tasks import task_index
from evalsuite.cli.options import Command, ModelOrTask, as_flags, include_path_option, models_option, tasks_option
from evalsuite.cli.terminal import say, say_that_it_starts
from evalsuite.columns import Column, as_table, facts, room
from evalsuite.data.place import DataPlace
from evalsuite.options import RunOptions, build, declared
from evalsuite.text import counted, duration

if TYPE_CHECKING:
    from evalsuite.speed.estimate import Reading
    from evalsuite.speed.record import Speed
    from evalsuite.tasks.spec import TaskSpec

DEFAULT_MODELS = ("pocket",)
DEFAULT_TASKS = ("all",)
OF_A_RUN = ("device", "precision", "batch_size", "decoder", "compile")
"""Options of a run that decide how fast it is."""


@click.command(
    cls=Command,
    epilog="""
    evalsuite speed -m ViT-B/32                     about a minute; then the time of each of the 27 tasks
    evalsuite speed -m ViT-B/32 -t imagenet,mnist   the time of some tasks
    evalsuite speed -m ViT-B/32 --device cuda:1     as `run` with the same option will take
    evalsuite run -m ViT-B/32 -t all --dry-run      what is to be done, with its expected time
    """,
)
@click.argument("named", nargs=-1, type=ModelOrTask(), metavar="[MODEL|TASK]...")
@models_option
@tasks_option
@as_flags(*declared(DataPlace), *(option for option in declared(RunOptions) if option.name in OF_A_RUN))
@include_path_option
def speed(
    named: tuple[str, ...],
    models: tuple[str, ...],
    tasks: tuple[str, ...],
    include_paths: tuple[Path, ...],
    **keywords: Any,
) -> None:
    """Measure how fast models are on this machine, and say what a run waits for and how long it will take.

    What was measured is kept: `evalsuite run --dry-run` with the same model and device shows the same estimate.
    """
    from evalsuite.cli.choosing import choose

    index = task_index(include_paths)
    given = choose(named, models, tasks, (), index)
    specs = index.select(given.tasks or DEFAULT_TASKS)
    say_that_it_starts()
    from evalsuite.api import measure_speed
    from evalsuite.speed.estimate import Reading

    options, place = build(RunOptions, keywords), build(DataPlace, keywords)
    for name in given.models or DEFAULT_MODELS:
        found, batch_size = measure_speed(name, options, place, lambda text: say(text, err=True))
        _show(found, Reading(batch_size, options.decoder), specs)


def _show(found: Speed, reading: Reading, specs: Sequence[TaskSpec]) -> None:
    from evalsuite.speed.estimate import bottleneck

    machine = found.machine
    per_core = ", ".join(f"{decoder} {rate:,.0f}" for decoder, rate in found.decode.items())
    lines = {
        "decoding": f"{per_core} photographs/s per processor",
        "encoding": ", ".join(f"{size}: {rate:,.1f}" for size, rate in found.encode.items())
        + " images/s, by batch size",
        "copies": None if found.copied is None else f"{found.copied:,.0f} images/s to a device",
        "texts": None if found.texts is None else f"{found.texts:,.0f} texts/s",
        "probe": f"{found.probe / 1e9:,.1f} GFLOP/s",
        "bottleneck": bottleneck(found, reading),
    }
    devices = f"{machine.devices} x {machine.device}" if machine.devices > 1 else machine.device
    say(f"{found.model} at {found.precision} on {devices} with {counted(machine.processors, 'processor')}")
    width = room()
    said = facts(((name, text or "") for name, text in lines.items()), width and width - 2)
    say(textwrap.indent(said, "  "))
    say("\n" + _times(found, reading, specs) + "\n")


def _times(found: Speed, reading: Reading, specs: Sequence[TaskSpec]) -> str:
    from evalsuite.speed.estimate import expected, work_of

    rows, whole = [], [0, 0.0, 0.0, 0.0]
    for task in specs:
        work = work_of(task, zero_shot=found.texts is not None, probe=True)
        if work is None:
            rows.append([task.name, "?", "?", "?", "?", "?"])
            continue
        parts = expected(found, work, reading)
        whole = [a + b for a, b in zip(whole, (work.images, parts.images, parts.texts, parts.probe), strict=True)]
        rows.append([task.name, *_row(work.images, parts.images, parts.texts, parts.probe)])
    rows.append([f"all of these {len(specs)}", *_row(*whole)])
    numbers = ("images", "image pass", "texts", "probe", "expected")
    return as_table([Column("task", wraps=True), *(Column(name, right=True) for name in numbers)], rows, room())


def _row(images: float, *seconds: float) -> list[str]:
    return [f"{images:,.0f}", *(duration(part) for part in (*seconds, sum(seconds)))]
