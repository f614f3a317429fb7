"""Webdataset shards: tar files whose members are grouped into samples by their base name."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from evalsuite.data.base import DataState, LoadedSample, MultiLabel, PoolOrigin, RawLabel, RawPool
from evalsuite.data.decoding import BOUNDS, Bounds, decode_image
from evalsuite.data.download.hub import Repository
from evalsuite.data.download.unpacking import check_end
from evalsuite.data.shards import check_copies, gaps, shortage
from evalsuite.data.sources.base import Source
from evalsuite.errors import DataError, DataMissingError
from evalsuite.hashing import combined_sha256, files_sha256
from evalsuite.listing import matching
from evalsuite.reading import read_text
from evalsuite.tasks.parts import leads_out
from evalsuite.tasks.sources import WebDatasetSpec
from evalsuite.text import counted

_COUNT_FILE = "nshards.txt"

_NAMES_FILE = "classnames.txt"
"""Names of the labels 0, 1 ..., one per line: next to the shards of CLIP_benchmark's repositories."""

MOST_LABEL_BYTES = 1 << 20
"""Bytes of a label; a vector of 21,841 numbers of 8 bytes has 175,000."""

_Member = tuple[int, int]
"""Offset of the content in the shard, and its size, in bytes."""


class WebDatasetSource(Source[WebDatasetSpec]):
    """Samples of plain tar files, read at random."""

    def look(self) -> DataState:
        """Say whether each pool has shards, as many as `nshards.txt` next to them says if there is one."""
        shards = {pool: self._shards(pool) for pool in self.spec.pools}
        absent = [pool for pool, found in shards.items() if not found]
        if absent:
            return DataState("absent" if len(absent) == len(shards) else "partial", self._what_is_missing(absent))
        for pool, found in shards.items():
            folder = found[0].parent
            expected = _stated_count(folder / _COUNT_FILE)
            if expected is not None and len(found) != expected and {path.parent for path in found} == {folder}:
                mixed = "" if len(found) < expected else " They may be of two uploads: remove those of the other one."
                missing = f"the pool {pool!r} has {len(found)} of {expected} shards in {folder}.{mixed}{self._url()}"
                return DataState("partial", missing)
            for parent in {path.parent for path in found}:
                if missing := shortage([path for path in found if path.parent == parent]):
                    return DataState("partial", f"the pool {pool!r}: {missing}.{self._url()}")
        return DataState("ready")

    def image_options(self, pool: str) -> dict[str, Any]:
        """Return which members are images."""
        return {"image": self.spec.image}

    def open(self, pool: str) -> RawPool:
        """Index the shards of a pool by the headers of their members.

        The id of a sample is `<shard under path>/<key>`, the key being the member's name up to its first dot.
        """
        shards = self._shards(pool)
        if not shards:
            raise DataMissingError(f"{self.title}: {self._what_is_missing([pool])}")
        names = [shard.relative_to(self.folder).as_posix() for shard in shards]
        ids, labels, members = [], [], []
        for number, (shard, name) in enumerate(zip(shards, names, strict=True)):
            with shard.open("rb") as file:
                for key, fields in _index(shard).items():
                    place = f"{shard}: the sample {key!r}"
                    members.append((number, *self._image(fields, place)))
                    offset, size = _one_of(fields, "label", [self.spec.label], place)
                    if size > MOST_LABEL_BYTES:
                        raise DataError(f"{place} has a label of {size:,} bytes.")
                    file.seek(offset)
                    labels.append(self._label(file.read(size), place))
                    ids.append(f"{name}/{key}")
        if not ids:
            raise DataError(f"{self.title}: the shards of the pool {pool!r} hold no sample.")
        digests = files_sha256(shards, self.place.cache_dir, self.place.progress)
        check_copies(shards, digests)
        reader = ShardReader(tuple(map(str, shards)), np.array(members, np.int64), tuple(ids))
        origin = PoolOrigin(dict(zip(names, digests, strict=True)))
        sizes, content, called = reader.members[:, 2].copy(), combined_sha256(digests), self._names()
        return RawPool(ids, labels, reader, sizes, None, content, None, origin, warnings=gaps(shards), names=called)

    @property
    def repository(self) -> Repository | None:
        """The repository of the hub that has the shards."""
        return None if self.spec.repo is None else Repository(self.spec.repo, self.spec.revision)

    def fetch_repository(self, repository: Repository) -> int:
        """Bring the shards of the repository into the source's folder; what is there already stays."""
        from huggingface_hub import snapshot_download

        counts = {f"{glob.rpartition('/')[0]}/{_COUNT_FILE}".lstrip("/") for glob in self.spec.pools.values()}
        patterns = [*self.spec.pools.values(), *sorted(counts)]
        before = _bytes_of(self.folder, patterns)
        self.place.progress.note(f"{repository.name}: {', '.join(self.spec.pools.values())}")
        try:
            # With a folder that is there, snapshot_download takes an unreachable hub for no error.
            options = {"repo_type": "dataset", "revision": repository.look_up().sha, "allow_patterns": patterns}
            snapshot_download(repository.name, local_dir=self.folder, **options)
        except Exception as error:
            text = repository.explain("shards", error)
            raise DataMissingError(f"{text} What came is kept: type the same command again to resume.") from error
        return _bytes_of(self.folder, patterns) - before

    def _shards(self, pool: str) -> list[Path]:
        if not self.folder.is_dir():
            return []
        found = matching(self.folder, self.spec.pools[pool])
        return [path for path in found if path.is_file() and not path.name.startswith(".")]

    def _names(self) -> tuple[str, ...]:
        """Return what the labels are called, where a file next to the shards says it."""
        path = self.folder / _NAMES_FILE
        return tuple(read_text(path, error=DataError).split("\n")) if path.is_file() else ()

    def _image(self, fields: Mapping[str, _Member], place: str) -> _Member:
        """Return the image of a sample; of several, the one that the task file has first, if it says anything."""
        several = [name for name in self.spec.image if name in fields]
        if len(several) > 1 and "image" not in self.spec.model_fields_set:
            raise DataError(
                f"{place} has several images ({', '.join(several)}): say with `image: [...]` in the task file which "
                "one it is."
            )
        return _one_of(fields, "image", self.spec.image, place)

    def _label(self, content: bytes, place: str) -> RawLabel:
        """Return text, or of a vector of 0 and 1, a place per class, the places of the ones.

        Objects in an array are not unpickled.
        """
        try:
            if not self.spec.label.endswith("npy"):
                return content.decode("utf-8").strip()
            vector = np.load(io.BytesIO(content), allow_pickle=False)
            if not isinstance(vector, np.ndarray):
                raise ValueError("it is an archive of arrays")
        except Exception as error:
            raise DataError(f"{place} has a label {self.spec.label!r} that cannot be read ({error}).") from error
        count = len(self.task.class_list)
        if vector.shape != (count,) or not np.isin(vector, (0, 1)).all():
            shown = np.array2string(vector, threshold=8, edgeitems=3, separator=", ")
            raise DataError(
                f"{place} has the array {shown} of shape {vector.shape} as labels; it must be a vector of 0 and 1 "
                f"with a place for each of the {counted(count, 'class')}."
            )
        return MultiLabel(tuple(str(index) for index in np.flatnonzero(vector).tolist()))

    def _what_is_missing(self, pools: Sequence[str]) -> str:
        return (
            f"needs tar shards at {', '.join(str(self.folder / self.spec.pools[pool]) for pool in pools)}.{self._url()}"
        )

    def _url(self) -> str:
        return f" They can be downloaded from {self.spec.url}" if self.spec.url else ""


