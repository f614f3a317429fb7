"""The feature store: one folder for each (model, pool, precision), rows by sample id.

While images are being encoded, whole batches are written as shards; a shard is the unit of resume.
When a request is complete, everything in the folder is compacted into one memory-mapped file per layer.

A stored row is used only for a sample of the same id and size; where modification time, inode or ctime of its
file differ, the bytes are hashed and compared first. So a changed input is never served stale.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite import atomic
from evalsuite.features.blocks import (
    CHANGED,
    Block,
    DamagedError,
    Stamp,
    gather,
    origin_digest,
    read_compacted,
    read_shard,
    write_compacted,
    write_shard,
)
from evalsuite.features.catalog import ENTRY_FILE, LOCK_FILE, SHARDS
from evalsuite.locks import Lock
from evalsuite.text import counted

RELOAD_ATTEMPTS = 5
"""Compactions of other runs that one look at the folder survives; each takes longer than a look."""

_LOG = logging.getLogger(__name__)
_COMPACTED = re.compile(r"compacted-[0-9]+")
_SHARD = re.compile(r"[0-9]+\.safetensors")


class _State(NamedTuple):
    """What was found in a folder, never changed: one thread may read it while another adds to the folder.

    paths: of the blocks. where: id -> number of the block and row in it. damaged: what cannot be used, and why.
    """

    paths: list[Path]
    blocks: list[Block]
    where: dict[str, tuple[int, int]]
    damaged: dict[Path, str]

    def places(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return (len(ids), 2): block, row."""
        return np.array([self.where[identifier] for identifier in ids], dtype=np.int64).reshape(-1, 2)


