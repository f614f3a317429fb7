"""The feature store: one folder for each (model, pool, precision), rows by sample id.

While images are being encoded, whole batches are written as shards; a shard is the unit of resume.
When a request is complete, everything in the folder is compacted into one memory-mapped file per layer.

A stored row is used only for a sample of the same id and size; where modification time, inode or ctime of its
file differ, the bytes are hashed and compared first. So a changed input is never served stale.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite.features.blocks import (
    Block,
    Stamp,
    damaged_files,
    gather,
    read_compacted,
    read_shard,
    write_compacted,
    write_shard,
)
from evalsuite.locks import Lock

LOCK_FILE = "lock"
RELOAD_ATTEMPTS = 5
"""Compactions of other runs that one look at the folder survives; each takes longer than a look."""


class _State(NamedTuple):
    """What was found in a folder, never changed: one thread may read it while another adds to the folder.

    where: id -> number of the block and row in it.
    """

    blocks: list[Block]
    where: dict[str, tuple[int, int]]

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
        self._state = _State([], {})
        self.reload()

    def reload(self) -> None:
        """Read again what is stored; another run may have added to it."""
        for attempts_left in range(RELOAD_ATTEMPTS, 0, -1):
            try:
                blocks = [read_compacted(path) for path in self._compacted()]
                blocks += [read_shard(path) for path in self._shards()]
                break
            except FileNotFoundError:
                # Another run has just compacted the folder: what was listed is gone, its rows are not.
                if attempts_left == 1:
                    raise
        # A sample that is stored twice was encoded again because it had changed: the last one counts.
        where = {
            identifier: (number, row) for number, block in enumerate(blocks) for row, identifier in enumerate(block.ids)
        }
        self._state = _State(blocks, where)

    def lock(self, tell: Callable[[str], None] | None = None) -> Lock:
        """Return the lock that whoever adds to this folder holds. tell: see `Lock`."""
        self.folder.mkdir(parents=True, exist_ok=True)
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
        blocks, where = self._state
        number, row = where[identifier]
        return blocks[number].stamps[row]

    def layers(self) -> dict[str, int]:
        """Return layer -> dimension; empty when nothing is stored."""
        blocks = self._state.blocks
        return {name: array.shape[1] for name, array in blocks[0].layers.items()} if blocks else {}

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
        write_shard(self.folder / "shards" / f"{_next(path.stem for path in self._shards())}.safetensors", block)

    def forget(self, ids: Iterable[str]) -> None:
        """Leave out these rows: their samples have changed. `reload` brings them back."""
        forgotten = set(ids) & self._state.where.keys()
        if forgotten:
            blocks, where = self._state
            self._state = _State(blocks, {name: place for name, place in where.items() if name not in forgotten})

    def compact(self, touched: Mapping[str, Stamp] | None = None) -> None:
        """Merge everything stored into one file per layer. The caller holds the lock.

        touched: new stamps of samples whose bytes were found unchanged.
        """
        old, shards = self._compacted(), self._shards()
        state = self._state
        forgotten = sum(len(block.ids) for block in state.blocks) > len(state.where)
        if not (shards or len(old) > 1 or touched or forgotten):
            return
        stamps = {identifier: self.stamp(identifier) for identifier in state.where} | dict(touched or {})
        order = sorted(state.where)
        target = self.folder / f"compacted-{_next(path.name.rpartition('-')[2] for path in old)}"
        write_compacted(target, order, [stamps[identifier] for identifier in order], state.blocks, state.places(order))
        # The new folder holds everything, so a crash from here on leaves only duplicates of it.
        for path in shards:
            path.unlink()
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
        self.reload()

    def is_compact(self) -> bool:
        """Return whether no shards are left over from a run that was stopped before it merged them."""
        return not self._shards()

    def damaged(self) -> list[str]:
        """Return the files whose bytes are not what was written; files of unfinished passes are not looked at."""
        return [f"{path.name}/{name}" for path in self._compacted() for name in damaged_files(path)]

    def _shards(self) -> list[Path]:
        return sorted((self.folder / "shards").glob("[0-9]*.safetensors"))

    def _compacted(self) -> list[Path]:
        return sorted(self.folder.glob("compacted-[0-9]*"))


def _next(numbers: Iterable[str]) -> str:
    return f"{max(map(int, numbers), default=-1) + 1:06d}"
