"""Open the data of a task: pick a source, map its labels, resolve its splits."""

from __future__ import annotations

import importlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from evalsuite import resources
from evalsuite.data import python_source
from evalsuite.data.base import DataState, Fold, Pool, RawPool, TaskData
from evalsuite.data.context import SourceContext, SourceModule
from evalsuite.data.labels import map_labels
from evalsuite.data.lists import expand_lists, missing_files
from evalsuite.data.place import DataPlace
from evalsuite.data.splits import resolve_folds
from evalsuite.errors import DataError, DataMissingError, SpecError, UsageError
from evalsuite.hashing import combined_sha256
from evalsuite.tasks.sources import PythonSource, SourceBase, SourceSpec
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.split_rules import SampledSplits, SplitRule

_LOG = logging.getLogger(__name__)
_SHOWN = 3


def open_task(task: TaskSpec, place: DataPlace, *, test_only: bool = False) -> TaskData:
    """Pick the source the task's images come from; its pools open on first use.

    The first source that is ready counts; one that is there in part is then passed over with a warning.
    Nothing is downloaded here: that is `evalsuite.data.downloading`.
    `resolved` of what is returned fills as pools open: commits, file names, checksums.
    test_only: the test split is enough; the splits for training are then empty.

    Raises DataMissingError that says for every source what is missing, and where to put it; UsageError
    for an adapter that is not trusted.
    """
    if test_only:
        task = task.with_sources([_of_the_test_split(spec, spec.splits or task.splits) for spec in task.sources])
    context = SourceContext(task, place)
    states = [source_state(spec, context) for spec in task.sources]
    chosen = _choose(task, states, context)
    effective = task.from_source(chosen)
    opened = _OpenedTask(effective, chosen, context, test_only)
    context.resolved.update({"source": chosen.kind, "verified": chosen.verified})
    return TaskData(effective, chosen.kind, opened.pool, opened.folds, context.resolved)


def _of_the_test_split(spec: SourceSpec, rule: SplitRule) -> SourceSpec:
    """Return a source with the pool and lists of the test split alone; as it is where splits are drawn from a pool."""
    if isinstance(rule, SampledSplits):
        return spec
    lists = {name: entry for name, entry in spec.lists.items() if name == rule.test}
    kept = {entry.pool for entry in lists.values()} or {rule.test}
    if isinstance(spec, PythonSource):
        return spec.model_copy(update={"lists": lists, "pools": [name for name in spec.pools if name in kept]})
    pools = {name: value for name, value in spec.pools.items() if name in kept}
    return spec.model_copy(update={"lists": lists, "pools": pools})


def data_state(task: TaskSpec, place: DataPlace) -> DataState:
    """Say whether `open_task` will find the data, from the names of files alone.

    Returns the state of the source that counts; for `partial` and `absent`, `missing` tells of every source.
    """
    context = SourceContext(task, place)
    states = [source_state(spec, context) for spec in task.sources]
    by_name = {state.state: state for state in reversed(states)}  # the first source of each state
    if "ready" in by_name:
        return by_name["ready"]
    if "partial" in by_name:
        there = by_name["partial"]
        return DataState("partial", there.source, how_to_get(task, states, context), there.missing)
    if "downloadable" in by_name:
        return by_name["downloadable"]
    return DataState("absent", states[0].source, how_to_get(task, states, context), states[0].missing)


def source_state(spec: SourceSpec, context: SourceContext) -> DataState:
    """Say whether one source is ready, with the files and lists it `needs`; names of files alone are looked at."""
    state = _module(spec).state(spec, context)
    if state.state == "ready":
        short = _missing_parts(spec, context)
        if short:
            shown = ", ".join(str(path) for path in short[:_SHOWN]) + (" ..." if len(short) > _SHOWN else "")
            state = DataState("partial", spec.kind, f"missing: {shown}.")
    if state.state == "ready" or not can_be_fetched(spec):
        return state
    name = "downloadable" if state.state == "absent" and not context.place.offline else state.state
    return DataState(name, spec.kind, f"{state.missing.rstrip('.')}. To download it: {_download_command(context.task)}")


def can_be_fetched(spec: SourceSpec) -> bool:
    """Say whether `evalsuite download` knows where to fetch a source."""
    repo: str | None = getattr(spec, "repo", None)
    return bool(spec.files) or repo is not None


def _download_command(task: TaskSpec) -> str:
    """Return what to type: shipped tasks by name, others by the path of their file."""
    own = task.path is None or task.path.parent.resolve() == resources.data_dir("tasks").resolve()
    return f"evalsuite download {task.name if own else task.path}"


def _missing_parts(spec: SourceSpec, context: SourceContext) -> list[Path]:
    base = _module(spec).folder(spec, context)
    absent = [base / name for name in spec.needs if not (base / name).exists()]
    return absent + missing_files(expand_lists(spec.lists, _list_folders(spec, context)))


def _list_folders(spec: SourceSpec, context: SourceContext) -> list[Path]:
    """Return where the files of lists may be: the source's folder, then the task file's."""
    folder = _module(spec).folder(spec, context)
    return [folder] if context.task.path is None else [folder, context.task.path.parent]


