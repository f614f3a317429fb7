"""What the files of the feature store hold: rows of features, and what the samples behind them were.

A shard is a safetensors file with its manifest inside: it is there entirely or not at all. A
compacted folder has one `.npy` file per layer, which readers map into memory, and a manifest; it is
written under a temporary name and renamed, so it too is there entirely or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from evalsuite import atomic
from evalsuite.errors import JobError
from evalsuite.hashing import file_sha256

CHECKSUMS = "checksums.json"
MANIFEST = "manifest.parquet"

ROWS_AT_A_TIME = 65_536
"""Rows copied between two look-ups while compacting: bounds the memory, not the file."""


class DamagedError(JobError):
    """A file of the store is not what was written; the text says which and how."""


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
    atomic.write_bytes(path, save(tensors, {"manifest": json.dumps(manifest)}))


def read_shard(path: Path) -> Block:
    """Read a block that `write_shard` wrote; DamagedError where it is not one."""
    try:
        with safe_open(path, framework="np") as file:
            manifest = json.loads(file.metadata()["manifest"])
            layers = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        block = Block(manifest["ids"], [Stamp(*values) for values in manifest["stamps"]], layers)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    _check_rows(path, block)
    return block


def read_compacted(folder: Path) -> Block:
    """Map a compacted folder into memory; DamagedError where files lack or are cut off.

    FileNotFoundError: the folder itself is gone.
    """
    try:
        table = pq.read_table(folder / MANIFEST)
        known = [name for name in Stamp._fields if name in table.column_names]
        stamps = zip(*(table[name].to_pylist() for name in known), strict=True)
        names = [name for name in _checksums(folder) if name.endswith(".npy")]
        layers = {Path(name).stem: _mapped(folder / name) for name in sorted(names)}
        block = Block(table["id"].to_pylist(), [Stamp(*values) for values in stamps], layers)
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise
        raise DamagedError(f"{folder} is damaged: {Path(error.filename or MANIFEST).name} is missing") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        if getattr(error, "errno", None) is not None:  # pyarrow raises an OSError without a number for damaged bytes
            raise
        raise DamagedError(f"{folder} is damaged: {error}") from error
    _check_rows(folder, block)
    return block


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return, unused-ignore]
    except (EOFError, ValueError) as error:
        raise DamagedError(f"{path} is damaged: it is cut off, or no array ({error})") from error


def _check_rows(path: Path, block: Block) -> None:
    counts = {name: len(array) for name, array in block.layers.items()}
    if not counts or {*counts.values(), len(block.stamps)} != {len(block.ids)}:
        raise DamagedError(f"{path} is damaged: it lists {len(block.ids)} samples and has rows of {counts}")


def write_compacted(
    folder: Path,
    ids: Sequence[str],
    stamps: Sequence[Stamp],
    blocks: Sequence[Block],
    places: NDArray[np.int64],
) -> None:
    """Write `folder` with one row for each of `ids`.

    places: (n, 2) int64, number of the block and row in it where each id is now. Written through files and not through
    a memory map: a full disk is an OSError and no signal.
    """
    columns = {
        "id": pa.array(ids, pa.string()),
        **{name: pa.array([getattr(stamp, name) for stamp in stamps], _TYPES[name]) for name in Stamp._fields},
    }
    with atomic.replacing_folder(folder) as temporary:
        for layer in blocks[0].layers:
            with atomic.atomic_write(temporary / f"{layer}.npy") as file:
                _write_array(file, blocks, layer, places)
        atomic.write_with(temporary / MANIFEST, lambda file: pq.write_table(pa.table(columns), file))
        sums = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        atomic.write_json(temporary / CHECKSUMS, sums)


def _write_array(file: IO[bytes], blocks: Sequence[Block], layer: str, places: NDArray[np.int64]) -> None:
    """Write the rows at `places` of one layer in the .npy format."""
    example = blocks[0].layers[layer]
    header = {
        "descr": np.lib.format.dtype_to_descr(example.dtype),
        "fortran_order": False,
        "shape": (len(places), example.shape[1]),
    }
    np.lib.format.write_array_header_1_0(file, header)
    for start in range(0, len(places), ROWS_AT_A_TIME):
        file.write(gather(blocks, layer, places[start : start + ROWS_AT_A_TIME]).tobytes())


def _checksums(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / CHECKSUMS).read_text("utf-8")))


def damaged_files(folder: Path) -> list[str]:
    """Return the names of the files of a compacted folder that are not what was written."""
    return [name for name, expected in _checksums(folder).items() if file_sha256(folder / name) != expected]


def gather(blocks: Sequence[Block], layer: str, places: NDArray[np.int64]) -> NDArray[Any]:
    """Return the rows at `places` ((n, 2): block, row) as an (n, dim) array."""
    example = blocks[0].layers[layer]
    rows = np.empty((len(places), example.shape[1]), dtype=example.dtype)
    for number, block in enumerate(blocks):
        here = places[:, 0] == number
        if here.any():
            rows[here] = block.layers[layer][places[here, 1]]
    return rows
