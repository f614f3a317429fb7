"""The same thing without a terminal: evaluate models on tasks from Python."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from evalsuite import config
from evalsuite.atomic import check_writable
from evalsuite.data.place import DataPlace
from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.executors.devices import choose_precisions, parse_devices
from evalsuite.executors.local import LocalExecutor
from evalsuite.features.workers import check_guarded
from evalsuite.hashing import read_every_byte
from evalsuite.models.base import ImageModel, Preprocess
from evalsuite.models.given import given_models, home_of, parameters_digest
from evalsuite.models.loading import load_model, sized
from evalsuite.models.modules import Tokenizer, wrap_module
from evalsuite.models.names import ResolvedModel, resolve
from evalsuite.options import CacheMode, RunOptions, accepts, build, declared
from evalsuite.protocols import (
    DEFAULT_PROTOCOLS,
    FURTHER_PROTOCOLS,
    EvaluationProtocol,
    idle,
    make_protocols,
    options_of,
)
from evalsuite.records import Result
from evalsuite.report import comparison
from evalsuite.report.comparison import Comparison
from evalsuite.report.contenders import choose_contenders
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.run_results import Results
from evalsuite.report.table import Leaderboard
from evalsuite.report.trackers import check_trackers
from evalsuite.results.library import Library, load_numbers
from evalsuite.results.naming import PUBLISHED, tasks_of_tags
from evalsuite.results.numbers import Numbers
from evalsuite.results.store import ResultStore, hash8
from evalsuite.runner.base import Executor, Reporter
from evalsuite.runner.fingerprints import variant
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.loop import make_jobs, run_jobs
from evalsuite.runner.models import ModelSession
from evalsuite.runner.passes import BATCH_SIZES
from evalsuite.runner.ranks import together
from evalsuite.runner.reporters import ReporterName, make_reporter
from evalsuite.runner.shards import jobs_of, parse_shard
from evalsuite.speed.measure import measure
from evalsuite.speed.record import Speed, keep
from evalsuite.tasks import TaskIndex, TaskSpec, apply_prompts, read_prompts
from evalsuite.tasks.loading import OWN_PROMPTS
from evalsuite.text import counted, listed, shortened

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Results", "compare", "evaluate", "leaderboard", "load_model", "load_task", "prepare", "wrap_module"]

_LOG = logging.getLogger(__name__)

RanksMode = Literal["together", "each"]
"""Of processes that train together: rank 0 evaluates for all, or each for itself."""


@accepts(*declared(RunOptions), *declared(DataPlace), *options_of(DEFAULT_PROTOCOLS + FURTHER_PROTOCOLS))
def evaluate(
    models: str | ImageModel | nn.Module | Sequence[str | ImageModel | nn.Module],
    tasks: str | Path | TaskSpec | Sequence[str | Path | TaskSpec] = "embedded",
    protocols: str | Sequence[str] = DEFAULT_PROTOCOLS,
    *,
    preprocess: Preprocess | None = None,
    tokenizer: Tokenizer | None = None,
    name: str | None = None,
    protocol_options: Mapping[str, Any] = MappingProxyType({}),
    include_paths: str | Path | Sequence[str | Path] = (),
    reporter: Reporter | ReporterName | None = "auto",
    cache: CacheMode = "keep",
    ranks: RanksMode = "together",
    **keywords: Any,
) -> Results:
    """Evaluate models on tasks and return a result for each (model, task, protocol).

    models: names (`evalsuite ls models`), ready models (`evalsuite.wrap_module`, or any `ImageModel`), or one torch
    module with its preprocess (a PIL image -> (channels, height, width) tensor), perhaps a tokenizer, and a name.
    tasks: names, groups, `tag:...`, globs, paths, or specs. A text is split at its commas, a list is what it is.
    protocol_options: options of any protocol, `{"probe.tolerance": 1e-8}`. include_paths: folders with more task files.
    reporter: "tqdm" shows bars, "log" writes lines to the logger `evalsuite.run`, "none" is silent, "auto" shows bars
    in a notebook and is silent elsewhere; or a `Reporter` of your own.
    cache: "keep" stores features for later calls; "last" removes those of the states of a model before this one;
    "off" stores none, reads none, and keeps results only where an output is named.
    ranks: of processes that train together, "together" evaluates on rank 0 and gives the results to all that call;
    "each" evaluates on each.
    The keywords are the options of `evalsuite run`: data_root is the folder of the datasets; output and cache_dir are
    where results and features are kept, and what is stored there already is not computed again.
    Raises UsageError for what is wrong before any work; what goes wrong later is in the results.
    """
    with ExitStack() as ending:
        ending.enter_context(_random_states_kept())
        listening = make_reporter(reporter)
        if listening is not reporter:
            ending.callback(listening.close)
        _check_choice("cache", cache, CacheMode)
        _check_choice("ranks", ranks, RanksMode)
        given = given_models(models, preprocess, tokenizer, name)
        specs = _specs(tasks, TaskIndex(_folders(include_paths)))
        chosen = make_protocols(listed(protocols), keywords, protocol_options)
        for keyword, owners in idle(keywords, chosen):
            _LOG.warning("%s does nothing in this call: it is of %s.", keyword, " and ".join(owners))
        group = together() if ranks == "together" else None

        def work() -> list[Result]:
            with _set_up(keywords, cache, home_of(given), listening) as (options, place):
                found = run_jobs(prepare(given, specs, chosen, options, place, listening), options, listening)
            for problem in log_results(found, options.log_to):
                _LOG.warning("%s", problem)
            return found

        return Results(work() if group is None else group.once(_asked(given, specs, chosen), work))


@contextmanager
def _random_states_kept() -> Iterator[None]:
    """Put the random states of the process back: making a network draws from them, and so does importing rich."""
    drawn, of_numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        random.setstate(drawn)
        np.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)
        torch.cuda.set_rng_state_all(of_gpus)


@contextmanager
def _set_up(
    keywords: Mapping[str, Any], cache: CacheMode, home: str | None, progress: Reporter
) -> Iterator[tuple[RunOptions, DataPlace]]:
    """Give the options of a call, and where its data and stores are; without a cache, results may end with the call.

    home: the device to take where none is named.
    """
    given = dict(keywords)
    if isinstance(given.get("device"), torch.device):
        given["device"] = str(given["device"])
    if home is not None and given.get("device") in (None, "auto") and given.get("executor") in (None, "local"):
        given["device"] = home
    with ExitStack() as stack:
        if cache == "off" and given.get("output") is None:
            if kept := [name for name in ("log_samples", "save_head") if given.get(name)]:
                raise UsageError(f"{' and '.join(kept)} with cache='off' keeps nothing: name a folder with output=.")
            given["output"] = stack.enter_context(TemporaryDirectory(prefix="evalsuite-"))
        options = build(RunOptions, given, command="evalsuite.evaluate", cache=cache)
        place = build(DataPlace, given, progress=progress)
        check_data_root(given.get("data_root"), place, options)
        yield options, place


def _asked(
    models: Sequence[str | ImageModel], tasks: Sequence[TaskSpec], protocols: Sequence[EvaluationProtocol]
) -> str:
    """Return what a call is for, its weights included, in a phrase that no other call has."""
    states = [model if isinstance(model, str) else f"{model.info.name}@{parameters_digest(model)}" for model in models]
    whole = repr((states, [task.name for task in tasks], [(item.label, item.options) for item in protocols]))
    named = [model if isinstance(model, str) else model.info.name for model in models]
    return f"{shortened(named)} on {shortened([task.name for task in tasks])} [{hash8(whole)}]"


def _check_choice(name: str, value: str, kind: Any) -> None:
    if value not in get_args(kind):
        raise UsageError(f"{name}={value!r}: choose {', '.join(get_args(kind))}.")


def log_results(results: Sequence[Result], trackers: Sequence[str]) -> list[str]:
    """Send the numbers of a run to trackers and return what went wrong: the results are there all the same."""
    problems = []
    for tracker in trackers:
        try:
            Results(results).log_to(tracker)
        except EvalsuiteError as error:
            problems.append(str(error))
    return problems


def check_data_root(given: str | Path | None, place: DataPlace, options: RunOptions) -> None:
    """Raise UsageError for a folder of datasets that was named and is not there, unless data is to be fetched."""
    if given is not None and not place.data_root.is_dir() and not options.download:
        raise UsageError(f"--data-root {given}: there is no such folder. Make it, or name the folder of your datasets.")


def prepare(
    models: Sequence[str | ImageModel],
    tasks: Sequence[TaskSpec],
    protocols: Sequence[EvaluationProtocol],
    options: RunOptions,
    place: DataPlace,
    reporter: Reporter,
) -> list[ModelTaskJob]:
    """Check everything that can be known before any work and return the jobs; UsageError says what is wrong."""
    check_guarded()
    for kind, chosen in (("model", models), ("task", tasks), ("protocol", protocols)):
        if not chosen:
            raise UsageError(f"There is nothing to do: no {kind} is chosen.")
    check_trackers(options.log_to)
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
    check_guarded()
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
    output: str | Path | Sequence[str | Path] | None = None,
    published: str | Sequence[str] = (),
    *,
    models: str | Sequence[str] = (),
    tasks: str | Sequence[str] = (),
    tags: str | Sequence[str] = (),
    protocols: str | Sequence[str] = (),
    baselines: str | Sequence[str] = (),
    groups: str | Sequence[str] | Mapping[str, Sequence[str]] = (),
    include_partial: bool = False,
    claims: bool = False,
) -> Leaderboard:
    """Return the table of the results in one folder or several, with published rows next to them.

    published: "all", "clip-paper", the name of an import, or names of published or imported models. groups: tags, or
    "main", whose averages are added. The others: see `build_leaderboard`. A text is split at its commas, a list is what
    it is.
    """
    library = Library()
    table = _numbers(output, listed(published), library, required=not published)
    return build_leaderboard(
        table,
        models=listed(models),
        tasks=listed(tasks),
        tags=listed(tags),
        protocols=listed(protocols),
        baselines=listed(baselines),
        groups=groups if isinstance(groups, Mapping) else tasks_of_tags(listed(groups)),
        include_partial=include_partial,
        claims=claims,
        library=library,
    )


def compare(
    first: str,
    second: str | None = None,
    *,
    output: str | Path | Sequence[str | Path] | None = None,
    protocols: str | Sequence[str] = (),
    tasks: str | Sequence[str] = (),
    tags: str | Sequence[str] = (),
    include_partial: bool = False,
) -> Comparison:
    """Compare two models on the tasks that both have; without a second, a model with its own row of the paper.

    first, second: as `evalsuite compare` names them; `published:resnet/50` is a row of a paper. output: folders of
    results. UsageError for a name that stands for nothing, and where they share nothing.
    """
    library = Library()
    names = [first] if second is None else [first, second]
    table = _numbers(output, (), library, required=not all(name.startswith(PUBLISHED) for name in names))
    pair = choose_contenders(names, table.numbers, include_partial=include_partial, library=library)
    return comparison.compare(*pair, protocols=listed(protocols), tasks=listed(tasks), tags=listed(tags))


def _folders(given: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return one folder or several as a list; a comma in the name of a folder is a part of it."""
    return [config.expanded(folder) for folder in ([given] if isinstance(given, str | Path) else given)]


def _numbers(
    output: str | Path | Sequence[str | Path] | None, published: Sequence[str], library: Library, *, required: bool
) -> Numbers:
    """Return the numbers of folders and of published rows. required: the default folder must be there."""
    given = [config.default_output()] if output is None else _folders(output)
    if output is None and not required and not given[0].exists():
        given = []
    table, warnings = load_numbers(given, published, library)
    for warning in warnings:
        _LOG.warning("%s", warning)
    return table


def _specs(tasks: str | Path | TaskSpec | Sequence[str | Path | TaskSpec], index: TaskIndex) -> list[TaskSpec]:
    specs: dict[int, TaskSpec] = {}
    for task in listed(tasks):
        for spec in [task] if isinstance(task, TaskSpec) else index.select([str(task)]):
            specs.setdefault(id(spec), spec)  # the index reads each file once
    return list(specs.values())
