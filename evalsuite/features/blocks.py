"""What the files of the feature store hold: rows of features, and what the samples behind them were.

A shard is a safetensors file with its manifest inside: it is there entirely or not at all. A
compacted folder has one `.npy` file per layer, which readers map into memory, and a manifest; it is
written under a temporary name and renamed, so it too is there entirely or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from evalsuite.features.catalog import ENTRY_FILE
from evalsuite.features.sums import (
    ArraySums,
    FolderSums,
    Mapped,
    digest,
    digest_of,
    mapped,
    owner,
    read_sums,
    rows_of_part,
    write_array,
    write_sums,
)
from evalsuite.hashing import file_sha256

MANIFEST = "manifest.parquet"

CHANGED = "its bytes are not what was written"


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
    """Rows of one file of the store: layer -> (n, dim) array, and a stamp for each id.

    mapped: the layers with their checksums, where they are mapped from files; none: they are in memory. origin: the
    digest of the note of the pool, as it was when these were written; none: it is not known.
    """

    ids: list[str]
    stamps: list[Stamp]
    layers: Mapping[str, NDArray[Any]]
    mapped: Mapping[str, Mapped] = field(default_factory=dict)
    origin: str | None = None

    def damaged(self, rows: NDArray[np.int64], layers: Iterable[str] | None = None) -> NDArray[np.bool_]:
        """Return (len(rows),): which rows are not what was written, in some layer (of these, by default of all)."""
        found = np.zeros(len(rows), dtype=np.bool_)
        for name in self.mapped if layers is None else self.mapped.keys() & set(layers):
            found |= self.mapped[name].unsound(rows)
        return found


def write_shard(path: Path, block: Block) -> None:
    """Write a block as one safetensors file, atomically."""
    manifest = json.dumps({"ids": block.ids, "stamps": block.stamps})
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in block.layers.items()}
    sums = {"manifest": manifest, "digest": _shard_digest(path, manifest, block.layers)}
    atomic.write_bytes(path, save(tensors, sums))


def read_shard(path: Path) -> Block:
    """Read a block that `write_shard` wrote; DamagedError where it is not one, or was written elsewhere."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            layers = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        manifest = json.loads(metadata["manifest"])
        block = Block(manifest["ids"], [Stamp(*values) for values in manifest["stamps"]], layers)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    _check_rows(path, block)
    sealed = len(metadata) > 1  # version 0.1.0 wrote no digest
    if sealed and metadata.get("digest") != _shard_digest(path, metadata["manifest"], layers):
        raise DamagedError(f"{path} is damaged: {CHANGED}")
    return block


def _shard_digest(path: Path, manifest: str, layers: Mapping[str, NDArray[Any]]) -> str:
    """Return the digest of a shard, which covers the folder that it is in."""
    arrays = ((f"{name} {layers[name].dtype} {layers[name].shape}", layers[name]) for name in sorted(layers))
    return digest([owner(path.parent.parent), manifest, *(part for pair in arrays for part in pair)])


def read_compacted(folder: Path) -> Block:
    """Map a compacted folder into memory; DamagedError where files lack or are cut off.

    FileNotFoundError: the folder itself is gone.
    """
    try:
        sums = read_sums(folder)
        _check_manifest(folder, sums)
        table = pq.read_table(folder / MANIFEST)
        known = [name for name in Stamp._fields if name in table.column_names]
        stamps = zip(*(table[name].to_pylist() for name in known), strict=True)
        layers = {name: _mapped(folder / f"{name}.npy", sums.layers[name]) for name in sorted(sums.layers)}
        arrays = {name: item.array for name, item in layers.items()}
        block = Block(table["id"].to_pylist(), [Stamp(*values) for values in stamps], arrays, layers, sums.origin)
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


def _check_manifest(folder: Path, sums: FolderSums) -> None:
    if sums.of not in (None, owner(folder.parent)):
        raise DamagedError(f"{folder} is of another model or pool: {sums.of}")
    found = digest_of(folder / MANIFEST) if sums.of else file_sha256(folder / MANIFEST)
    if found != sums.manifest:
        raise DamagedError(f"{folder / MANIFEST} is damaged: {CHANGED}")


def _mapped(path: Path, sums: ArraySums) -> Mapped:
    try:
        return mapped(path, sums)
    except ValueError as error:
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
        layers = {}
        for layer in blocks[0].layers:
            with atomic.atomic_write(temporary / f"{layer}.npy") as file:
                layers[layer] = _write_array(file, blocks, layer, places)
        atomic.write_with(temporary / MANIFEST, lambda file: pq.write_table(pa.table(columns), file))
        origin = origin_digest(folder.parent)
        write_sums(temporary, FolderSums(digest_of(temporary / MANIFEST), layers, owner(folder.parent), origin))


def _write_array(file: IO[bytes], blocks: Sequence[Block], layer: str, places: NDArray[np.int64]) -> ArraySums:
    """Write the rows at `places` of one layer; what is damaged of them is a DamagedError and never gets a checksum."""
    example = blocks[0].layers[layer]
    step = rows_of_part(example.dtype.itemsize * example.shape[1])
    parts = (gather(blocks, layer, places[start : start + step]) for start in range(0, len(places), step))
    return write_array(file, (len(places), example.shape[1]), example.dtype, parts)


def origin_digest(pool: Path) -> str | None:
    """Return the digest of the note that says what a folder is of; None where there is none."""
    try:
        return digest_of(pool / ENTRY_FILE)
    except FileNotFoundError:
        return None


def gather(blocks: Sequence[Block], layer: str, places: NDArray[np.int64]) -> NDArray[Any]:
    """Return the rows at `places` ((n, 2): block, row) as an (n, dim) array; DamagedError where one is damaged."""
    example = blocks[0].layers[layer]
    rows = np.empty((len(places), example.shape[1]), dtype=example.dtype)
    for number, block in enumerate(blocks):
        here = places[:, 0] == number
        if here.any():
            if block.damaged(places[here, 1], [layer]).any():
                raise DamagedError(
                    f"The stored features of the layer {layer!r} are damaged: {CHANGED}. Run the same command again: "
                    "it computes what is damaged again."
                )
            rows[here] = block.layers[layer][places[here, 1]]
    return rows
