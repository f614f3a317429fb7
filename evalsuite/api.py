"""The same thing without a terminal: evaluate models on tasks from Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from evalsuite import config
from evalsuite.atomic import check_writable
from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError
from evalsuite.executors.devices import choose_precisions, parse_devices
from evalsuite.executors.local import LocalExecutor
from evalsuite.hashing import read_every_byte
from evalsuite.models.base import ImageModel
from evalsuite.models.loading import load_model, sized
from evalsuite.models.modules import wrap_module
from evalsuite.models.names import ResolvedModel, resolve
from evalsuite.options import RunOptions, accepts, build, declared
from evalsuite.protocols import (
    DEFAULT_PROTOCOLS,
    FURTHER_PROTOCOLS,
    EvaluationProtocol,
    make_protocols,
    options_of,
)
from evalsuite.records import Result
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.table import Leaderboard
from evalsuite.results.library import Library, load_numbers
from evalsuite.results.store import ResultStore
from evalsuite.runner.base import Executor, Reporter
from evalsuite.runner.fingerprints import variant
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.loop import make_jobs, run_jobs
from evalsuite.runner.models import ModelSession
from evalsuite.runner.passes import BATCH_SIZES
from evalsuite.runner.shards import jobs_of, parse_shard
from evalsuite.speed.measure import measure
from evalsuite.speed.record import Speed, keep
from evalsuite.tasks import TaskIndex, TaskSpec, apply_prompts, read_prompts
from evalsuite.tasks.loading import OWN_PROMPTS
from evalsuite.text import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Results", "evaluate", "leaderboard", "load_model", "load_task", "prepare", "wrap_module"]


class Results(Sequence[Result]):
    """Results of a run, in the order of models, tasks and protocols."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = list(results)

    def __getitem__(self, index: Any) -> Any:
        found = self._results[index]
        return Results(found) if isinstance(index, slice) else found

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __repr__(self) -> str:
        rows = [f"  {r.model} {r.task} {r.protocol}: {_value(r)}" for r in self._results]
        return "\n".join([counted(len(rows), "result"), *rows])

    def to_frame(self) -> pd.DataFrame:
        """Return one row per result: model, task, protocol, status, metric, value, low, high, n, top1, error ..."""
        import pandas as pd

        return pd.DataFrame([_row(result) for result in self._results])


@accepts(*declared(RunOptions), *declared(DataPlace), *options_of(DEFAULT_PROTOCOLS + FURTHER_PROTOCOLS))
def evaluate(
    models: str | ImageModel | Sequence[str | ImageModel],
    tasks: str | TaskSpec | Sequence[str | TaskSpec] = "embedded",
    protocols: str | Sequence[str] = DEFAULT_PROTOCOLS,
    *,
    protocol_options: Mapping[str, Any] = MappingProxyType({}),
    include_paths: Sequence[str | Path] = (),
    reporter: Reporter | None = None,
    **keywords: Any,
) -> Results:
    """Evaluate models on tasks and return a result for each (model, task, protocol).

    models: names (`evalsuite ls models`), or ready models: an `ImageModel`, or a torch module made one by
    `evalsuite.wrap_module(module, preprocess, tokenizer)`. tasks: names, groups, `tag:...`, globs, paths, or specs.
    protocol_options: options of any protocol, `{"probe.tolerance": 1e-8}`. include_paths: folders with more task files.
    The keywords are the options of `evalsuite run`: data_root is the folder of the datasets; output and cache_dir are
    where results and features are kept, and what is stored there already is not computed again.
    Raises UsageError for what is wrong before any work; what goes wrong later is in the results.
    """
    drawn = random.getstate()  # rich draws from it while it is imported
    try:
        listening = reporter or Reporter()
        options = build(RunOptions, keywords, command="evalsuite.evaluate")
        place = build(DataPlace, keywords, progress=listening)
        chosen = make_protocols(_listed(protocols), keywords, protocol_options)
        specs = _specs(tasks, TaskIndex([Path(path) for path in include_paths]))
        jobs = prepare(_listed(models), specs, chosen, options, place, listening)
        return Results(run_jobs(jobs, options, listening))
    finally:
        random.setstate(drawn)


