"""Webdataset shards: tar files whose members are grouped into samples by their base name."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from evalsuite.data.base import DataState, LoadedSample, MultiLabel, RawLabel, RawPool
from evalsuite.data.context import SourceContext
from evalsuite.data.decoding import decode_image
from evalsuite.errors import DataError, DataMissingError
from evalsuite.hashing import combined_sha256, files_sha256
from evalsuite.tasks.sources import WebDatasetSource

_COUNT_FILE = "nshards.txt"
_Member = tuple[int, int]
"""Offset of the content in the shard, and its size, in bytes."""


def open_raw_pool(spec: WebDatasetSource, pool: str, context: SourceContext) -> RawPool:
    """Index the shards of a pool by the headers of their members; images are read later, at random.

    The id of a sample is `<shard under path>/<key>`, the key being the member's name up to its first dot.
    """
    base = context.under_root(spec.path)
    shards = _shards(spec, pool, context)
    if not shards:
        raise DataMissingError(f"{describe(spec)}: {_what_is_missing(spec, [pool], context)}")
    ids, labels, members = [], [], []
    for number, shard in enumerate(shards):
        name = shard.relative_to(base).as_posix()
        with shard.open("rb") as file:
            for key, fields in _index(shard).items():
                image = _image_field(spec, fields, shard, key)
                labels.append(_label(spec, fields, file, shard, key))
                ids.append(f"{name}/{key}")
                members.append((number, *fields[image]))
    if not ids:
        raise DataError(f"{describe(spec)}: the shards of the pool {pool!r} hold no sample.")
    digests = files_sha256(shards, context.place.cache_dir)
    names = [shard.relative_to(base).as_posix() for shard in shards]
    context.resolved.setdefault("files", {})[pool] = dict(zip(names, digests, strict=True))
    reader = ShardReader(tuple(str(shard) for shard in shards), np.array(members, np.int64), tuple(ids))
    sizes = reader.members[:, 2].copy()
    return RawPool(tuple(ids), tuple(labels), reader, sizes, None, combined_sha256(digests))


def state(spec: WebDatasetSource, context: SourceContext) -> DataState:
    """Say whether each pool has shards, as many as `nshards.txt` beside them says if there is one."""
    counts = {pool: len(_shards(spec, pool, context)) for pool in spec.pools}
    absent = [pool for pool, count in counts.items() if count == 0]
    if len(absent) == len(counts):
        return DataState("absent", spec.kind, _what_is_missing(spec, absent, context))
    if absent:
        return DataState("partial", spec.kind, _what_is_missing(spec, absent, context))
    for pool, count in counts.items():
        shards = _shards(spec, pool, context)
        expected = _stated_count(shards[0].parent / _COUNT_FILE)
        if expected is not None and count < expected and len({shard.parent for shard in shards}) == 1:
            missing = f"the pool {pool!r} has {count} of {expected} shards in {shards[0].parent}.{_url(spec)}"
            return DataState("partial", spec.kind, missing)
    return DataState("ready", spec.kind)


def folder(spec: WebDatasetSource, context: SourceContext) -> Path:
    """Return the folder of the shards."""
    return context.under_root(spec.path)


def image_options(spec: WebDatasetSource, pool: str) -> dict[str, Any]:
    """Return which members are images."""
    return {"image": spec.image}


def describe(spec: WebDatasetSource) -> str:
    """Name the source in a message."""
    return f"webdataset {spec.path}"


@dataclass(frozen=True)
class ShardReader:
    """Reads images out of tar shards by their place in the file.

    members: (n, 3) int64: number of the shard, offset and size in bytes.
    """

    shards: tuple[str, ...]
    members: np.ndarray[Any, np.dtype[np.int64]]
    ids: tuple[str, ...]

    def __call__(self, row: int) -> LoadedSample:
        """Read and decode one image."""
        number, offset, size = (int(value) for value in self.members[row])
        try:
            with Path(self.shards[number]).open("rb") as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise DataError(f"The sample {self.ids[row]!r} cannot be read: {error}.") from error
        return LoadedSample(decode_image(content, self.ids[row], self.shards[number]), content)


def _shards(spec: WebDatasetSource, pool: str, context: SourceContext) -> list[Path]:
    base = context.under_root(spec.path)
    if not base.is_dir():
        return []
    return sorted(path for path in base.glob(spec.pools[pool]) if path.is_file())


def _index(shard: Path) -> dict[str, dict[str, _Member]]:
    """Return key -> field -> place of each member; DataError for names that lead out and damaged archives."""
    samples: dict[str, dict[str, _Member]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                _check_name(shard, member.name)
                plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
                key, field = _split_name(member.name)
                if not plain or not field or PurePosixPath(key).name.startswith(("__", ".")):
                    continue
                fields = samples.setdefault(key, {})
                if field in fields:
                    raise DataError(f"{shard}: the sample {key!r} has two members {field!r}.")
                fields[field] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{shard} is no whole, uncompressed tar file ({error}). Fetch it again; decompress it if it is compressed."
        ) from error
    return samples


def _check_name(shard: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
        raise DataError(f"{shard}: the member {name!r} leads out of the archive; such an archive is not read.")


def _split_name(name: str) -> tuple[str, str]:
    """Return the key and the field: the base name is cut at its first dot."""
    path = PurePosixPath(name.removeprefix("./"))
    stem, _, field = path.name.partition(".")
    return str(path.with_name(stem)) if stem else str(path), field.lower()


def _image_field(spec: WebDatasetSource, fields: dict[str, _Member], shard: Path, key: str) -> str:
    for extension in spec.image:
        if extension in fields:
            return extension
    found = ", ".join(sorted(fields))
    raise DataError(f"{shard}: the sample {key!r} has no image ({', '.join(spec.image)}); it has: {found}.")


def _label(spec: WebDatasetSource, fields: dict[str, _Member], file: Any, shard: Path, key: str) -> RawLabel:
    if spec.label not in fields:
        found = ", ".join(sorted(fields))
        raise DataError(f"{shard}: the sample {key!r} has no label {spec.label!r}; it has: {found}.")
    offset, size = fields[spec.label]
    file.seek(offset)
    content = file.read(size)
    if spec.label.endswith("npy"):
        return _multi_hot(content, shard, key)
    try:
        return str(content.decode("utf-8").strip())
    except UnicodeDecodeError as error:
        raise DataError(f"{shard}: the label {spec.label!r} of the sample {key!r} is no text.") from error


def _multi_hot(content: bytes, shard: Path, key: str) -> MultiLabel:
    """Return the positions of the ones in a vector of 0 and 1; objects in it are not unpickled."""
    try:
        vector = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{shard}: the labels of the sample {key!r} are no array ({error}).") from error
    if vector.ndim != 1:
        raise DataError(f"{shard}: the labels of the sample {key!r} are {vector.ndim}-dimensional, not a vector.")
    return MultiLabel(tuple(str(index) for index in np.flatnonzero(vector > 0).tolist()))


def _stated_count(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return None


def _what_is_missing(spec: WebDatasetSource, pools: Sequence[str], context: SourceContext) -> str:
    places = ", ".join(str(context.under_root(f"{spec.path}/{spec.pools[pool]}")) for pool in pools)
    return f"needs tar shards at {places}.{_url(spec)}"


def _url(spec: WebDatasetSource) -> str:
    return f" They can be downloaded from {spec.url}" if spec.url else ""
