"""Lists of samples that come with a source: official splits and folds in text files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import Pool
from evalsuite.data.labels import plain_form
from evalsuite.data.readers import report_missing, row_id
from evalsuite.errors import DataError, DataMissingError, SpecError
from evalsuite.reading import read_text
from evalsuite.tasks.sources import ListFile
from evalsuite.text import composed, shortened

MOST_BYTES = 256 << 20
"""Bytes of a list; ImageNet's has 80 million."""


@dataclass(frozen=True)
class SampleList:
    """One list: a file of sample ids (line None), or line `line` of a file of row numbers.

    entry: what the task file says of it. files: where the file may be, the first that exists counts.
    by_name: the folders in it are class names, in other case or punctuation perhaps.
    """

    name: str
    entry: ListFile
    files: tuple[Path, ...]
    line: int | None = None
    by_name: bool = False

    @property
    def pool(self) -> str:
        """The pool whose samples it names."""
        return self.entry.pool


def expand_lists(
    lists: Mapping[str, ListFile], folders: Sequence[Path], *, by_name: bool = False
) -> dict[str, SampleList]:
    """Return the lists of a source by name, one for each number that {} stands for.

    folders: the source's folder, then the task file's (which may bring lists of its own). A `..` leaves the folder as
    it is written, also where that is a link.
    Lists of `index_lines` are numbered by line; the others by file, unless there is only one.
    """
    expanded: dict[str, SampleList] = {}
    for name, entry in lists.items():
        if entry.count > 1 and "{}" not in name:
            raise SpecError(f"The list {name!r} stands for {entry.count} lists; its name needs a {{}}.")
        if entry.count > 1 and entry.format == "paths" and "{}" not in entry.file:
            raise SpecError(f"The list {name!r} stands for {entry.count} files; `file` needs a {{}}.")
        for position in range(entry.count):
            number = str(entry.first + position)
            line = position if entry.format == "index_lines" else None
            title = name.replace("{}", number)
            paths = tuple(Path(os.path.normpath(folder / entry.file.replace("{}", number))) for folder in folders)
            expanded[title] = SampleList(title, entry, paths, line, by_name)
    return expanded


def read_list(sample_list: SampleList, pool: Pool, allowed_missing: int = 0) -> NDArray[np.int64]:
    """Return the sorted rows of the pool that are in the list.

    Names in the list without a sample in the pool are a DataMissingError, or logged when there are no more
    of them than `max_missing` of the list, or else `allowed_missing`, allows; in a complement, none by default: the
    sample of a name that is not understood would be in it.
    """
    path, entry = _find(sample_list), sample_list.entry
    position = {sample: row for row, sample in enumerate(pool.ids)}
    find = _finder(sample_list, position)
    lines = read_text(path, most=MOST_BYTES, error=DataError).removeprefix("\ufeff").splitlines()
    if entry.header and lines and not _is_sample(lines[0], sample_list, find, position):
        lines = lines[1:]
    if sample_list.line is None:
        wanted = [_sample_name(line, find) for line in lines if line.strip()]
    else:
        wanted = _numbered(sample_list, path, lines, pool)
    absent = [name for name in wanted if name not in position]
    if absent:
        text = (
            f"{len(absent)} of the {len(wanted)} samples in the list {sample_list.name!r} ({path}) are not in the pool "
            f"{sample_list.pool!r}: {shortened(list(map(repr, absent)), 3)}"
        )
        if entry.max_missing is None and not entry.complement:
            report_missing(text, len(absent), allowed_missing, DataMissingError)
        else:
            allowed = int((entry.max_missing or 0) * len(wanted))
            report_missing(text, len(absent), allowed, DataMissingError, "max_missing")
    rows = [position[name] for name in wanted if name in position]
    if len(set(rows)) != len(rows):
        twice = Counter(wanted).most_common(1)[0][0]
        raise DataError(f"The list {sample_list.name!r} ({path}) names the sample {twice!r} more than once.")
    if entry.complement:
        return np.setdiff1d(np.arange(len(pool), dtype=np.int64), np.array(rows, np.int64))
    return np.array(sorted(rows), np.int64)


def missing_files(lists: Mapping[str, SampleList]) -> list[Path]:
    """Return where the files of lists should be that are nowhere, each once."""
    nowhere = [entry.files for entry in lists.values() if not any(path.is_file() for path in entry.files)]
    return list(dict.fromkeys(files[0] for files in nowhere if files))


def _find(sample_list: SampleList) -> Path:
    for path in sample_list.files:
        if path.is_file():
            return path
    places = " or ".join(str(path) for path in sample_list.files) or "a folder under the data root"
    raise DataMissingError(
        f"The file of the list {sample_list.name!r} is missing: put it at {places}. "
        "It comes with the dataset's official download."
    )


def _finder(sample_list: SampleList, known: Mapping[str, int]) -> Callable[[str], str | None]:
    """Return what finds the id that a name stands for: the same, or the only one that is spelled alike.

    Accents may be written in another way; `by_name`, the folders of the path in any way.
    """
    form = _spelling if sample_list.by_name else composed
    spelled: dict[str, str | None] = {}
    for sample in known:
        alike = form(sample)
        spelled[alike] = None if alike in spelled else sample
    return lambda name: name if name in known else spelled.get(form(name))


def _spelling(sample: str) -> str:
    """Return a path whose folders are spelled plainly."""
    *folders, name = sample.split("/")
    return "/".join([*map(plain_form, folders), composed(name).casefold()])


def _is_sample(line: str, sample_list: SampleList, find: Callable[[str], str | None], known: Mapping[str, int]) -> bool:
    """Say whether a line names a sample, be it one that is not there: it ends as samples do."""
    if sample_list.line is not None:
        return all(word.isdecimal() for word in line.split())
    name = _sample_name(line, find)
    suffix = PurePosixPath(name).suffix.lower()
    return name in known or (suffix != "" and any(sample.lower().endswith(suffix) for sample in known))


def _sample_name(line: str, find: Callable[[str], str | None]) -> str:
    """Return the id a line begins with: all of it, or what stands before a tab, a comma or a label."""
    whole = line.strip().removeprefix("./").lstrip("/") or line.strip()
    candidates = (
        whole,
        whole.split("\t", 1)[0].strip(),
        whole.split(",", 1)[0].strip(),
        whole.rsplit(None, 1)[0],
        whole.split(None, 1)[0],
    )
    return next((found for name in candidates if (found := find(name)) is not None), candidates[-1])


def _numbered(sample_list: SampleList, path: Path, lines: Sequence[str], pool: Pool) -> list[str]:
    line = sample_list.line or 0
    filled = [text for text in lines if text.strip()]
    if line >= len(filled):
        raise DataError(f"The list {sample_list.name!r} is line {line + 1} of {path}, which has {len(filled)} lines.")
    if any(sample != row_id(row) for row, sample in enumerate(pool.ids)):
        raise SpecError(
            f"The list {sample_list.name!r} gives row numbers, but the samples of the pool {pool.name!r} are "
            "named by files, whose order is not a property of the dataset. Use `format: paths`."
        )
    try:
        return [row_id(int(text)) for text in filled[line].split()]
    except ValueError as error:
        raise DataError(f"Line {line + 1} of {path} must hold row numbers: {error}.") from error
