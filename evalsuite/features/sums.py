"""Checksums of what the feature store keeps: XXH3 of 128 bits, which is as fast as memory is read.

They find accidents: a failing disk, a copy that was cut off, a file of another folder. They are no defence against
forgery. An array is read by parts, and so are its checksums: a part is checked when a process first uses a row of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from evalsuite.hashing import file_key
from evalsuite.seals import is_sealed, parse_sealed, write_sealed

CHECKSUMS = "checksums.json"

PART_BYTES = 64 << 20
"""Of an array that one checksum is of: a few rows of a large file cost no more than this."""

HEADER_START = 10
"""Bytes before the header of an .npy file of version 1.0: magic, version, and the length of the header."""

_SOUND: dict[tuple[Any, ...], bool] = {}
"""What this process found of the parts it has checked: (file and its key, part) -> whether it is sound."""


@dataclass(frozen=True)
class ArraySums:
    """Checksums of an .npy file: of its header, and of parts of so many `rows`.

    whole: the file, where version 0.1.0 wrote one sha256 for all of it, the only one of `parts`.
    """

    header: str
    rows: int
    parts: tuple[str, ...]
    whole: bool = False


@dataclass(frozen=True)
class FolderSums:
    """Checksums of a compacted folder. of: its owner; origin: of the note that says what it is of; none: 0.1.0's."""

    manifest: str
    layers: Mapping[str, ArraySums]
    of: str | None = None
    origin: str | None = None


def digest(parts: Iterable[str | bytes | NDArray[Any]]) -> str:
    """Return the digest of bytes, one part after the other; texts in UTF-8."""
    found = xxhash.xxh3_128()
    for part in parts:
        found.update(_bytes(part))
    return found.hexdigest()


def _bytes(part: str | bytes | NDArray[Any]) -> bytes | memoryview:
    if isinstance(part, str):
        return part.encode()
    return part if isinstance(part, bytes) else np.ascontiguousarray(part).data


def digest_of(path: Path) -> str:
    """Return the digest of a small file."""
    return digest([path.read_bytes()])


def owner(folder: Path) -> str:
    """Return what a folder of features or of texts is of: the hash of its model, and its own name.

    The rest of the name of a model's folder may differ: names of the same weights share one.
    """
    return f"{folder.parent.name.rpartition('-')[2]}/{folder.name}"


def rows_of_part(row_bytes: int) -> int:
    """Return how many rows a part has."""
    return max(1, PART_BYTES // max(1, row_bytes))


def write_array(
    file: IO[bytes], shape: tuple[int, int], dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]
) -> ArraySums:
    """Write an array in the .npy format. parts: its rows, so many at a time as `rows_of_part` says."""
    header = BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    file.write(header.getvalue())
    digests = []
    for part in parts:
        file.write(part.tobytes())
        digests.append(digest([part]))
    return ArraySums(digest([header.getvalue()]), rows_of_part(dtype.itemsize * shape[1]), tuple(digests))


def write_sums(folder: Path, sums: FolderSums) -> None:
    """Store the checksums of a compacted folder."""
    layers = {
        name: {"header": item.header, "rows": item.rows, "parts": list(item.parts)}
        for name, item in sums.layers.items()
    }
    content = {"of": sums.of, "origin": sums.origin, "manifest": sums.manifest, "layers": layers}
    write_sealed(folder / CHECKSUMS, content)


def read_sums(folder: Path) -> FolderSums:
    """Read the checksums of a compacted folder; OSError, ValueError, KeyError, TypeError where they are damaged."""
    content = (folder / CHECKSUMS).read_bytes()
    found = parse_sealed(content)
    if "layers" not in found:  # version 0.1.0: a sha256 per file
        arrays = {name.removesuffix(".npy"): sha256 for name, sha256 in found.items() if name.endswith(".npy")}
        layers = {name: ArraySums("", 1, (str(sha256),), whole=True) for name, sha256 in arrays.items()}
        return FolderSums(str(found["manifest.parquet"]), layers)
    layers = {
        name: ArraySums(item["header"], int(item["rows"]), tuple(item["parts"]))
        for name, item in found["layers"].items()
    }
    if not is_sealed(content):
        raise ValueError("it has no digest")
    return FolderSums(found["manifest"], layers, found["of"], found["origin"])


@dataclass(frozen=True)
class Mapped:
    """An array that is mapped from a file, and what its bytes should be. key: the file as it was when it was mapped."""

    array: NDArray[Any]
    header: bytes
    sums: ArraySums
    key: tuple[Any, ...]

    def unsound(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (len(rows),): which rows lie in a part whose bytes are not what was written."""
        numbers = np.zeros(len(rows), dtype=np.int64) if self.sums.whole else rows // self.sums.rows
        bad = [number for number in np.unique(numbers).tolist() if not self._is_sound(number)]
        return np.isin(numbers, bad) if bad else np.zeros(len(rows), dtype=np.bool_)

    def _is_sound(self, number: int) -> bool:
        key = *self.key, number
        if key not in _SOUND:
            _SOUND[key] = self._digest_of_part(number) == self.sums.parts[number]
        return _SOUND[key]

    def _digest_of_part(self, number: int) -> str:
        if self.sums.whole:
            found = hashlib.sha256(self.header)
            found.update(_bytes(self.array))
            return found.hexdigest()
        step = self.sums.rows
        return digest([self.array[number * step : (number + 1) * step]])


def mapped(path: Path, sums: ArraySums) -> Mapped:
    """Map an .npy file into memory; ValueError where it is none, is cut off, or has another header."""
    with path.open("rb") as file:
        start = file.read(HEADER_START)
        header = start + file.read(int.from_bytes(start[-2:], "little"))
    if not sums.whole and digest([header]) != sums.header:
        raise ValueError("its header is not what was written")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (EOFError, TypeError, SyntaxError, OverflowError, TokenError) as error:  # what numpy makes of a header
        raise ValueError(str(error)) from error
    if array.ndim != 2 or not (sums.whole or -(-len(array) // sums.rows) == len(sums.parts)):
        raise ValueError(f"it has the shape {array.shape}")
    return Mapped(array, header, sums, (str(path), *file_key(path.stat())))
