"""Fetch the images of a task from where its file says they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evalsuite.atomic import check_writable
from evalsuite.data.base import DataState
from evalsuite.data.download.transfers import Retries
from evalsuite.data.opening import foremost, how_to_get
from evalsuite.data.place import DataPlace
from evalsuite.data.sources import sources_of
from evalsuite.data.sources.base import Planned, Source
from evalsuite.errors import DataMissingError, JobError, NotStoredError
from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Fetched:
    """What `fetch_task` did.

    before, after: states of the task's data (`ready`, `partial`, ...). source: the kind of the one that is ready now.
    received: bytes that came over the network, as far as they are known. notes: what went wrong with sources
    that were tried before it.
    """

    task: str
    before: str
    after: str
    source: str
    received: int = 0
    notes: tuple[str, ...] = ()


def fetch_task(task: TaskSpec, place: DataPlace, *, kind: str | None = None, retries: Retries | None = None) -> Fetched:
    """Have one source of a task ready: one that is already, else the first that can be fetched.

    The sources are tried in the task file's order, only those of `kind` if one is given; one that fails is
    noted and the next one tried. Files go under the data root, repositories that are read by the `datasets`
    library into the cache. What an earlier call was stopped at is resumed.

    Raises DataMissingError that says of every source what was tried and how to get it by hand, NotStoredError where
    there is no room or no right to write, and UsageError for a data root that cannot be written.
    """
    candidates = _candidates(task, place, kind)
    states = [source.state() for source in candidates]
    for source, state in zip(candidates, states, strict=True):
        if _is_done(source, state):
            return Fetched(task.name, "ready", "ready", source.spec.kind)
    check_writable(place.data_root, "--data-root")
    notes = ["nothing is downloaded offline (--offline or HF_HUB_OFFLINE)"] if place.offline else []
    received = 0
    for source in _fetchable(candidates, notes):
        place.progress.note(f"{task.name}: {source.title}")
        try:
            received += source.fetch(retries)
        except NotStoredError as error:
            raise NotStoredError(f"The images of the task {task.name!r} could not be fetched: {error}") from error
        except JobError as error:
            notes.append(f"{source.title}: {error}")
            place.progress.note(f"{task.name}: {notes[-1]}")
            continue
        state = source.state()
        if state.state == "ready":
            return Fetched(task.name, foremost(states).state, "ready", source.spec.kind, received, tuple(notes))
        notes.append(f"{source.title}: fetched, but {state.state} still: {state.missing}")
    raise DataMissingError(_failed(task, place, notes or ["none of its sources can be downloaded"]))


def plan_task(task: TaskSpec, place: DataPlace, *, kind: str | None = None) -> tuple[str, str, list[Planned]]:
    """Return the state of a task's data, and the source that `fetch_task` would try first: its kind, what it fetches.

    The network is not touched.
    """
    candidates = _candidates(task, place, kind)
    states = [source.state() for source in candidates]
    if any(_is_done(source, state) for source, state in zip(candidates, states, strict=True)):
        return "ready", "", []
    first = next(_fetchable(candidates, []), None)
    return foremost(states).state, *(("", []) if first is None else (first.spec.kind, first.planned()))


def _candidates(task: TaskSpec, place: DataPlace, kind: str | None) -> list[Source[Any]]:
    sources = sources_of(task, place)
    found = [source for source in sources if kind in (None, source.spec.kind)]
    if not found:
        kinds = ", ".join(dict.fromkeys(source.spec.kind for source in sources))
        raise DataMissingError(f"The task {task.name!r} has no source of the kind {kind!r}; it has: {kinds}.")
    return found


def _is_done(source: Source[Any], state: DataState) -> bool:
    """Say whether a source is ready and no download of it was stopped: a half-filled folder may look ready."""
    return state.state == "ready" and not any(file.is_begun for file in source.files)


def _fetchable(candidates: Sequence[Source[Any]], notes: list[str]) -> Iterator[Source[Any]]:
    """Yield the sources worth a try; notes say why another one that could be fetched is not."""
    for source in candidates:
        # Offline, files that were brought by hand need only to be unpacked.
        brought = bool(source.files) and all(file.is_here for file in source.files)
        if not source.can_be_fetched or (source.place.offline and not brought):
            continue
        if obstacle := source.obstacle():
            notes.append(obstacle)
        else:
            yield source


def _failed(task: TaskSpec, place: DataPlace, notes: Sequence[str]) -> str:
    """Say what was tried and how to get the data by hand."""
    sources = sources_of(task, place)
    tried = "\n".join(f"  - {note}" for note in notes)
    lines = [f"The images of the task {task.name!r} could not be fetched:\n{tried}"]
    lines.append(how_to_get(sources, [source.state() for source in sources]))
    if files := [file for source in sources for file in source.files if not file.is_made]:
        lines.append("Files you have from elsewhere are checked and unpacked by the same command, if they lie here:")
        lines += [f"  {file.path} (from {file.file.url})" for file in files]
    return "\n".join(lines)
