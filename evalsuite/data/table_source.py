"""Tables: CSV, TSV or JSONL files of image paths (or pixel values) and labels."""

from __future__ import annotations

import json
import logging
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from evalsuite.data.base import DataState, MultiLabel, RawLabel, RawPool
from evalsuite.data.context import SourceContext
from evalsuite.data.readers import ArrayReader, raw_pool_from_files, row_id
from evalsuite.errors import DataError, DataMissingError
from evalsuite.hashing import file_sha256
from evalsuite.registry import did_you_mean
from evalsuite.tasks.sources import TablePool, TableSource

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
_PRINTED = 3


def open_raw_pool(spec: TableSource, pool: str, context: SourceContext) -> RawPool:
    """Index the rows of a pool in the order of their file.

    The id of a sample is its image's path under `images`, or the row number in the file for `pixels`.
    """
    rows = _pool_of(spec, pool)
    path = _base(spec, context) / rows.file
    if not path.is_file():
        raise DataMissingError(f"{describe(spec)}: the table of the pool {pool!r} is missing: {path}.")
    table = _read_table(path)
    for column, value in rows.where.items():
        kept = _column(table, column, path).map(lambda cell: str(cell).strip()) == value.strip()
        table = table[kept]
    if table.empty:
        chosen = ", ".join(f"{column} = {value}" for column, value in rows.where.items())
        raise DataError(f"{path} has no row{f' with {chosen}' if chosen else ''}.")
    if spec.pixels is not None:
        return _pixel_pool(spec, table, path, context)
    return _file_pool(spec, table, path, context)


def state(spec: TableSource, context: SourceContext) -> DataState:
    """Say whether the tables and the folder of the images are there."""
    base = _base(spec, context)
    needed = {base / _pool_of(spec, pool).file for pool in spec.pools}
    absent = sorted(str(path) for path in needed if not path.is_file())
    if spec.pixels is None and not (base / spec.images).is_dir():
        absent.append(f"{base / spec.images} (the images)")
    if not absent:
        return DataState("ready", spec.kind)
    found = any(path.is_file() for path in needed)
    return DataState("partial" if found else "absent", spec.kind, f"missing: {', '.join(absent)}.")


def folder(spec: TableSource, context: SourceContext) -> Path:
    """Return the source's folder."""
    return _base(spec, context)


def image_options(spec: TableSource, pool: str) -> dict[str, Any]:
    """Return the columns and rows the images come from."""
    rows = _pool_of(spec, pool)
    columns = {"image": spec.image} if spec.pixels is None else {"pixels": spec.pixels, "shape": spec.shape}
    return {**columns, "images": spec.images, "file": rows.file, "where": rows.where}


def describe(spec: TableSource) -> str:
    """Name the source in a message."""
    return f"table {spec.path}"


def _base(spec: TableSource, context: SourceContext) -> Path:
    return context.next_to_task(spec.path)


