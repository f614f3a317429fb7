"""Open the data of a task: pick a source, map its labels, resolve its splits."""

from __future__ import annotations

import functools
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evalsuite.data.base import DataState, Fold, Pool, PoolAddress, RawPool, TaskData
from evalsuite.data.decoding import Bounds
from evalsuite.data.labels import check_names, check_sets, map_labels, with_class
from evalsuite.data.place import DataPlace
from evalsuite.data.readers import bounded
from evalsuite.data.sharing import borrowed_pool, first_captions
from evalsuite.data.sources import sources_of
from evalsuite.data.sources.base import Source
from evalsuite.data.splits import resolve_folds
from evalsuite.errors import DataError, DataMissingError, EvalsuiteError, SpecError, UsageError
from evalsuite.hashing import combined_sha256
from evalsuite.progress import Progress
from evalsuite.tasks.borrowed import Borrowed
from evalsuite.tasks.label_maps import LabelMap
from evalsuite.tasks.loading import load_other_task
from evalsuite.tasks.sources import SourceSpec
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.split_rules import SampledSplits
from evalsuite.text import is_unicode

_LOG = logging.getLogger(__name__)
_LOOK = "Look at the rights of that file or folder, at its disk, and at the encoding of a text, which must be UTF-8."


def open_task(task: TaskSpec, place: DataPlace, *, test_only: bool = False) -> TaskData:
    """Pick the source the task's images come from; its pools open on first use.

    The first source that is ready counts; one that is there in part is then passed over with a warning.
    Nothing is downloaded here: that is `evalsuite.data.fetching`.
    test_only: the test split is enough; the splits for training are then empty.

    Raises DataMissingError that says for every source what is missing, and where to put it; UsageError
    for an adapter that is not trusted.
    """
    silent = replace(place, data_root=place.data_root.absolute(), progress=Progress())
    address = PoolAddress(task, silent, test_only, "")
    if test_only:
        task = with_test_split(task)
    source = _choose(task, place)
    effective = task.from_source(source.spec)
    resolved: dict[str, Any] = {"source": source.spec.kind, "verified": source.spec.verified}

    @functools.cache
    def open_pool(name: str) -> Pool:
        if (borrowed := task.borrows.get(name)) is not None:
            raw = borrowed_pool(effective, borrowed, *open_other(effective, borrowed, silent))
            resolved.setdefault("images_of", {})[name] = f"{borrowed.task}/{borrowed.pool}"
            return replace(_finished(effective, source, name, raw, "by_key"), address=replace(address, pool=name))
        if name not in (known := list(source.spec.pools)):
            raise SpecError(
                f"Task {task.name!r}: there is no pool (nor list) {name!r} in the source {source.title}; "
                f"its pools: {', '.join(known)}."
            )
        place = f"Task {task.name!r}, source {source.title}, pool {name!r}"
        try:
            raw = source.open(name)
        except EvalsuiteError:
            raise
        except Exception as error:  # of libraries that meet what they do not expect
            said = f"{error}" if isinstance(error, OSError | UnicodeError) else f"{type(error).__name__}: {error}"
            raise DataError(f"{place} cannot be opened: {said}. {_LOOK}") from error
        if raw.origin.commit:
            resolved.update(repo=raw.origin.repo, revision=raw.origin.revision, commit=raw.origin.commit)
        if raw.origin.files:
            resolved.setdefault("files", {})[name] = dict(raw.origin.files)
        if raw.owner is not None:
            resolved.setdefault("images_of", {})[name] = f"{raw.owner.task}/{raw.owner.pool}"
        pool = _finished(effective, source, name, raw, source.spec.labels)
        return replace(pool, address=replace(address, pool=name))

    @functools.cache
    def folds(*, test_only: bool = test_only) -> tuple[Fold, ...]:
        return resolve_folds(effective, open_pool, source.lists(), test_only=test_only)

    return TaskData(effective, source.spec.kind, open_pool, folds, resolved)


def open_other(
    task: TaskSpec, borrowed: Borrowed, place: DataPlace, loaded: TaskSpec | None = None
) -> tuple[TaskSpec, Pool]:
    """Return the task that another one borrows from, and its pool; DataMissingError where its images are not there.

    loaded: that task, where it is there already.
    """
    other = loaded or load_other_task(task, borrowed.task)
    if borrowed.pool in other.borrows:
        raise SpecError(f"Task {task.name!r} borrows {borrowed.pool!r} of {other.name!r}, which borrows it itself.")
    try:
        return other, open_task(other, place).open_pool(borrowed.pool)
    except DataMissingError as error:
        raise DataMissingError(f"The task {task.name!r} uses images of {other.name!r}. {error}") from error


def open_at(address: PoolAddress) -> Pool:
    """Open a pool as it was opened elsewhere; raises what `open_task` does."""
    return open_task(address.task, address.place, test_only=address.test_only).open_pool(address.pool)


def with_test_split(task: TaskSpec) -> TaskSpec:
    """Return a task whose sources have what the test split needs alone."""
    return task.changed(sources=[_of_the_test_split(task, spec) for spec in task.sources])


def _of_the_test_split(task: TaskSpec, spec: SourceSpec) -> SourceSpec:
    """Return a source with the pool and lists of the test split alone; as it is where splits are drawn from a pool."""
    rule = spec.splits or task.splits
    if isinstance(rule, SampledSplits):
        return spec
    pools = {entry.pool for name, entry in spec.lists.items() if name == rule.test} or {rule.test}
    return spec.restricted(pools, [rule.test])


