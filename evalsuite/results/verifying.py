"""Look at everything that is stored of results: records, samples, imports, the tables that ship."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evalsuite.errors import EvalsuiteError
from evalsuite.records import Result
from evalsuite.results.bias_tables import read_bias_paper
from evalsuite.results.consistency import interval_contradiction
from evalsuite.results.figures import read_figures, read_retrieval
from evalsuite.results.head_files import head_paths
from evalsuite.results.heads import read_head
from evalsuite.results.imported import read_imported
from evalsuite.results.layouts import load_layouts
from evalsuite.results.published import read_papers
from evalsuite.results.record_files import record_files
from evalsuite.results.samples import gives_its_value, samples_of, value_of
from evalsuite.results.shift import read_shift_tables
from evalsuite.results.store import StoredResult, UnreadableRecordError, misplaced, read_result
from evalsuite.seals import is_sealed


@dataclass(frozen=True)
class Checked:
    """What was looked at: how many files, how many of them are from before there were checksums, what is wrong."""

    what: str
    files: int
    unsealed: int = 0
    problems: tuple[str, ...] = ()


def verify_results(folder: Path, wanted: Callable[[Result], bool] = lambda result: True) -> Checked:
    """Look at the records under a folder that are `wanted`, and at their samples."""
    files = unsealed = 0
    problems: list[str] = []
    for path in record_files([folder]):
        try:
            result = read_result(path)
            if not wanted(result):
                continue
            problems += [f"{path} {problem}" for problem in _problems(path, result)]
            unsealed += not is_sealed(path.read_bytes())
        except (OSError, UnreadableRecordError) as error:
            problems.append(f"{path}: {error}")
        files += 1
    return Checked(f"results in {folder}", files, unsealed, tuple(problems))


def verify_tables() -> list[Checked]:
    """Look at the tables that ship, and at the imports of this machine."""
    return [_read("published tables", _published), _read("imported tables", read_imported)]


def _published() -> tuple[object, ...]:
    words, bias = read_figures(), read_bias_paper()
    return (*read_papers(), *read_shift_tables(), read_retrieval(), words, bias, *load_layouts().values())


def _read(what: str, read: Callable[[], tuple[object, ...]]) -> Checked:
    try:
        return Checked(what, len(read()))
    except (OSError, EvalsuiteError) as error:
        return Checked(what, 1, problems=(str(error),))


def _problems(path: Path, result: Result) -> Iterator[str]:
    if problem := misplaced(path, result):
        yield problem
    if problem := interval_contradiction(result):
        yield f"contradicts itself: {problem}; run it again"
    yield from _of_the_head(path)
    stored = StoredResult(path, result)
    if result.samples is not None and stored.samples is None:
        yield f"names {result.samples}, which is not there; run it again with --log-samples --overwrite"
    try:
        logged = samples_of(stored, scores=True)
        usable = logged is not None and len(logged.ids) and np.isfinite(logged.scores).all()
        if logged is None or result.metric is None or not usable:
            return
        if not gives_its_value(result, value_of(logged, result.metric.name)):
            yield "has samples that give another value; log them again with --log-samples --overwrite"
    except EvalsuiteError as error:
        yield f"has samples that cannot be used: {error}"


def _of_the_head(record: Path) -> Iterator[str]:
    if any(file.exists() for file in head_paths(record)):
        try:
            read_head(record)
        except EvalsuiteError as error:
            yield f"has a head that cannot be used: {error}"