def _pool_of(spec: TableSource, pool: str) -> TablePool:
    rows = spec.pools[pool]
    return TablePool(file=rows) if isinstance(rows, str) else rows


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table with text left as it is ("NA" is a country, "01" no number); the index is the row number."""
    import pandas as pd

    suffix = path.suffix.lower()
    try:
        if suffix in {".jsonl", ".ndjson"}:
            table = pd.DataFrame(_json_rows(path), dtype=object)
        else:
            separator = "\t" if suffix in {".tsv", ".tab"} else ","
            table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} cannot be read as a {suffix.lstrip('.') or 'csv'} table: {error}.") from error
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    return table


def _json_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object")
            rows.append(row)
    return rows


def _column(table: pd.DataFrame, name: str, path: Path) -> pd.Series[Any]:
    if name not in table.columns:
        known = [str(column) for column in table.columns]
        raise DataError(f"{path} has no column {name!r}.{did_you_mean(name, known)} Its columns: {', '.join(known)}.")
    column: pd.Series[Any] = table[name]
    return column


def _labels(spec: TableSource, table: pd.DataFrame, path: Path) -> list[RawLabel]:
    numbers = table.index.tolist()
    cells = _column(table, spec.label, path).tolist()
    return [_label(spec, cell, number, path) for number, cell in zip(numbers, cells, strict=True)]


def _label(spec: TableSource, cell: Any, number: int, path: Path) -> RawLabel:
    if isinstance(cell, bool | int):
        return int(cell)
    if isinstance(cell, str) and spec.separator is not None:
        return MultiLabel(tuple(part.strip() for part in cell.split(spec.separator) if part.strip()))
    if isinstance(cell, str) and cell.strip():
        return cell.strip()
    if isinstance(cell, list) and all(isinstance(part, str | int) for part in cell):
        return MultiLabel(tuple(str(part) for part in cell))
    raise DataError(f"{path}, row {number}, column {spec.label!r}: {cell!r} is no label.")


def _group_cells(spec: TableSource, table: pd.DataFrame, path: Path) -> list[str] | None:
    if spec.group is None:
        return None
    return [str(cell) for cell in _column(table, spec.group, path).tolist()]


def _file_pool(spec: TableSource, table: pd.DataFrame, path: Path, context: SourceContext) -> RawPool:
    root = _base(spec, context) / spec.images
    column = spec.image or "image"
    numbers = table.index.tolist()
    cells = _column(table, column, path).tolist()
    ids = [_safe_path(cell, path, number, column) for cell, number in zip(cells, numbers, strict=True)]
    present = [(root / sample).is_file() for sample in ids]
    absent = [(number, name) for number, name, there in zip(numbers, ids, present, strict=True) if not there]
    if absent:
        _report_absent(absent, len(ids), root, path, column, context)
        table = table[np.array(present)]
        ids = [name for name, there in zip(ids, present, strict=True) if there]
    labels = _labels(spec, table, path)
    return raw_pool_from_files(root, ids, labels, _group_cells(spec, table, path))


def _safe_path(cell: Any, path: Path, number: int, column: str) -> str:
    """Return a path that stays in its folder, in one spelling; DataError names the row and the column."""
    place = f"{path}, row {number}, column {column!r}"
    if not isinstance(cell, str) or not cell.strip():
        raise DataError(f"{place}: {cell!r} is no path of an image.")
    text = cell.strip().replace("\\", "/")
    if ".." in text.split("/") or PurePosixPath(text).is_absolute() or PureWindowsPath(text).drive:
        raise DataError(f"{place}: the path {cell!r} leads out of the folder of the images.")
    return str(PurePosixPath(text))


def _report_absent(
    absent: list[tuple[int, str]], total: int, root: Path, path: Path, column: str, context: SourceContext
) -> None:
    allowed = context.task.max_unreadable
    shown = ", ".join(f"row {number}: {name!r}" for number, name in absent[:_PRINTED])
    text = (
        f"{path}, column {column!r}: {len(absent)} of {total} images are not under {root} "
        f"({shown}{' ...' if len(absent) > _PRINTED else ''})"
    )
    if len(absent) > allowed:
        raise DataError(
            f"{text}. Complete the folder, or allow for missing images with `max_unreadable` in the task file."
        )
    _LOG.warning("%s; allowed by max_unreadable: %d", text, allowed)


def _pixel_pool(spec: TableSource, table: pd.DataFrame, path: Path, context: SourceContext) -> RawPool:
    column = spec.pixels or "pixels"
    height, width = spec.shape or (0, 0)
    numbers = table.index.tolist()
    images = []
    for number, cell in zip(numbers, _column(table, column, path).tolist(), strict=True):
        try:
            values = np.frombuffer(bytes(map(int, str(cell).split())), np.uint8)
            images.append(values.reshape(height, width))
        except ValueError as error:
            raise DataError(
                f"{path}, row {number}, column {column!r}: it must hold {height} x {width} = {height * width} "
                f"grey values from 0 to 255, separated by spaces ({error})."
            ) from error
    ids = tuple(row_id(number) for number in numbers)
    sizes = np.full(len(ids), height * width, np.int64)
    content = file_sha256(path, context.place.cache_dir)
    labels = tuple(_labels(spec, table, path))
    groups = _group_cells(spec, table, path)
    return RawPool(ids, labels, ArrayReader(images), sizes, None, content, groups and tuple(groups))