def _module(spec: SourceBase) -> SourceModule:
    """Import the module of a source kind."""
    kind: str = getattr(spec, "kind")  # noqa: B009 -- every source has one, the base class does not
    return cast(SourceModule, importlib.import_module(f"evalsuite.data.{kind}_source"))


def _choose(task: TaskSpec, states: Sequence[DataState], context: SourceContext) -> SourceSpec:
    partial = [number for number, state in enumerate(states) if state.state == "partial"]
    for number, (spec, state) in enumerate(zip(task.sources, states, strict=True)):
        if state.state == "ready":
            for other in partial:
                if other < number:
                    _LOG.warning(
                        "Task %s: %s is there only in part (%s); %s is used instead",
                        task.name, describe_source(task.sources[other]), states[other].missing, describe_source(spec),
                    )  # fmt: skip
            return spec
    if not partial:
        _refuse_untrusted(task, context)
    what = "there only in part" if partial else "not there"
    raise DataMissingError(f"The images of the task {task.name!r} are {what}.\n{how_to_get(task, states, context)}")


def _refuse_untrusted(task: TaskSpec, context: SourceContext) -> None:
    for spec in task.sources:
        if isinstance(spec, PythonSource) and not python_source.is_trusted(spec, context):
            file = python_source.adapter_file(spec, context)
            if file is not None and file.is_file():
                raise UsageError(python_source.untrusted_message(spec, context))


def how_to_get(task: TaskSpec, states: Sequence[DataState], context: SourceContext) -> str:
    """Say of each source what is there and what is missing, and how to get it."""
    lines = ["It can come from any of:" if len(states) > 1 else "It comes from:"]
    for number, (spec, state) in enumerate(zip(task.sources, states, strict=True), 1):
        text = state.missing or "nothing is missing"
        lines.append(f"  {number}. {describe_source(spec)} [{state.state}]: {text}")
        if spec.note:
            lines.append(f"     {spec.note}")
    lines.append(f"The data root is {context.place.data_root} (--data-root DIR or EVALSUITE_DATA=DIR).")
    if task.homepage:
        lines.append(f"Homepage of the dataset: {task.homepage}")
    return "\n".join(lines)


def describe_source(spec: SourceBase) -> str:
    """Name a source in a message."""
    return _module(spec).describe(spec)


class _OpenedTask:
    """The pools of one source, each opened once."""

    def __init__(self, task: TaskSpec, spec: SourceSpec, context: SourceContext, test_only: bool) -> None:
        self._task = task
        self._test_only = test_only
        self._spec = spec
        self._context = context
        self._pools: dict[str, Pool] = {}
        self._folds: tuple[Fold, ...] | None = None

    def pool(self, name: str) -> Pool:
        """Return a pool of the source."""
        if name not in self._pools:
            known = list(self._spec.pools)
            if name not in known:
                raise SpecError(
                    f"Task {self._task.name!r}: there is no pool (nor list) {name!r} in the source "
                    f"{describe_source(self._spec)}; its pools: {', '.join(known)}."
                )
            raw = _module(self._spec).open_raw_pool(self._spec, name, self._context)
            self._pools[name] = _finished(self._task, self._spec, name, raw)
        return self._pools[name]

    def folds(self) -> tuple[Fold, ...]:
        """Return the splits of the task."""
        if self._folds is None:
            lists = expand_lists(self._spec.lists, _list_folders(self._spec, self._context))
            self._folds = resolve_folds(self._task, self.pool, lists, test_only=self._test_only)
        return self._folds


def _finished(task: TaskSpec, spec: SourceSpec, name: str, raw: RawPool) -> Pool:
    """Check a raw pool and map its labels."""
    place = f"Task {task.name!r}, source {describe_source(spec)}, pool {name!r}"
    count = len(raw.ids)
    lengths = {"labels": len(raw.labels), "sizes": len(raw.sizes)}
    if raw.mtimes is not None:
        lengths["mtimes"] = len(raw.mtimes)
    if raw.groups is not None:
        lengths["groups"] = len(raw.groups)
    wrong = [f"{length} {what}" for what, length in lengths.items() if length != count]
    if wrong:
        raise DataError(f"{place}: there are {count} ids but {', '.join(wrong)}.")
    if len(set(raw.ids)) != count:
        twice = Counter(raw.ids).most_common(1)[0][0]
        raise DataError(f"{place}: the sample {twice!r} is there more than once.")
    labels = map_labels(task, describe_source(spec), spec.labels, raw.labels, raw.ids)
    groups = None if raw.groups is None else tuple(raw.groups)
    fingerprint = _fingerprint(task, spec, name, raw.content)
    return Pool(name, tuple(raw.ids), labels, raw.read, raw.sizes, raw.mtimes, groups, fingerprint)


def _fingerprint(task: TaskSpec, spec: SourceSpec, name: str, content: str) -> str:
    """Identify the images of a pool, on any machine; the ids and sizes are compared apart from it."""
    options: dict[str, Any] = _module(spec).image_options(spec, name)
    return combined_sha256([task.name, spec.kind, _canonical(options), name, content])


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
