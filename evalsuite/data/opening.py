"""Open the data of a task: pick a source, map its labels, resolve its splits."""

from __future__ import annotations

import importlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from evalsuite.config import is_offline
from evalsuite.data import python_source
from evalsuite.data.base import DataState, Fold, Pool, RawPool, TaskData
from evalsuite.data.context import SourceContext, SourceModule
from evalsuite.data.labels import map_labels
from evalsuite.data.lists import expand_lists
from evalsuite.data.splits import resolve_folds
from evalsuite.errors import DataError, DataMissingError, SpecError, UsageError
from evalsuite.hashing import combined_sha256
from evalsuite.tasks.sources import PythonSource, SourceBase, SourceSpec
from evalsuite.tasks.spec import TaskSpec

_LOG = logging.getLogger(__name__)


def open_task(
    task: TaskSpec,
    data_root: Path | None,
    *,
    offline: bool = False,
    trust_adapters: bool = False,
    cache_dir: Path | None = None,
) -> TaskData:
    """Pick the source the task's images come from; its pools open on first use.

    The first source that is ready counts; one that is there in part is then passed over with a warning.
    If none is ready and one is there in part, that is an error rather than a reason to download another.
    Else the first source that can be downloaded counts, unless `offline` (or HF_HUB_OFFLINE=1).
    `resolved` of what is returned fills as pools open: commits, file names, checksums.

    Raises DataMissingError that says for every source what is missing, and where to put it; UsageError
    for an adapter that is not trusted.
    """
    context = _context(task, data_root, offline, trust_adapters, cache_dir)
    states = [_module(spec).state(spec, context) for spec in task.sources]
    chosen = _choose(task, states, context)
    opened = _OpenedTask(task, chosen, context)
    context.resolved.update({"source": chosen.kind, "verified": chosen.verified})
    return TaskData(task.name, chosen.kind, opened.pool, opened.folds, context.resolved)


def data_state(
    task: TaskSpec,
    data_root: Path | None,
    *,
    offline: bool = False,
    trust_adapters: bool = False,
    cache_dir: Path | None = None,
) -> DataState:
    """Say whether `open_task` will find the data, from the names of files alone.

    Returns the state of the source that counts; for `partial` and `absent`, `missing` tells of every source.
    """
    context = _context(task, data_root, offline, trust_adapters, cache_dir)
    states = [_module(spec).state(spec, context) for spec in task.sources]
    by_name = {state.state: state for state in reversed(states)}  # the first source of each state
    if "ready" in by_name:
        return by_name["ready"]
    if "partial" in by_name:
        return DataState("partial", by_name["partial"].source, _report(task, states, context))
    if "downloadable" in by_name:
        return by_name["downloadable"]
    return DataState("absent", states[0].source, _report(task, states, context))


def _context(
    task: TaskSpec, data_root: Path | None, offline: bool, trust_adapters: bool, cache_dir: Path | None
) -> SourceContext:
    root = None if data_root is None else Path(data_root).expanduser()
    return SourceContext(task, root, cache_dir, is_offline(offline), trust_adapters)


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
                        task.name, _describe(task.sources[other]), states[other].missing, _describe(spec),
                    )  # fmt: skip
            return spec
    if partial:
        raise DataMissingError(
            f"The images of the task {task.name!r} are there only in part.\n{_report(task, states, context)}"
        )
    _refuse_untrusted(task, context)
    for spec, state in zip(task.sources, states, strict=True):
        if state.state == "downloadable":
            return spec
    raise DataMissingError(f"The images of the task {task.name!r} are not there.\n{_report(task, states, context)}")


def _refuse_untrusted(task: TaskSpec, context: SourceContext) -> None:
    for spec in task.sources:
        if isinstance(spec, PythonSource) and not python_source.is_trusted(spec, context):
            file = python_source.adapter_file(spec, context)
            if file is not None and file.is_file():
                raise UsageError(python_source.untrusted_message(spec, context))


def _report(task: TaskSpec, states: Sequence[DataState], context: SourceContext) -> str:
    """Say of each source what is there and what is missing."""
    lines = ["It can come from any of:" if len(states) > 1 else "It comes from:"]
    for number, (spec, state) in enumerate(zip(task.sources, states, strict=True), 1):
        text = state.missing or "nothing is missing"
        lines.append(f"  {number}. {_describe(spec)} [{state.state}]: {text}")
        if spec.note:
            lines.append(f"     {spec.note}")
    if context.data_root is None:
        lines.append("No data root is given: set it with --data-root DIR or EVALSUITE_DATA=DIR.")
    else:
        lines.append(f"The data root is {context.data_root} (--data-root DIR or EVALSUITE_DATA=DIR).")
    if task.homepage:
        lines.append(f"Homepage of the dataset: {task.homepage}")
    return "\n".join(lines)


def _describe(spec: SourceBase) -> str:
    return _module(spec).describe(spec)


class _OpenedTask:
    """The pools of one source, each opened once."""

    def __init__(self, task: TaskSpec, spec: SourceSpec, context: SourceContext) -> None:
        self._task = task
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
                    f"{_describe(self._spec)}; its pools: {', '.join(known)}."
                )
            raw = _module(self._spec).open_raw_pool(self._spec, name, self._context)
            self._pools[name] = _finished(self._task, self._spec, name, raw)
        return self._pools[name]

    def folds(self) -> tuple[Fold, ...]:
        """Return the splits of the task."""
        if self._folds is None:
            folder = _module(self._spec).folder(self._spec, self._context)
            beside = None if self._task.path is None else self._task.path.parent
            folders = [place for place in (folder, beside) if place is not None]
            lists = expand_lists(self._spec.lists, folders)
            self._folds = resolve_folds(self._task, self.pool, lists)
        return self._folds


def _finished(task: TaskSpec, spec: SourceSpec, name: str, raw: RawPool) -> Pool:
    """Check a raw pool and map its labels."""
    place = f"Task {task.name!r}, source {_describe(spec)}, pool {name!r}"
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
    labels = map_labels(task, _describe(spec), spec.labels, raw.labels, raw.ids)
    groups = None if raw.groups is None else tuple(raw.groups)
    fingerprint = _fingerprint(task, spec, name, raw.content)
    return Pool(name, tuple(raw.ids), labels, raw.read, raw.sizes, raw.mtimes, groups, fingerprint)


def _fingerprint(task: TaskSpec, spec: SourceSpec, name: str, content: str) -> str:
    """Identify the images of a pool, on any machine; the ids and sizes are compared apart from it."""
    options: dict[str, Any] = _module(spec).image_options(spec, name)
    return combined_sha256([task.name, spec.kind, _canonical(options), name, content])


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
