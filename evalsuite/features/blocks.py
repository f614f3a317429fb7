"""What the files of the feature store hold: rows of features, and what the samples behind them were.

A shard is a safetensors file with its manifest inside: it is there entirely or not at all. A
compacted folder has one `.npy` file per layer, which readers map into memory, and a manifest; it is
written under a temporary name and renamed, so it too is there entirely or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from evalsuite import atomic
from evalsuite.hashing import file_sha256

CHECKSUMS = "checksums.json"
MANIFEST = "manifest.parquet"

ROWS_AT_A_TIME = 65_536
"""Rows copied between two look-ups while compacting: bounds the memory, not the file."""


class Stamp(NamedTuple):
    """What identifies the bytes of a sample.

    size in bytes; mtime, ctime: when its file was modified and changed, in ns, and inode: zeros where it has no file
    of its own, and in stores of version 0.1.0, which lack inode and ctime.
    """

    size: int
    mtime: int
    sha256: str
    inode: int = 0
    ctime: int = 0

    @property
    def key(self) -> tuple[int, int, int, int]:
        """What is compared before the bytes are."""
        return self.size, self.mtime, self.inode, self.ctime


_TYPES = {"size": pa.int64(), "mtime": pa.int64(), "sha256": pa.string(), "inode": pa.int64(), "ctime": pa.int64()}


@dataclass(frozen=True)
class Block:
    """Rows of one file of the store: layer -> (n, dim) array, and a stamp for each id."""

    ids: list[str]
    stamps: list[Stamp]
    layers: Mapping[str, NDArray[Any]]


def write_shard(path: Path, block: Block) -> None:
    """Write a block as one safetensors file, atomically."""
    manifest = {"ids": block.ids, "stamps": block.stamps}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in block.layers.items()}
    atomic.write_with(path, lambda name: save_file(tensors, name, {"manifest": json.dumps(manifest)}))


def read_shard(path: Path) -> Block:
    """Read a block that `write_shard` wrote."""
    with safe_open(path, framework="np") as file:
        manifest = json.loads(file.metadata()["manifest"])
        layers = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    return Block(manifest["ids"], [Stamp(*values) for values in manifest["stamps"]], layers)


def read_compacted(folder: Path) -> Block:
    """Map a compacted folder into memory."""
    table = pq.read_table(folder / MANIFEST)
    known = [name for name in Stamp._fields if name in table.column_names]
    stamps = zip(*(table[name].to_pylist() for name in known), strict=True)
    layers = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
    return Block(table["id"].to_pylist(), [Stamp(*values) for values in stamps], layers)


def write_compacted(
    folder: Path,
    ids: Sequence[str],
    stamps: Sequence[Stamp],
    blocks: Sequence[Block],
    places: NDArray[np.int64],
) -> None:
    """Write `folder` with one row for each of `ids`.

    places: (n, 2) int64, number of the block and row in it where each id is now.
    """
    temporary = folder.parent / f"{atomic.TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}"
    temporary.mkdir(parents=True)
    try:
        for layer, example in blocks[0].layers.items():
            shape = (len(ids), example.shape[1])
            target = np.lib.format.open_memmap(temporary / f"{layer}.npy", "w+", example.dtype, shape)
            _take_space(temporary / f"{layer}.npy")
            for start in range(0, len(ids), ROWS_AT_A_TIME):
                part = slice(start, start + ROWS_AT_A_TIME)
                target[part] = gather(blocks, layer, places[part])
            target.flush()
            del target
        columns = {
            "id": pa.array(ids, pa.string()),
            **{name: pa.array([getattr(stamp, name) for stamp in stamps], _TYPES[name]) for name in Stamp._fields},
        }
        atomic.write_with(temporary / MANIFEST, lambda name: pq.write_table(pa.table(columns), name))
        sums = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        atomic.write_json(temporary / CHECKSUMS, sums)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _take_space(path: Path) -> None:
    """Let the file system give a file its blocks, so that a full disk is an OSError here and no SIGBUS at a write."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def damaged_files(folder: Path) -> list[str]:
    """Return the names of the files of a compacted folder that are not what was written."""
    sums: dict[str, str] = json.loads((folder / CHECKSUMS).read_text("utf-8"))
    return [name for name, expected in sums.items() if file_sha256(folder / name) != expected]


def gather(blocks: Sequence[Block], layer: str, places: NDArray[np.int64]) -> NDArray[Any]:
    """Return the rows at `places` ((n, 2): block, row) as an (n, dim) array."""
    example = blocks[0].layers[layer]
    rows = np.empty((len(places), example.shape[1]), dtype=example.dtype)
    for number, block in enumerate(blocks):
        here = places[:, 0] == number
        if here.any():
            rows[here] = block.layers[layer][places[here, 1]]
    return rows
