"""Hugging Face datasets: parquet or arrow files in a folder, or a repository of the hub."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.data import hub
from evalsuite.data.base import DataState, LoadedSample, MultiLabel, RawLabel, RawPool
from evalsuite.data.context import SourceContext
from evalsuite.data.decoding import decode_image
from evalsuite.data.labels import wants_names
from evalsuite.data.readers import row_id
from evalsuite.errors import DataError, DataMissingError
from evalsuite.hashing import combined_sha256, files_sha256
from evalsuite.tasks.sources import HuggingFaceSource

_SHARD_COUNT = re.compile(r"-of-(\d+)")
_EXTENSIONS = ("parquet", "arrow")


def open_raw_pool(spec: HuggingFaceSource, pool: str, context: SourceContext) -> RawPool:
    """Index a split: files under the data root if they are there, else the hub. Ids are row numbers.

    Images are kept as the bytes in the file and decoded one by one; arrow files are memory-mapped.
    """
    found = {part: local_files(spec, part, context) for part in spec.pools[pool].split("+")}
    files = [path for part in found.values() for path in part]
    short = _short(found) if files else {}
    if short:
        part, shortage = next(iter(short.items()))
        raise DataMissingError(f"{describe(spec)}: the split {part!r} is incomplete: {shortage}.")
    if files:
        dataset, content = _open_local(files, context), _identity(pool, files, context)
    else:
        dataset, content = hub.open_split(spec, pool, context)
    return _index(spec, pool, dataset, content)


def state(spec: HuggingFaceSource, context: SourceContext) -> DataState:
    """Say whether each split has its files under the data root, or can be had from the hub."""
    found = {split: local_files(spec, split, context) for split in _stored_splits(spec)}
    short = _short(found)
    if not short:
        return DataState("ready", spec.kind)
    if any(found.values()):
        details = "; ".join(f"split {split!r}: {text}" for split, text in short.items())
        return DataState("partial", spec.kind, f"{details}. {_where_to_put(spec, context)}")
    if spec.repo is None:
        return DataState("absent", spec.kind, _where_to_put(spec, context))
    if hub.is_cached(spec, context):
        return DataState("ready", spec.kind)
    if context.place.offline:
        return DataState("absent", spec.kind, f"not downloaded, and offline. {_where_to_put(spec, context)}")
    return DataState("absent", spec.kind, f"{spec.repo} of the hub is not downloaded. {_where_to_put(spec, context)}")


def folder(spec: HuggingFaceSource, context: SourceContext) -> Path:
    """Return the folder of local files."""
    return context.under_root(spec.path or context.task.name)


def image_options(spec: HuggingFaceSource, pool: str) -> dict[str, Any]:
    """Return the split and the column of the images."""
    return {"split": spec.pools[pool], "config": spec.config, "image": spec.image}


def describe(spec: HuggingFaceSource) -> str:
    """Name the source in a message."""
    return f"huggingface {spec.repo or spec.path or '(local files)'}"


@dataclass(frozen=True)
class ColumnReader:
    """Reads images of a memory-mapped column of bytes, or of {bytes, path}."""

    dataset: Any
    column: str
    source: str

    def __call__(self, row: int) -> LoadedSample:
        """Read and decode one image."""
        cell = self.dataset[row][self.column]
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise DataError(
                f"{self.source}: row {row} has no image bytes in the column {self.column!r} (a path at most, "
                "which is not followed)."
            )
        return LoadedSample(decode_image(content, row_id(row), self.source), content)


def local_files(spec: HuggingFaceSource, split: str, context: SourceContext) -> list[Path]:
    """Return the files of a split under the data root: <split>-*.parquet or <split>.parquet, or .arrow.

    They are looked for in the source's folder, its `data`, the folder of the `config` and that of the split
    (there under any name).
    """
    base = folder(spec, context)
    if not base.is_dir():
        return []
    folders = [base, base / "data", *([base / spec.config] if spec.config else [])]
    for extension in _EXTENSIONS:
        for place in folders:
            name = glob.escape(split)
            files = sorted(place.glob(f"{name}-[0-9]*.{extension}")) or sorted(place.glob(f"{name}.{extension}"))
            if files:
                return files
        files = sorted((base / split).glob(f"*.{extension}"))
        if files:
            return files
    return []


def _stored_splits(spec: HuggingFaceSource) -> list[str]:
    """Return the splits that the pools are made of, each once."""
    return list(dict.fromkeys(part for split in spec.pools.values() for part in split.split("+")))


def _short(found: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """Return what is missing of the splits that are not complete."""
    return {split: _shortage(files) or "no file" for split, files in found.items() if _shortage(files) or not files}


def _shortage(files: Sequence[Path]) -> str:
    """Say how many files are missing where their names tell how many there should be."""
    if not files:
        return ""
    match = _SHARD_COUNT.search(files[0].stem)
    expected = int(match.group(1)) if match else len(files)
    return f"{len(files)} of {expected} files are in {files[0].parent}" if len(files) < expected else ""


def _open_local(files: Sequence[Path], context: SourceContext) -> Any:
    """Open parquet files (copied once to arrow files in the cache) or arrow files, without the network."""
    import datasets

    cache = hub.arrow_cache(context)
    names = [str(path) for path in files]
    try:
        if files[0].suffix == ".parquet":
            return datasets.Dataset.from_parquet(names, cache_dir=cache)
        try:
            return datasets.concatenate_datasets([datasets.Dataset.from_file(name) for name in names])
        except ValueError:  # arrow's file format rather than its stream format: copied to the cache
            return _open_arrow_files(names, cache)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = error.__cause__ or error
        raise DataError(
            f"{names[0]}{' and its like' if len(names) > 1 else ''} cannot be read ({reason}). Fetch it again."
        ) from error


def _open_arrow_files(names: list[str], cache: str) -> Any:
    from datasets.packaged_modules.arrow.arrow import Arrow

    builder = Arrow(cache_dir=cache, data_files={"pool": names})
    builder.download_and_prepare()
    return builder.as_dataset(split="pool")


def _identity(pool: str, files: Sequence[Path], context: SourceContext) -> str:
    digests = files_sha256(files, context.place.cache_dir)
    names = {path.name: digest for path, digest in zip(files, digests, strict=True)}
    context.resolved.setdefault("files", {})[pool] = names
    return combined_sha256(digests)


def _index(spec: HuggingFaceSource, pool: str, dataset: Any, content: str) -> RawPool:
    import datasets

    place = f"{describe(spec)}, split {spec.pools[pool]!r}"
    if len(dataset) == 0:
        raise DataMissingError(f"{place}: it has no row.")
    image = _image_column(spec, dataset, place)
    labels = _labels(spec, dataset, place)
    groups = None
    if spec.group is not None:
        groups = tuple(str(value) for value in _values(dataset, spec.group, place))
    images = dataset.select_columns([image])
    if isinstance(images.features[image], datasets.Image):
        images = images.cast_column(image, datasets.Image(decode=False))
    ids = tuple(row_id(row) for row in range(len(dataset)))
    reader = ColumnReader(images, image, place)
    return RawPool(ids, tuple(labels), reader, _byte_sizes(images, image), None, content, groups)


def _image_column(spec: HuggingFaceSource, dataset: Any, place: str) -> str:
    """Return the column of the task file, or the only one that holds images: copies of a set rename it."""
    import datasets

    features = dataset.features
    if spec.image in features:
        return spec.image
    held = [name for name, kind in features.items() if isinstance(kind, datasets.Image) or _is_image_struct(kind)]
    if len(held) != 1:
        raise DataError(f"{place}: there is no column {spec.image!r}; its columns: {', '.join(features)}.")
    return str(held[0])


def _is_image_struct(kind: Any) -> bool:
    """Say whether a feature is {bytes, path}: an image column whose schema lost its metadata."""
    return isinstance(kind, dict) and set(kind) == {"bytes", "path"}


def _values(dataset: Any, column: str, place: str) -> list[Any]:
    if column not in dataset.features:
        raise DataError(f"{place}: there is no column {column!r}; its columns: {', '.join(dataset.features)}.")
    return list(dataset.select_columns([column])[:][column])


def _labels(spec: HuggingFaceSource, dataset: Any, place: str) -> list[RawLabel]:
    import datasets

    values = _values(dataset, spec.label, place)
    kind = dataset.features[spec.label]
    inner = kind[0] if isinstance(kind, list) else getattr(kind, "feature", kind)
    names: list[str] | None = list(inner.names) if isinstance(inner, datasets.ClassLabel) else None
    if names is not None and not wants_names(spec.labels, names):
        names = None
    return [_label(value, names, place, row) for row, value in enumerate(values)]


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


def _where_to_put(spec: HuggingFaceSource, context: SourceContext) -> str:
    place = folder(spec, context)
    names = ", ".join(f"{split}-*.parquet" for split in _stored_splits(spec))
    text = f"Put {names} into {place}"
    if spec.repo is None:
        return f"{text}."
    revision = "" if spec.revision == "main" else f" --revision {spec.revision}"
    return f"{text}, or type: hf download --repo-type dataset {spec.repo}{revision} --local-dir {place}"