def prepare(
    models: Sequence[str | ImageModel],
    tasks: Sequence[TaskSpec],
    protocols: Sequence[EvaluationProtocol],
    options: RunOptions,
    place: DataPlace,
    reporter: Reporter,
) -> list[ModelTaskJob]:
    """Check everything that can be known before any work and return the jobs; UsageError says what is wrong."""
    if not models or not tasks:
        raise UsageError(f"There is nothing to do: no {'model' if not models else 'task'} is chosen.")
    executor = _executor(options, reporter)
    try:
        resolved = [_resolved(model, options) for model in models]
        choices = [read_prompts(choice) for choice in dict.fromkeys(options.prompts or (OWN_PROMPTS.choice,))]
        protocols = [one for protocol in protocols for one in protocol.with_prompts(choices)]
        for task in tasks:
            for choice in choices:
                apply_prompts(task, choice)  # a file of other classes is refused before any work
        ResultStore(options.output).check_writable()
        check_writable(place.cache_dir, "--cache-dir")
        read_every_byte(place.cache_dir, options.verify)
        jobs = make_jobs(resolved, tasks, protocols, options, place, executor, reporter)
        if options.shard is not None:
            shard, count = parse_shard(options.shard), len(jobs)
            jobs = jobs_of(shard, jobs)
            reporter.note(f"Shard {shard}: {len(jobs)} of {counted(count, 'pair')} of model and task.")
        _check_layer(protocols, options)
        for session in dict.fromkeys(job.model for job in jobs):
            session.check_name()
            session.check_layer()
    except BaseException:
        executor.close()
        raise
    return jobs


def _resolved(model: str | ImageModel, options: RunOptions) -> ResolvedModel | ImageModel:
    if isinstance(model, str):
        return sized(resolve(model), options.image_size)
    if options.image_size is not None:
        raise UsageError(f"--image-size: the model {model.info.name!r} is given with a preprocessing of its own.")
    return model


def _check_layer(protocols: Sequence[EvaluationProtocol], options: RunOptions) -> None:
    if options.layer is not None and all(protocol.needs_text for protocol in protocols):
        named = ", ".join(protocol.name for protocol in protocols)
        raise UsageError(f"--layer {options.layer}: {named} compares images with texts, in the layer of both alone.")


def _executor(options: RunOptions, reporter: Reporter) -> Executor:
    if options.executor == "ray":
        from evalsuite.executors.ray import RayExecutor

        return RayExecutor(options, reporter.note)
    devices = parse_devices(options.device)
    precisions = choose_precisions(options.precision, devices[0])
    return LocalExecutor(devices, precisions, compile=options.compile, note=reporter.note)


def measure_speed(model: str, options: RunOptions, place: DataPlace, say: Callable[[str], None]) -> tuple[Speed, int]:
    """Measure how fast a model is here, keep that, and return it with the batch size of a run with these options.

    say: told what is being measured. Raises UsageError for a wrong name or device, and what loading a model raises.
    """
    session = open_model(model, options, place, say)
    batch_size = options.batch_size or BATCH_SIZES[session.device.type]
    found = measure(session, batch_size, say)
    keep(found, place.cache_dir)
    session.close()
    return found, batch_size


def open_model(
    model: str | ImageModel, options: RunOptions, place: DataPlace, say: Callable[[str], None]
) -> ModelSession:
    """Return a model on the devices of these options; UsageError for a wrong name or device. say: told what is done."""
    check_writable(place.cache_dir, "--cache-dir")
    devices = parse_devices(options.device)
    executor = LocalExecutor(
        devices, choose_precisions(options.precision, devices[0]), compile=options.compile, note=say
    )
    session = ModelSession(_resolved(model, options), place, executor, variant(options), options.layer)
    session.check_name()
    session.check_layer()
    return session


def load_task(name: str | Path, include_paths: Sequence[str | Path] = ()) -> TaskSpec:
    """Return a task by name or by the path of its file."""
    return TaskIndex([Path(path) for path in include_paths]).load(str(name))


def leaderboard(
    output: str | Path | Sequence[str | Path] | None = None, published: str | Sequence[str] = (), **filters: Any
) -> Leaderboard:
    """Return the table of the results in one folder or several, with published rows next to them.

    published: "all", "clip-paper", the name of an import, or names of published or imported models.
    filters: see `build_leaderboard`. One name may be given without a list around it.
    """
    given = [config.default_output()] if output is None else _listed(output)
    library = Library()
    table, _ = load_numbers([Path(folder) for folder in given], _listed(published), library)
    named: dict[str, Any] = {name: [value] if isinstance(value, str) else value for name, value in filters.items()}
    return build_leaderboard(table, **named, library=library)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _specs(tasks: str | TaskSpec | Sequence[str | TaskSpec], index: TaskIndex) -> list[TaskSpec]:
    specs: list[TaskSpec] = []
    for task in _listed(tasks):
        specs.extend([task] if isinstance(task, TaskSpec) else index.select(str(task).split(",")))
    return specs


def _value(result: Result) -> str:
    return result.status if result.metric is None else f"{result.metric.name} {100 * result.metric.value:.2f} %"


def _row(result: Result) -> dict[str, Any]:
    metric = result.metric
    interval = metric.interval if metric else None
    return {
        "model": result.model,
        "task": result.task,
        "protocol": result.protocol,
        "status": result.status,
        "metric": metric.name if metric else None,
        "value": metric.value if metric else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "n": metric.n if metric else None,
        **result.metrics,
        "split_fidelity": result.split_level,
        "error": result.error.message if result.error else None,
    }
