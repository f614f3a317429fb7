"""FER+: the images of FER 2013 with new labels, votes of ten people for each (github.com/microsoft/FERPlus).

fer2013new.csv has a row for each row of FER 2013's table, in the same order: Usage, Image name, the votes for eight
emotions, for `unknown` and for `NF` (no face). As in the authors' src/generate_training_data.py, a row without the name
of an image is left out. Of the others, the label is the emotion with the most votes, of several the first column's; a
row without a vote for any emotion has none, and is left out.

The authors' src/ferplus.py ("majority") also leaves out images of which no column has more than half of the votes that
remain without those of one person only, and those that most call unknown or no face. The paper's table 9 counts them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evalsuite.data import RawPool, raw_pool_from_arrays
from evalsuite.data.readers import row_id
from evalsuite.errors import DataError, DataMissingError

FOLDER = "fer2013"
VOTES = "fer2013new.csv"
USAGES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
"""Pool -> its word in the column Usage of both tables."""

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
SIDE = 48
"""Pixels of an image's height and width."""

_ADVICE = f"Put {VOTES} of github.com/microsoft/FERPlus next to it, as it was published."
_Row = dict[str, str]


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the set `pool` (train, val or test) of fer2013.csv; the ids are row numbers in it, the labels emotions."""
    return _opened((root or Path()) / FOLDER / "fer2013.csv", pool)


def open_icml_pool(root: Path | None, pool: str) -> RawPool:
    """Open the set `pool` of icml_face_data.csv, the other name of the same table."""
    return _opened((root or Path()) / FOLDER / "icml_face_data.csv", pool)


def _opened(table: Path, pool: str) -> RawPool:
    if pool not in USAGES:
        raise DataError(f"FER+ has the pools {', '.join(USAGES)}, not {pool!r}.")
    votes, usage = table.parent / VOTES, USAGES[pool]
    ids, labels, images = [], [], []
    rows, others = _rows(table, ("Usage", "pixels")), _rows(votes, ("Usage", "Image name", *EMOTIONS))
    for number, row in enumerate(rows):
        vote = next(others, None)
        if vote is None or vote["Usage"] != row["Usage"]:
            found = "is not there" if vote is None else f"says {vote['Usage']!r}"
            raise DataError(f"FER+: row {number} of {table} is of {row['Usage']!r}; that of {votes} {found}. {_ADVICE}")
        label = _label(vote, f"{votes}, row {number}") if row["Usage"] == usage and vote["Image name"] else None
        if label is not None:
            ids.append(row_id(number))
            labels.append(label)
            images.append(_image(row["pixels"], f"{table}, row {number}"))
    if next(others, None) is not None:
        raise DataError(f"FER+: {votes} has more rows than {table}. {_ADVICE}")
    if not ids:
        raise DataMissingError(f"FER+: {table} and {votes} have no row of {usage!r} with an image. {_ADVICE}")
    return raw_pool_from_arrays(images, labels, ids)


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[_Row]:
    """Yield the rows of a table, without the spaces around their cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = [name.strip() for name in next(lines, [])]
            if absent := [name for name in columns if name not in header]:
                raise DataError(f"FER+: {path} has no column {absent[0]!r}, but {', '.join(header) or 'none'}.")
            for number, cells in enumerate(filter(None, lines)):
                if len(cells) != len(header):
                    raise DataError(f"FER+: row {number} of {path} has {len(cells)} cells, not {len(header)}.")
                yield dict(zip(header, map(str.strip, cells), strict=True))
    except FileNotFoundError as error:
        raise DataMissingError(f"FER+: {path} is missing.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"FER+: {path} cannot be read ({error}).") from error


def _label(row: _Row, place: str) -> str | None:
    """Return the emotion with the most votes, None where none has any."""
    try:
        counts = [int(row[name]) for name in EMOTIONS]
    except ValueError as error:
        raise DataError(f"FER+: {place}: the votes must be numbers ({error}).") from error
    return EMOTIONS[counts.index(max(counts))] if max(counts) > 0 else None


def _image(cell: str, place: str) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(bytes(map(int, cell.split())), np.uint8).reshape(SIDE, SIDE)
    except ValueError as error:
        raise DataError(f"FER+: {place}: `pixels` must hold {SIDE} x {SIDE} grey values ({error}).") from error
