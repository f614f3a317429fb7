"""Tables: CSV, TSV or JSONL files of image paths (or pixel values) and labels."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import DataState, MultiLabel, PoolOrigin, RawLabel, RawPool
from evalsuite.data.decoding import image_extensions
from evalsuite.data.labels import plain_form
from evalsuite.data.readers import ArrayReader, raw_pool_from_files, report_missing, row_id
from evalsuite.data.sources.base import Source
from evalsuite.errors import DataError, DataMissingError
from evalsuite.hashing import file_sha256
from evalsuite.reading import cells_of
from evalsuite.registry import did_you_mean
from evalsuite.tasks.parts import leads_out
from evalsuite.tasks.sources import TablePool, TableSpec
from evalsuite.text import counted, shortened

if TYPE_CHECKING:
    import pandas as pd


PIECE_ROWS = 4096
"""Rows that are in memory as text at a time."""

_NO_VALUE = ("", "nan", "None")
"""Cells of rows that do not say anything, as text."""

MOST_COLUMNS = 10_000
"""Columns of a table; a frame has a place for each in every row."""


class TableSource(Source[TableSpec]):
    """The rows of tables, in the order of their files."""

    may_lie_next_to_task = True

    def look(self) -> DataState:
        """Say whether the tables and the folder of the images are there."""
        needed = {self.folder / self._rows(pool).file for pool in self.spec.pools}
        absent = sorted(str(path) for path in needed if not path.is_file())
        if self.spec.pixels is None and not (self.folder / self.spec.images).is_dir():
            absent.append(f"{self.folder / self.spec.images} (the images)")
        if not absent:
            return DataState("ready")
        found = any(path.is_file() for path in needed)
        return DataState("partial" if found else "absent", f"missing: {', '.join(absent)}.")

    def image_options(self, pool: str) -> dict[str, Any]:
        """Return the columns and rows the images come from."""
        spec, rows = self.spec, self._rows(pool)
        columns = {"image": spec.image} if spec.pixels is None else {"pixels": spec.pixels, "shape": spec.shape}
        return {**columns, "images": spec.images, "file": rows.file, "where": rows.where}

    def open(self, pool: str) -> RawPool:
        """Index the rows of a pool in the order of their file.

        The id of a sample is its image's path under `images`, or the row number in the file for `pixels`.
        """
        rows = self._rows(pool)
        path = self.folder / rows.file
        if not path.is_file():
            raise DataMissingError(f"{self.title}: the table of the pool {pool!r} is missing: {path}.")
        if path not in self._tables:
            self._tables[path] = _read_table(path, self.spec.pixels)
        table = _Table(path, self._tables[path])
        for column, value in rows.where.items():
            table = table.where([str(cell).strip() == value.strip() for cell in table.cells(column)])
        if not table.numbers:
            chosen = ", ".join(f"{column} = {value}" for column, value in rows.where.items())
            raise DataError(f"{path} has no row{f' with {chosen}' if chosen else ''}.")
        raw = self._open_files(table) if self.spec.pixels is None else self._open_pixels(table, self.spec.pixels)
        warnings = (*raw.warnings, *_spelled_alike(_Table(path, self._tables[path]), rows.where))
        origin = PoolOrigin(files={rows.file: file_sha256(path, self.place.cache_dir)})
        return replace(raw, origin=origin, names=self.named_columns, warnings=warnings)

    @cached_property
    def _tables(self) -> dict[Path, pd.DataFrame]:
        """The tables that were read: each serves all pools that have rows in it."""
        return {}

    def _rows(self, pool: str) -> TablePool:
        rows = self.spec.pools[pool]
        return TablePool(file=rows) if isinstance(rows, str) else rows

    def _open_files(self, table: _Table) -> RawPool:
        root = self.folder / self.spec.images
        column = self.spec.image or "image"
        paths = [_safe_path(cell, table.place(number, column)) for number, cell in table.items(column)]
        ids = [_as_on_disk(root, path) for path in paths]
        if self.spec.every_image:
            self._refuse_without_row(root, table.path, column)
        there = [(root / name).is_file() for name in ids]
        warnings = []
        absent = [
            f"row {number}: {name!r}"
            for number, name, found in zip(table.numbers, ids, there, strict=True)
            if not found
        ]
        if absent:
            text = (
                f"{table.path}, column {column!r}: {len(absent)} of {len(ids)} images are not under {root} "
                f"({shortened(absent, 3)})"
            )
            warnings.append(report_missing(text, len(absent), self.task.max_unreadable, DataError))
            table, ids = table.where(there), [name for name, found in zip(ids, there, strict=True) if found]
        raw = raw_pool_from_files(root, ids, self._labels(table), self._groups(table))
        return replace(raw, warnings=tuple(warnings))

    def _refuse_without_row(self, root: Path, path: Path, column: str) -> None:
        """Raise DataError where images lie next to those of a table and have no row in it."""
        table = _Table(path, self._tables[path])
        named = {_safe_path(cell, table.place(number, column)) for number, cell in table.items(column)}
        folders = {PurePosixPath(name).parent for name in named}
        there = {
            (folder / file.name).as_posix()
            for folder in folders
            if (root / folder).is_dir()
            for file in (root / folder).iterdir()
            if file.suffix.lower() in image_extensions() and not file.name.startswith(".")
        }
        if without := sorted(there - {_as_on_disk(root, name) for name in named}):
            have = "has" if len(without) == 1 else "have"
            raise DataError(
                f"{counted(len(without), 'image')} of {len(there):,} under {root} {have} no row in {path} "
                f"({shortened(without, 3)}). The table is cut off or of another edition: fetch it again, or move these "
                "images away."
            )

    def _open_pixels(self, table: _Table, column: str) -> RawPool:
        height, width = self.spec.shape or (0, 0)
        images = []
        for number, cell in table.items(column):
            try:
                images.append(_grey_values(cell).reshape(height, width))
            except ValueError as error:
                raise DataError(
                    f"{table.place(number, column)}: it must hold {height} x {width} = {height * width} "
                    f"grey values from 0 to 255, separated by spaces ({error})."
                ) from error
        ids = tuple(row_id(number) for number in table.numbers)
        sizes = np.full(len(ids), height * width, np.int64)
        content = file_sha256(table.path, self.place.cache_dir)
        return RawPool(ids, self._labels(table), ArrayReader(images), sizes, None, content, self._groups(table))

    def _labels(self, table: _Table) -> list[RawLabel]:
        if isinstance(self.spec.label, str):
            return self._column_of_labels(table, self.spec.label)
        columns = [self._column_of_labels(table, column) for column in self.spec.label]
        return [MultiLabel(tuple(map(str, cells))) for cells in zip(*columns, strict=True)]

    def _column_of_labels(self, table: _Table, column: str) -> list[RawLabel]:
        return [self._label(cell, table.place(number, column)) for number, cell in table.items(column)]

    def _label(self, cell: Any, place: str) -> RawLabel:
        if _is_whole(cell) and (not isinstance(cell, bool) or len(self.task.class_list) == 2):
            return int(cell)
        if isinstance(cell, str) and self.spec.separator is not None:
            return MultiLabel(tuple(part.strip() for part in cell.split(self.spec.separator) if part.strip()))
        if isinstance(cell, str) and cell.strip():
            return cell.strip()
        if isinstance(cell, list) and all(isinstance(part, str) or _is_whole(part) for part in cell):
            return MultiLabel(tuple(part if isinstance(part, str) else str(int(part)) for part in cell))
        raise DataError(f"{place}: {cell!r} is no label.")

    def _groups(self, table: _Table) -> list[str] | None:
        return None if self.spec.group is None else [str(cell) for cell in table.cells(self.spec.group)]


@dataclass(frozen=True)
class _Table:
    """Rows of a file; the index of the frame is their number in it."""

    path: Path
    frame: pd.DataFrame

    @property
    def numbers(self) -> list[int]:
        numbers: list[int] = self.frame.index.tolist()
        return numbers

    def place(self, number: int, column: str) -> str:
        return f"{self.path}, row {number}, column {column!r}"

    def cells(self, column: str) -> list[Any]:
        if column not in self.frame.columns:
            known = [str(name) for name in self.frame.columns]
            raise DataError(
                f"{self.path} has no column {column!r}.{did_you_mean(column, known)} Its columns: {', '.join(known)}."
            )
        if list(self.frame.columns).count(column) > 1:
            raise DataError(f"{self.path} has several columns {column!r}: rename all but one.")
        cells: list[Any] = self.frame[column].tolist()
        return cells

    def items(self, column: str) -> list[tuple[int, Any]]:
        return list(zip(self.numbers, self.cells(column), strict=True))

    def where(self, kept: list[bool]) -> _Table:
        return replace(self, frame=self.frame[np.array(kept, bool)])


def _spelled_alike(table: _Table, where: Mapping[str, str]) -> Iterator[str]:
    """Warn of rows that were passed over, although they differ from those that are wanted in spelling alone."""
    for column, value in where.items():
        cells = Counter(str(cell).strip() for cell in table.cells(column))
        form = plain_form(value) or value
        alike = [cell for cell in cells if cell != value.strip() and (cell in _NO_VALUE or plain_form(cell) == form)]
        if alike:
            count = sum(cells[cell] for cell in alike)
            yield (
                f"{table.path}: {counted(count, 'row')} passed over whose {column!r} is "
                f"{shortened(list(map(repr, alike)), 3)}, and not {value!r}."
            )


def _grey_values(cell: Any) -> NDArray[np.uint8]:
    """Return the grey values of a cell, which may be numbers already; ValueError where it has others."""
    return cell if isinstance(cell, np.ndarray) else np.frombuffer(bytes(map(int, str(cell).split())), np.uint8)


def _compact(cell: str) -> NDArray[np.uint8] | str:
    """Return grey values, which need a tenth of the memory of their text; what is none stays as it is."""
    try:
        return _grey_values(cell)
    except ValueError:
        return cell


def _read_table(path: Path, pixels: str | None = None) -> pd.DataFrame:
    """Read a table with text left as it is ("NA" is a country, "01" no number); the index is the row number.

    pixels: the column of grey values; they are read piece by piece.
    """
    import pandas as pd

    def compact(piece: pd.DataFrame) -> pd.DataFrame:
        column = next((name for name in piece.columns if str(name).strip() == pixels), None)
        if column is not None:
            piece[column] = pd.Series(map(_compact, piece[column]), piece.index, object)
        return piece

    suffix = path.suffix.lower()
    try:
        if suffix in {".jsonl", ".ndjson"}:
            table = pd.DataFrame(_json_rows(path), dtype=object)
        else:
            separator = "\t" if suffix in {".tsv", ".tab"} else ","
            header = _header(path, separator)
            options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
            table = pd.concat(map(compact, pd.read_csv(path, sep=separator, chunksize=PIECE_ROWS, **options)))
            # pandas takes cells that are too many for names of the rows, and renames columns of one name.
            if not pd.api.types.is_integer_dtype(table.index.dtype):
                raise ValueError("its rows have more cells than its header")
            if len(header) == len(table.columns):
                table.columns = pd.Index(header)
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} cannot be read as a {suffix.lstrip('.') or 'csv'} table: {error}.") from error
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    return table


def _header(path: Path, separator: str) -> list[str]:
    """Return the cells of the first line.

    Raises ValueError for a table of more columns than anybody has; pandas would make an object of each.
    """
    with path.open("rb") as file:
        line = file.readline(MOST_COLUMNS * 100)
    if line.count(separator.encode()) >= MOST_COLUMNS:
        raise ValueError(f"it has more than {MOST_COLUMNS:,} columns")
    return cells_of(line.decode("utf-8-sig", "replace"), separator)


def _json_rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    columns: set[str] = set()
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = json.loads(line, object_pairs_hook=_each_key_once)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object")
            columns.update(row)
            if len(columns) > MOST_COLUMNS:
                raise ValueError(f"it has more than {MOST_COLUMNS:,} columns up to line {number}")
            rows.append(row)
    return rows


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; ValueError where it has a key twice, of which `json` takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"an object has several values of {Counter(key for key, _ in pairs).most_common(1)[0][0]!r}")
    return found


def _is_whole(value: Any) -> bool:
    """Say whether a value is a whole number, also written as 3.0, or as true and false."""
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _as_on_disk(root: Path, path: str) -> str:
    """Return a path with its accents as the files have them, where they have them in another form (NFC or NFD)."""
    if path.isascii() or (root / path).is_file():
        return path
    forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return next((form for form in forms if (root / form).is_file()), path)


def _safe_path(cell: Any, place: str) -> str:
    """Return a path that stays in its folder, in one spelling."""
    if not isinstance(cell, str) or not cell.strip():
        raise DataError(f"{place}: {cell!r} is not the path of an image.")
    text = cell.strip().replace("\\", "/")
    if leads_out(text):
        raise DataError(f"{place}: the path {cell!r} leads out of the folder of the images.")
    return str(PurePosixPath(text))