@dataclass(frozen=True)
class ShardReader:
    """Reads images out of tar shards by their place in the file.

    members: (n, 3) int64: number of the shard, offset and size in bytes.
    """

    reads_in_threads: ClassVar[bool] = True

    shards: tuple[str, ...]
    members: np.ndarray[Any, np.dtype[np.int64]]
    ids: tuple[str, ...]
    bounds: Bounds = BOUNDS

    def __call__(self, row: int) -> LoadedSample:
        """Read and decode one image."""
        content = self.content(row)
        shard = self.shards[int(self.members[row][0])]
        return LoadedSample(decode_image(content, self.ids[row], shard, self.bounds), content)

    def content(self, row: int) -> bytes:
        """Read the bytes of one image."""
        number, offset, size = (int(value) for value in self.members[row])
        try:
            with Path(self.shards[number]).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise DataError(f"The sample {self.ids[row]!r} cannot be read: {error}.") from error

    def encoded(self, row: int) -> bytes:
        """Read the bytes of one image: they are its file."""
        return self.content(row)


def _index(shard: Path) -> dict[str, dict[str, _Member]]:
    """Return key -> field -> place of each member; DataError for names that lead out and damaged archives."""
    samples: dict[str, dict[str, _Member]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if leads_out(member.name):
                    raise DataError(
                        f"{shard}: the member {member.name!r} leads out of the archive; such an archive is not read."
                    )
                key, field = _split_name(member.name)
                if member.isdir() or not field or PurePosixPath(key).name.startswith(("__", ".")):
                    continue
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    raise DataError(
                        f"{shard}: the member {member.name!r} is a link, a device or has holes, and is not read."
                    )
                fields = samples.setdefault(key, {})
                if field in fields:
                    raise DataError(f"{shard}: the sample {key!r} has two members {field!r}.")
                fields[field] = (member.offset_data, member.size)
            check_end(archive, alone=True)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{shard} is no whole, uncompressed tar file ({error}). Fetch it again; decompress it if it is compressed."
        ) from error
    return samples


def _split_name(name: str) -> tuple[str, str]:
    """Return the key and the field: the base name is cut at its first dot."""
    path = PurePosixPath(name.removeprefix("./"))
    stem, _, field = path.name.partition(".")
    return str(path.with_name(stem)) if stem else str(path), field.lower()


def _one_of(fields: Mapping[str, _Member], what: str, names: Sequence[str], place: str) -> _Member:
    """Return the first of these fields that there is."""
    for name in names:
        if name in fields:
            return fields[name]
    raise DataError(f"{place} has no {what} ({', '.join(names)}); it has: {', '.join(sorted(fields))}.")


def _stated_count(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return None


def _bytes_of(folder: Path, patterns: Sequence[str]) -> int:
    return sum(path.stat().st_size for pattern in patterns for path in folder.glob(pattern) if path.is_file())
