"""Hugging Face datasets: parquet or arrow files in a folder, or a repository of the hub."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import DataState, LoadedSample, MultiLabel, PoolOrigin, RawLabel, RawPool
from evalsuite.data.decoding import BOUNDS, Bounds, decode_image
from evalsuite.data.download.hub import Repository
from evalsuite.data.labels import wants_names
from evalsuite.data.readers import row_id
from evalsuite.data.shards import check_copies, gaps, shortage
from evalsuite.data.sources.base import Planned, Source
from evalsuite.data.sources.copies import files_of, leave_only_intact, note_sums
from evalsuite.data.sources.hub_splits import HubSplits
from evalsuite.errors import DataError, DataMissingError
from evalsuite.hashing import combined_sha256, files_sha256
from evalsuite.listing import matching
from evalsuite.tasks.sources import HuggingFaceSpec

_EXTENSIONS = ("parquet", "arrow")


class HuggingFaceSource(Source[HuggingFaceSpec]):
    """A split is its files under the data root if they are there, else the hub's. Ids are row numbers.

    Images are kept as the bytes in the file and decoded one by one; arrow files are memory-mapped.
    """

    @property
    def title(self) -> str:
        """Name the source in a message."""
        return f"huggingface {self.spec.repo or self.spec.path or '(local files)'}"

    @property
    def where(self) -> str:
        """Say where the data is looked for, in Markdown."""
        return f"`{self.spec.path or self.task.name}/*.parquet`, else in the cache"

    @property
    def _hub(self) -> HubSplits:
        return HubSplits(Repository(str(self.spec.repo), self.spec.revision), self.spec.config, self.place)

    def look(self) -> DataState:
        """Say whether each split has its files under the data root, or was downloaded from the hub."""
        found = {split: self._local_files(split) for split in self._splits}
        short = _short(found)
        if not short:
            return DataState("ready")
        if any(found.values()):
            details = "; ".join(f"split {split!r}: {text}" for split, text in short.items())
            return DataState("partial", f"{details}. {self._where_to_put()}")
        if self.spec.repo is None:
            return DataState("absent", self._where_to_put())
        if all(self._hub.is_cached(split) for split in self.spec.pools.values()):
            return DataState("ready")
        reason = (
            "not downloaded, and offline" if self.place.offline else f"{self.spec.repo} of the hub is not downloaded"
        )
        return DataState("absent", f"{reason}. {self._where_to_put()}")

    def image_options(self, pool: str) -> dict[str, Any]:
        """Return the split and the column of the images."""
        return {"split": self.spec.pools[pool], "config": self.spec.config, "image": self.spec.image}

    @property
    def repository(self) -> Repository | None:
        """The repository that is downloaded; where a source names its files, these count."""
        return None if self.spec.repo is None or self.spec.files else self._hub.repository

    def planned(self) -> list[Planned]:
        """Return what `fetch` would fetch: a repository goes into the cache."""
        return [Planned(item.what, self._hub.arrow_cache) if self.repository else item for item in super().planned()]

    def fetch_repository(self, repository: Repository) -> int:
        """Download each split into the cache; how many bytes came is not known."""
        for split in self.spec.pools.values():
            self.place.progress.note(f"{repository.name}: split {split!r}")
            self._hub.open(split)
        return 0

    def obstacle(self) -> str:
        """Say that files under the data root come before the hub, so that a download would change nothing."""
        found = self.look()
        if found.state != "partial" or self.spec.files:
            return ""
        return f"{self.title}: there only in part: {found.missing} Or remove what is there."

    def open(self, pool: str) -> RawPool:
        """Index a split, or several: a+b."""
        found = {part: self._local_files(part) for part in self.spec.pools[pool].split("+")}
        files = [path for part in found.values() for path in part]
        if not files:
            dataset, content, origin = self._hub.open(self.spec.pools[pool])
            return self._indexed(pool, dataset, content, origin)
        for part, problem in _short(found).items():
            raise DataMissingError(f"{self.title}: the split {part!r} is incomplete: {problem}.")
        digests = files_sha256(files, self.place.cache_dir, self.place.progress)
        check_copies(files, digests)
        origin = PoolOrigin({path.name: digest for path, digest in zip(files, digests, strict=True)})
        content = combined_sha256(digests)
        # What `datasets` makes of parquet files it knows again by path and time: other bytes go to another folder.
        copy = Path(self._hub.arrow_cache) / content[:16]
        leave_only_intact(copy, self.place)
        dataset = _open_local(files, str(copy))
        note_sums(copy, files_of(dataset, copy), self.place)
        return replace(self._indexed(pool, dataset, content, origin), warnings=gaps(files))

    @property
    def _splits(self) -> list[str]:
        """The splits that the pools are made of, each once."""
        return list(dict.fromkeys(part for split in self.spec.pools.values() for part in split.split("+")))

    def _local_files(self, split: str) -> list[Path]:
        """Return the files of a split under the data root: <split>-*.parquet or <split>.parquet, or .arrow.

        They are looked for in the source's folder, its `data`, the folder of the `config` and that of the split
        (there under any name).
        """
        base, name = self.folder, glob.escape(split)
        folders = [base, base / "data", *([base / self.spec.config] if self.spec.config else [])]
        stems = (f"{name}-[0-9]*", name)
        patterns = [(folder, stem) for folder in folders for stem in stems] + [(base / split, "*")]
        found = (
            path
            for extension in _EXTENSIONS
            for folder, stem in patterns
            for path in matching(folder, f"{stem}.{extension}")
        )
        return sorted({path for path in found if not path.name.startswith(".")})

    def _where_to_put(self) -> str:
        text = f"Put {', '.join(f'{split}-*.parquet' for split in self._splits)} into {self.folder}"
        if self.spec.repo is None:
            return f"{text}."
        revision = "" if self.spec.revision == "main" else f" --revision {self.spec.revision}"
        command = f"hf download --repo-type dataset {self.spec.repo}{revision} --local-dir {self.folder}"
        return f"{text}, or type: {command}"

    def _indexed(self, pool: str, dataset: Any, content: str, origin: PoolOrigin) -> RawPool:
        import datasets

        place = f"{self.title}, split {self.spec.pools[pool]!r}"
        if len(dataset) == 0:
            raise DataMissingError(f"{place}: it has no row.")
        image = _image_column(dataset, self.spec.image, place)
        labels, names = self._labels(dataset, place)
        group = self.spec.group
        groups = None if group is None else [str(value) for value in _values(dataset, group, place)]
        images = dataset.select_columns([image])
        if isinstance(images.features[image], datasets.Image):
            images = images.cast_column(image, datasets.Image(decode=False))
        ids = [row_id(row) for row in range(len(dataset))]
        reader = ColumnReader(images, image, place)
        return RawPool(ids, labels, reader, _byte_sizes(images, image), None, content, groups, origin, names=names)

    def _labels(self, dataset: Any, place: str) -> tuple[list[RawLabel], tuple[str, ...]]:
        """Return the labels and, where they are numbers that the data name, the names."""
        if isinstance(self.spec.label, str):
            return self._column_of_labels(dataset, self.spec.label, place)
        columns = [self._column_of_labels(dataset, column, place)[0] for column in self.spec.label]
        return [MultiLabel(tuple(map(str, cells))) for cells in zip(*columns, strict=True)], self.named_columns

    def _column_of_labels(self, dataset: Any, column: str, place: str) -> tuple[list[RawLabel], tuple[str, ...]]:
        import datasets

        values = _values(dataset, column, place)
        kind = dataset.features[column]
        inner = kind[0] if isinstance(kind, list) else getattr(kind, "feature", kind)
        known: list[str] = list(inner.names) if isinstance(inner, datasets.ClassLabel) else []
        names = known if known and wants_names(self.spec.labels, known) else None
        if len(self.task.class_list) != 2 and any(isinstance(value, bool) for value in values):
            raise DataError(f"{place}: the labels are true and false, but the task has not two classes.")
        return [_label(value, names, place, row) for row, value in enumerate(values)], tuple(() if names else known)


@dataclass(frozen=True)
class ColumnReader:
    """Reads images of a memory-mapped column of bytes, or of {bytes, path}."""

    dataset: Any
    column: str
    source: str
    bounds: Bounds = BOUNDS

    def __call__(self, row: int) -> LoadedSample:
        """Read and decode one image."""
        content = self.content(row)
        return LoadedSample(decode_image(content, row_id(row), self.source, self.bounds), content)

    def content(self, row: int) -> bytes:
        """Read the bytes of one image."""
        cell = self.dataset[row][self.column]
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise DataError(
                f"{self.source}: row {row} has no image bytes in the column {self.column!r} (a path at most, "
                "which is not followed)."
            )
        return content

    def encoded(self, row: int) -> bytes:
        """Read the bytes of one image: they are its file."""
        return self.content(row)


def _short(found: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """Return what is missing of the splits that are not complete."""
    return {split: text for split, files in found.items() if (text := shortage(files, split))}


def _open_local(files: Sequence[Path], cache: str) -> Any:
    """Open parquet files (copied once to arrow files in the cache) or arrow files, without the network."""
    import datasets
    from datasets.packaged_modules.arrow.arrow import Arrow

    names = [str(path) for path in files]
    try:
        if files[0].suffix == ".parquet":
            return datasets.Dataset.from_parquet(names, cache_dir=cache)
        if cut := [path.name for path in files if not _has_end(path)]:
            raise ValueError(f"{cut[0]} is cut off: it has no end")
        try:
            return datasets.concatenate_datasets([datasets.Dataset.from_file(name) for name in names])
        except ValueError:  # arrow's file format rather than its stream format: copied to the cache
            builder = Arrow(cache_dir=cache, data_files={"pool": names})
            builder.download_and_prepare()
            return builder.as_dataset(split="pool")
    except Exception as error:  # pyarrow and datasets raise many kinds
        reason = error.__cause__ or error
        raise DataError(
            f"{names[0]}{' and its like' if len(names) > 1 else ''} cannot be read ({reason}). Fetch it again."
        ) from error


def _has_end(path: Path) -> bool:
    """Say whether an arrow stream ends with its mark: a reader takes the end of the file for one.

    Each part begins with FFFFFFFF and its length, which is 0 at the end (arrow.apache.org/docs/format/Columnar.html);
    files in the file format, and streams from before Arrow 0.15, begin otherwise.
    """
    with path.open("rb") as file:
        if file.read(4) != b"\xff" * 4:
            return True
        file.seek(-8, os.SEEK_END)
        return file.read() == b"\xff" * 4 + bytes(4)


def _image_column(dataset: Any, wanted: str, place: str) -> str:
    """Return the column of the task file, or the only one that holds images: copies of a set rename it."""
    import datasets

    def holds_images(kind: Any) -> bool:  # {bytes, path}: an image column whose schema lost its metadata
        return isinstance(kind, datasets.Image) or (isinstance(kind, dict) and set(kind) == {"bytes", "path"})

    features = dataset.features
    if wanted in features:
        return wanted
    held = [name for name, kind in features.items() if holds_images(kind)]
    if len(held) != 1:
        raise DataError(f"{place}: there is no column {wanted!r}; its columns: {', '.join(features)}.")
    return str(held[0])


def _values(dataset: Any, column: str, place: str) -> list[Any]:
    if column not in dataset.features:
        raise DataError(f"{place}: there is no column {column!r}; its columns: {', '.join(dataset.features)}.")
    return list(dataset.select_columns([column])[:][column])


def _label(value: Any, names: list[str] | None, place: str, row: int) -> RawLabel:
    if isinstance(value, list):
        return MultiLabel(tuple(str(_label(part, names, place, row)) for part in value))
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or value < 0:
        raise DataError(f"{place}: row {row} has no label ({value!r}); the split may be published without.")
    if names is None:
        return int(value)
    if value >= len(names):
        raise DataError(f"{place}: row {row} has the label {value}, but there are only {len(names)} class names.")
    return names[value]


def _byte_sizes(images: Any, column: str) -> NDArray[np.int64]:
    """Return the encoded size of each image, from the offsets of the column: no image is read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = []
    for chunk in images.data.column(column).chunks:
        cells = pc.struct_field(chunk, "bytes") if pa.types.is_struct(chunk.type) else chunk
        if not (pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type)):
            raise DataError(f"The column {column!r} holds {cells.type}, not the bytes of images.")
        sizes.append(pc.fill_null(pc.binary_length(cells), 0).to_numpy(zero_copy_only=False).astype(np.int64))
    return np.concatenate(sizes) if sizes else np.empty(0, np.int64)
