"""Fetch the images of a task from where its file says they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evalsuite.atomic import check_writable
from evalsuite.data import hub, python_source
from evalsuite.data.base import DataState
from evalsuite.data.context import SourceContext
from evalsuite.data.opening import can_be_fetched, describe_source, how_to_get, source_state
from evalsuite.data.place import DataPlace
from evalsuite.data.remote_files import Target, fetch_remote
from evalsuite.data.transfers import Retries
from evalsuite.errors import DataMissingError, JobError
from evalsuite.tasks.sources import HuggingFaceSource, PythonSource, SourceSpec, WebDatasetSource
from evalsuite.tasks.spec import TaskSpec

_COUNT_FILE = "nshards.txt"


@dataclass(frozen=True)
class Fetched:
    """What `fetch_task` did.

    before, after: states of the task's data (`ready`, `partial`, ...). source: the one that is ready now.
    received: bytes that came over the network, as far as they are known. notes: what went wrong with sources
    that were tried before it.
    """

    task: str
    before: str
    after: str
    source: str
    received: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """One thing `fetch_task` would fetch: `what` is a URL or a repository, `where` a path."""

    source: str
    what: str
    where: str


def fetch_task(task: TaskSpec, place: DataPlace, *, kind: str | None = None, retries: Retries | None = None) -> Fetched:
    """Have one source of a task ready: one that is already, else the first that can be fetched.

    The sources are tried in the task file's order, only those of `kind` if one is given; one that fails is
    noted and the next one tried. Files go under the data root, repositories that are read by the `datasets`
    library into the cache. What an earlier call was stopped at is resumed.

    Raises DataMissingError that says of every source what was tried and how to get it by hand; UsageError for
    a data root that cannot be written.
    """
    context = SourceContext(task, place)
    candidates = _candidates(task, kind)
    states = [source_state(spec, context) for spec in candidates]
    for spec, state in zip(candidates, states, strict=True):
        if _is_done(spec, state, context):
            return Fetched(task.name, "ready", "ready", spec.kind)
    check_writable(place.data_root, "--data-root")
    notes = ["nothing is downloaded offline (--offline or HF_HUB_OFFLINE)"] if place.offline else []
    received = 0
    for spec in _fetchable(candidates, context, notes):
        place.progress.note(f"{task.name}: {describe_source(spec)}")
        try:
            received += fetch_source(spec, context, retries)
        except JobError as error:
            notes.append(f"{describe_source(spec)}: {error}")
            place.progress.note(f"{task.name}: {notes[-1]}")
            continue
        state = source_state(spec, context)
        if state.state == "ready":
            return Fetched(task.name, _foremost(states), "ready", spec.kind, received, tuple(notes))
        notes.append(f"{describe_source(spec)}: fetched, but {state.state} still: {state.missing}")
    raise DataMissingError(_failed(task, context, notes or ["none of its sources can be downloaded"]))


def plan_task(task: TaskSpec, place: DataPlace, *, kind: str | None = None) -> tuple[str, list[Planned]]:
    """Return the state of a task's data, and what `fetch_task` would try to fetch first, without the network."""
    context = SourceContext(task, place)
    candidates = _candidates(task, kind)
    states = [source_state(spec, context) for spec in candidates]
    if any(_is_done(spec, state, context) for spec, state in zip(candidates, states, strict=True)):
        return "ready", []
    state = _foremost(states)
    first = next(_fetchable(candidates, context, []), None)
    return state, [] if first is None else list(_planned(first, context))


def fetch_source(spec: SourceSpec, context: SourceContext, retries: Retries | None = None) -> int:
    """Fetch what is not there of one source; return how many bytes came, as far as that is known.

    DataMissingError says what went wrong and what to do.
    """
    received = sum(fetch_remote(file, context.place.data_root, context.place.progress, retries) for file in spec.files)
    if context.place.offline:
        return received
    if isinstance(spec, WebDatasetSource) and spec.repo is not None:
        received += _fetch_shards(spec, context)
    elif isinstance(spec, HuggingFaceSource) and spec.repo is not None and not spec.files:
        for pool, split in spec.pools.items():
            context.place.progress.note(f"{spec.repo}: split {split!r}")
            hub.open_split(spec, pool, context)
    return received