def data_state(task: TaskSpec, place: DataPlace) -> DataState:
    """Say whether `open_task` will find the data, from the names of files alone.

    Returns the state of the source that counts; for `partial` and `absent`, `missing` tells of every source.
    """
    sources = sources_of(task, place)
    states = [source.state() for source in sources]
    found = foremost(states)
    if found.state in ("ready", "downloadable"):
        return found
    return DataState(found.state, how_to_get(sources, states), found.missing)


def foremost(states: Sequence[DataState]) -> DataState:
    """Return the state that counts: the best of the sources', the first of several."""
    order = ("ready", "partial", "downloadable", "absent")
    return min(states, key=lambda state: order.index(state.state))


def _choose(task: TaskSpec, place: DataPlace) -> Source[Any]:
    sources = sources_of(task, place)
    states = [source.state() for source in sources]
    best = foremost(states)
    number = states.index(best)
    chosen = sources[number]
    if best.state == "ready":
        for source, state in zip(sources[:number], states[:number], strict=True):
            if state.state == "partial":
                _LOG.warning(
                    "Task %s: %s is there only in part (%s); %s is used instead",
                    task.name, source.title, state.missing, chosen.title,
                )  # fmt: skip
        return chosen
    if best.state != "partial" and (refusals := [source.refusal() for source in sources if source.refusal()]):
        raise UsageError(refusals[0])
    what = "there only in part" if best.state == "partial" else "not there"
    raise DataMissingError(f"The images of the task {task.name!r} are {what}.\n{how_to_get(sources, states)}")


def how_to_get(sources: Sequence[Source[Any]], states: Sequence[DataState]) -> str:
    """Say of each source of a task what is there and what is missing, and how to get it."""
    task, place = sources[0].task, sources[0].place
    lines = ["It can come from any of:" if len(states) > 1 else "It comes from:"]
    for number, (source, state) in enumerate(zip(sources, states, strict=True), 1):
        about = " ".join((state.missing or "nothing is missing", *source.spec.note.split()))
        lines.append(f"  {number}. {source.title} [{state.state}]: {about}")
    home = f" Homepage of the dataset: {task.homepage}" if task.homepage else ""
    lines.append(f"The data root is {place.data_root} (--data-root DIR or EVALSUITE_DATA=DIR).{home}")
    return "\n".join(lines)


def _finished(task: TaskSpec, source: Source[Any], name: str, raw: RawPool, rule: LabelMap) -> Pool:
    """Check a raw pool and map its labels."""
    place = f"Task {task.name!r}, source {source.title}, pool {name!r}"
    count = len(raw.ids)
    lengths = {"labels": len(raw.labels), "sizes": len(raw.sizes)}
    if raw.mtimes is not None:
        lengths["mtimes"] = len(raw.mtimes)
    if raw.states is not None:
        lengths["states"] = len(raw.states)
    if raw.groups is not None:
        lengths["groups"] = len(raw.groups)
    wrong = [f"{length} {what}" for what, length in lengths.items() if length != count]
    if wrong:
        raise DataError(f"{place}: there are {count} ids but {', '.join(wrong)}.")
    if len(set(raw.ids)) != count:
        twice = Counter(raw.ids).most_common(1)[0][0]
        raise DataError(f"{place}: the sample {twice!r} is there more than once.")
    if strange := [] if is_unicode("".join(raw.ids)) else [name for name in raw.ids if not is_unicode(name)]:
        raise DataError(f"{place}: the name of the sample {strange[0]!r} is no UTF-8. Rename the file.")
    check_names(task, source.title, rule, raw.names)
    raw = replace(raw, read=bounded(raw.read, Bounds(task.max_pixels, task.max_aspect)))
    if source.spec.others == "left_out":
        raw = with_class(task, source.title, rule, raw)
    no_labels = np.zeros(len(raw.ids), np.int64)
    labels = no_labels if task.captions else map_labels(task, source.title, rule, raw.labels, raw.ids)
    check_sets(task, place, labels, raw.ids)
    groups = None if raw.groups is None else tuple(raw.groups)
    ids, states = tuple(raw.ids), raw.states
    captions = first_captions(raw, task.captions, place) if task.captions else None
    if (owner := raw.owner) is not None:
        pool = Pool(name, ids, labels, raw.read, raw.sizes, raw.mtimes, groups, owner.fingerprint, states)
        return replace(pool, warnings=raw.warnings, rows_of=owner.rows_of, owner=owner)
    # It identifies the images of a pool on any machine; the ids and sizes are compared apart from it.
    options = _as_text(source.image_options(name))
    fingerprint = combined_sha256([task.name, source.spec.kind, options, name, raw.content])
    pool = Pool(name, ids, labels, raw.read, raw.sizes, raw.mtimes, groups, fingerprint, states)
    named = raw.content and isinstance(source.spec.pools, dict)  # an adapter may have one content for all of its pools
    whole = _as_text({**source.image_options(name), "where": None})  # rows keep their numbers, whichever are taken
    rows_of = combined_sha256([whole, raw.content]) if named else ""
    return replace(pool, warnings=raw.warnings, rows_of=rows_of, captions=captions)


def _as_text(options: Mapping[str, Any]) -> str:
    return json.dumps(options, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
