"""Read text, JSON and CSV that may come from anybody: within limits, with errors that name the file and the line."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

from evalsuite.errors import EvalsuiteError, SpecError
from evalsuite.text import counted

MOST_BYTES = 16 << 20
"""Bytes of a file of JSON or CSV; a megabyte takes up to 25 of memory once it is read. Ours have tens of kilobytes."""

MOST_ROWS = 200_000
"""Rows of a table of results."""

Kind = type[EvalsuiteError]


def read_bytes(path: Path, *, most: int = MOST_BYTES, error: Kind = SpecError) -> bytes:
    """Return the content of a file; `error` where it is not there, no file, or larger than `most` bytes.

    A pipe is read, as the shell gives one for `<(command)`; other devices have no end.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise error(f"{path} is no file.")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise error(f"There is no file {path}.") from None
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise error(f"{path} cannot be read: {getattr(fault, 'strerror', None) or fault}.") from fault
    if len(content) > most:
        raise error(f"{path} is larger than {most >> 20} MB, the most that is read of such a file.")
    return content


def read_text(path: Path, *, most: int = MOST_BYTES, error: Kind = SpecError) -> str:
    """Return the text of a file in UTF-8, its lines ending in line feeds; `error` names the line that is no text."""
    return decoded(read_bytes(path, most=most, error=error), path, error=error)


def decoded(content: bytes, path: Path, *, error: Kind = SpecError) -> str:
    """Do as `read_text` does, on what was read."""
    try:
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise error(f"{path}, line {line}: it is no text in UTF-8 (byte 0x{content[fault.start]:02x}).") from fault


def parse_json(content: str | bytes, place: object, *, error: Kind = SpecError) -> Any:
    """Return the value of a text of JSON; `error` says where it is none. place: what it is from, for the message."""
    try:
        return json.loads(content)
    except RecursionError:
        raise error(f"{place} is nested too deeply to be read.") from None
    except ValueError as fault:
        raise error(f"{place} is not JSON ({fault}).") from fault


def read_json(path: Path, *, error: Kind = SpecError) -> Any:
    """Return the value of a file of JSON; `error` where it cannot be read."""
    return parse_json(read_bytes(path, error=error), path, error=error)


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the numbered lines of a CSV file, all of the header's length.

    Raises SpecError that names the file and the line.
    """
    return parse_csv(read_bytes(path), path)


def cells_of(line: str, separator: str) -> list[str]:
    """Return the cells of one line of a CSV file; ValueError where it is none."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error as fault:
        raise ValueError(f"it is no CSV ({fault})") from fault


def parse_csv(content: bytes, path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Do as `read_csv` does, on what was read."""
    reader = csv.reader(io.StringIO(decoded(content, path).removeprefix("\ufeff"), newline=""))
    lines: list[tuple[int, list[str]]] = []
    try:
        header = next(reader, [])
        for cells in reader:
            if len(cells) != len(header):
                raise SpecError(
                    f"{path}, line {reader.line_num}: {counted(len(cells), 'cell')} where the header has {len(header)}."
                )
            if len(lines) == MOST_ROWS:
                raise SpecError(f"{path} has more than {MOST_ROWS:,} rows.")
            lines.append((reader.line_num, cells))
    except csv.Error as fault:
        raise SpecError(f"{path}, line {reader.line_num}: it is no CSV ({fault}).") from fault
    return header, lines