def _fetch_shards(spec: WebDatasetSource, context: SourceContext) -> int:
    """Bring the shards of a repository into the source's folder; what is there already stays."""
    from huggingface_hub import HfApi, snapshot_download

    base = context.under_root(spec.path)
    counts = {f"{glob.rpartition('/')[0]}/{_COUNT_FILE}".lstrip("/") for glob in spec.pools.values()}
    patterns = [*spec.pools.values(), *sorted(counts)]
    before = _size(base, patterns)
    context.place.progress.note(f"{spec.repo}: {', '.join(spec.pools.values())}")
    try:
        # With a folder that is there, snapshot_download takes an unreachable hub for no error.
        commit = HfApi().dataset_info(str(spec.repo), revision=spec.revision).sha
        snapshot_download(str(spec.repo), repo_type="dataset", revision=commit, local_dir=base, allow_patterns=patterns)
    except Exception as error:
        raise DataMissingError(
            f"{hub.explain(spec, 'shards', error)} What came is kept: type the same command again to go on."
        ) from error
    return _size(base, patterns) - before


def _size(base: Path, patterns: list[str]) -> int:
    return sum(path.stat().st_size for pattern in patterns for path in base.glob(pattern) if path.is_file())


def _candidates(task: TaskSpec, kind: str | None) -> list[SourceSpec]:
    found = [spec for spec in task.sources if kind in (None, spec.kind)]
    if not found:
        kinds = ", ".join(dict.fromkeys(spec.kind for spec in task.sources))
        raise DataMissingError(f"The task {task.name!r} has no source of the kind {kind!r}; it has: {kinds}.")
    return found


def _is_done(spec: SourceSpec, state: DataState, context: SourceContext) -> bool:
    """Say whether a source is ready and no download of it was stopped: a half-filled folder may look ready."""
    if state.state != "ready":
        return False
    return not any(Target(file, context.place.data_root).is_begun for file in spec.files)


def _fetchable(candidates: list[SourceSpec], context: SourceContext, notes: list[str]) -> Iterator[SourceSpec]:
    """Yield the sources worth a try; notes say why another one that could be fetched is not."""
    for spec in candidates:
        if not can_be_fetched(spec) or (context.place.offline and not _all_here(spec, context)):
            continue
        state = source_state(spec, context)
        if isinstance(spec, PythonSource) and not python_source.is_trusted(spec, context):
            notes.append(python_source.untrusted_message(spec, context))
        elif isinstance(spec, HuggingFaceSource) and not spec.files and state.state == "partial":
            # Files under the data root come before the hub, so a download would change nothing.
            notes.append(f"{describe_source(spec)}: there only in part: {state.missing} Or remove what is there.")
        else:
            yield spec


def _all_here(spec: SourceSpec, context: SourceContext) -> bool:
    """Say whether every file of a source was brought by hand and only needs to be unpacked."""
    targets = [Target(file, context.place.data_root) for file in spec.files]
    return bool(targets) and all(target.is_made or target.path.exists() or target.ready.exists() for target in targets)


def _planned(spec: SourceSpec, context: SourceContext) -> Iterator[Planned]:
    root = context.place.data_root
    for file in spec.files:
        target = Target(file, root)
        if not target.is_made:
            yield Planned(spec.kind, file.url, str(target.folder if file.unpack else target.path))
    if isinstance(spec, WebDatasetSource) and spec.repo is not None:
        yield Planned(spec.kind, spec.repo, str(root / spec.path))
    elif isinstance(spec, HuggingFaceSource) and spec.repo is not None and not spec.files:
        yield Planned(spec.kind, spec.repo, hub.arrow_cache(context))


def _foremost(states: list[DataState]) -> str:
    """Return the state that counts: the best of the sources'."""
    found = [state.state for state in states]
    return next((name for name in ("ready", "partial", "downloadable") if name in found), "absent")


def _failed(task: TaskSpec, context: SourceContext, notes: list[str]) -> str:
    """Say what was tried and how to get the data by hand."""
    tried = "\n".join(f"  - {note}" for note in notes)
    states = [source_state(spec, context) for spec in task.sources]
    lines = [f"The images of the task {task.name!r} could not be fetched:\n{tried}", how_to_get(task, states, context)]
    targets = [Target(file, context.place.data_root) for spec in task.sources for file in spec.files]
    if files := [target for target in targets if not target.is_made]:
        lines.append("Files you have from elsewhere are checked and unpacked by the same command, if they lie here:")
        lines += [f"  {target.path} (from {target.file.url})" for target in files]
    return "\n".join(lines)