class PoolFeatures:
    """The features of one pool under one model and precision.

    folder: where they are kept; nothing is created before the first write. fresh: what was found of samples whose
    bytes were hashed again since this object was made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fresh: dict[str, Stamp] = {}
        self._state = _State([], [], {}, {})
        self.reload()

    def reload(self) -> None:
        """Read again what is stored; another run may have added to it. What is damaged counts as not there."""
        for attempts_left in range(RELOAD_ATTEMPTS, 0, -1):
            try:
                self._state = self._found()
                return
            except FileNotFoundError:
                # Another run has just compacted the folder: what was listed is gone, its rows are not.
                if attempts_left == 1:
                    raise

    def _found(self) -> _State:
        paths: list[Path] = []
        blocks: list[Block] = []
        damaged: dict[Path, str] = {}
        shards = self._shards()  # first: where they are merged meanwhile they are missed, and not what they became
        for path in [*self._compacted(), *shards]:
            try:
                block = read_compacted(path) if path.parent == self.folder else read_shard(path)
            except DamagedError as error:
                damaged[path] = str(error)
                continue
            if blocks and _dims(block) != _dims(blocks[0]):
                damaged[path] = f"{path} has the layers {_dims(block)}, what lies next to it {_dims(blocks[0])}"
                continue
            paths.append(path)
            blocks.append(block)
        # A sample that is stored twice was encoded again because it had changed: the last one counts.
        where = {
            identifier: (number, row) for number, block in enumerate(blocks) for row, identifier in enumerate(block.ids)
        }
        return _State(paths, blocks, where, damaged)

    def lock(self, tell: Callable[[str], None] | None = None) -> Lock:
        """Return the lock that whoever adds to this folder holds. tell: see `Lock`."""
        return Lock(self.folder / LOCK_FILE, tell)

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._state.where

    def __len__(self) -> int:
        return len(self._state.where)

    def ids(self) -> list[str]:
        """Return the ids of all stored samples."""
        return list(self._state.where)

    def stamp(self, identifier: str) -> Stamp:
        """Return what is known of the bytes a stored row was computed from."""
        state = self._state
        number, row = state.where[identifier]
        return state.blocks[number].stamps[row]

    def layers(self) -> dict[str, int]:
        """Return layer -> dimension; empty when nothing is stored."""
        blocks = self._state.blocks
        return _dims(blocks[0]) if blocks else {}

    def read(self, layer: str, ids: Sequence[str]) -> torch.Tensor:
        """Return the rows of `ids` as a (len(ids), dim) tensor in the stored dtype."""
        # Memory of torch's own is aligned, numpy's is here and there; the last bits of a matrix product can
        # depend on that, and the same features must give the same result in every run.
        state = self._state
        return torch.from_numpy(gather(state.blocks, layer, state.places(ids))).clone()

    def mapped(self, layer: str, ids: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        """Return the features (N, dim) that one file maps into memory, and which rows of it are those of `ids`.

        None: all of them, in their order. Where they are not in one file, their rows are copied.
        """
        state = self._state
        places = state.places(ids)
        if len(set(places[:, 0].tolist())) > 1:
            return gather(state.blocks, layer, places), None
        array = state.blocks[int(places[0, 0])].layers[layer]
        rows = places[:, 1]
        return array, None if len(rows) == len(array) and bool((np.diff(rows) == 1).all()) else rows

    def add_shard(self, block: Block) -> None:
        """Write a shard; `reload` makes its rows readable. The caller holds the lock."""
        write_shard(self.folder / SHARDS / f"{_next(path.stem for path in self._shards())}.safetensors", block)

    def forget(self, ids: Iterable[str]) -> None:
        """Leave out these rows: their samples have changed. `reload` brings them back."""
        forgotten = set(ids) & self._state.where.keys()
        if forgotten:
            where = {name: place for name, place in self._state.where.items() if name not in forgotten}
            self._state = self._state._replace(where=where)

    def leave_out_damaged(self, ids: Iterable[str]) -> None:
        """Leave out those of these rows whose bytes are not what was written, and say so; `reload` brings them back."""
        state = self._state
        known = [identifier for identifier in ids if identifier in state.where]
        places = state.places(known)
        for number, block in enumerate(state.blocks):
            here = np.flatnonzero(places[:, 0] == number)
            damaged = here[block.damaged(places[here, 1])]
            if len(damaged):
                self.forget(known[index] for index in damaged)
                what = f"{state.paths[number]} is damaged: {counted(len(damaged), 'row')} of {len(block.ids):,}"
                atomic.warn_once(what, f"{what} cannot be used. They are computed again where they are needed.")

    def compact(self, touched: Mapping[str, Stamp] | None = None) -> None:
        """Merge everything stored into one file per layer. The caller holds the lock.

        touched: new stamps of samples whose bytes were found unchanged.
        """
        for folder in (self.folder, self.folder / SHARDS):
            atomic.sweep(folder)
        self.leave_out_damaged(self.ids())
        state = self._state
        read = [*state.paths, *state.damaged]
        is_one = [path.parent for path in read] == [self.folder]  # a compacted folder and no shards
        forgotten = sum(len(block.ids) for block in state.blocks) > len(state.where)
        if not read or (is_one and not (state.damaged or touched or forgotten)):
            return
        for problem in state.damaged.values():
            _LOG.warning("%s. It is removed; what it held is computed again where it is needed.", problem)
        if state.blocks:
            stamps = {identifier: self.stamp(identifier) for identifier in state.where} | dict(touched or {})
            order = sorted(state.where)
            target = self.folder / f"compacted-{_next(path.name.rpartition('-')[2] for path in self._compacted())}"
            places = state.places(order)
            write_compacted(target, order, [stamps[identifier] for identifier in order], state.blocks, places)
        # The new folder holds everything of what was read, so a crash from here on leaves only duplicates of it.
        for path in read:
            (atomic.remove_folder if path.parent == self.folder else atomic.remove)(path)
        self.reload()

    def is_compact(self) -> bool:
        """Return whether there is nothing to merge or to remove of runs that were stopped."""
        left = atomic.leftovers(self.folder) or atomic.leftovers(self.folder / SHARDS)
        return not (left or self._shards() or len(self._compacted()) > 1 or self._state.damaged)

    def unusable(self) -> list[str]:
        """Return what cannot be read of it, and why; its rows count as not there."""
        return list(self._state.damaged.values())

    def damaged(self) -> list[str]:
        """Return what is wrong with the files, whose bytes are read; those of unfinished passes are not looked at."""
        state = self._state
        changed = [
            f"{path.name}/{name}.npy: {CHANGED}"
            for path, block in zip(state.paths, state.blocks, strict=True)
            for name in block.mapped
            if block.damaged(np.arange(len(block.ids)), [name]).any()
        ]
        origin = origin_digest(self.folder)
        note = [f"{ENTRY_FILE}: {CHANGED}"] if any(block.origin not in (None, origin) for block in state.blocks) else []
        return [*(f"cannot be read: {problem}" for problem in self.unusable()), *changed, *note]

    def _shards(self) -> list[Path]:
        return _named(self.folder / SHARDS, _SHARD)

    def _compacted(self) -> list[Path]:
        return _named(self.folder, _COMPACTED)


def _named(folder: Path, form: re.Pattern[str]) -> list[Path]:
    """Return what is so called in a folder, sorted; nothing where it is not there. OSError where it may not be read."""
    try:
        return sorted(path for path in folder.iterdir() if form.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _dims(block: Block) -> dict[str, int]:
    return {name: array.shape[1] for name, array in block.layers.items()}


def _next(numbers: Iterable[str]) -> str:
    return f"{max(map(int, numbers), default=-1) + 1:06d}"
