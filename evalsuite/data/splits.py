"""The splits of a task: the three rules, their sizes, and what the protocols draw from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import Fold, Pool, Split
from evalsuite.data.drawing import Amount, draw_some, draw_split
from evalsuite.data.lists import SampleList, read_list
from evalsuite.errors import DataError, DataMissingError, SpecError
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.split_rules import Draw, FoldSplits, OfficialSplits, SampledSplits
from evalsuite.text import counted


def resolve_folds(
    task: TaskSpec, open_pool: Callable[[str], Pool], lists: Mapping[str, SampleList], *, test_only: bool = False
) -> tuple[Fold, ...]:
    """Return the train/validation/test splits of a task, one Fold, or several for the rule `folds`.

    A name of the rules `official` and `folds` is a list of the source, else a pool of it. The rule
    `sample` draws from one pool, as `evalsuite.data.drawing.draw_split` says, train first, then val and
    test. Splits of one fold that share a sample are a DataError. test_only: those for training are empty.
    """
    rule = task.splits

    @functools.cache  # a test set that serves all folds is resolved once
    def split(name: str) -> Split:
        if name not in lists:
            return Split(name, np.arange(len(open_pool(name)), dtype=np.int64))
        pool = open_pool(lists[name].pool)
        return Split(pool.name, read_list(lists[name], pool, task.max_unreadable))

    if isinstance(rule, SampledSplits):
        folds = [_sampled(task, rule, open_pool(rule.pool))]
    elif isinstance(rule, FoldSplits):
        folds = [_named(rule, str(rule.first + number), split, test_only) for number in range(rule.count)]
    else:
        fold = _named(rule, "", split, test_only)
        folds = [fold if rule.draw is None else _drawn(task, rule.draw, fold, open_pool)]
    for number, fold in enumerate([] if test_only else folds):
        _check_disjoint(task, fold, number if len(folds) > 1 else None, open_pool)
    return tuple(folds)


def check_sizes(task: TaskSpec, folds: tuple[Fold, ...], names: Sequence[str] = ("train", "val", "test")) -> None:
    """Compare the splits (those of `names`) with the sizes the task file states, if it calls them exact.

    Raises DataMissingError where samples are missing, DataError where there are too many.
    """
    sizes = task.sizes
    for name in names:
        expected = getattr(sizes, name)
        if expected is None or not sizes.exact:
            continue
        per_fold = expected if isinstance(expected, list) else [expected] * len(folds)
        if len(per_fold) != len(folds):
            listed, needed = counted(len(per_fold), "number"), counted(len(folds), "fold")
            raise SpecError(f"Task {task.name!r}: `sizes.{name}` lists {listed} for {needed}.")
        for number, (fold, wanted) in enumerate(zip(folds, per_fold, strict=True)):
            found = len(fold.splits.get(name, ()))
            if found == wanted:
                continue
            where = f" of fold {number}" if len(folds) > 1 else ""
            kind = DataMissingError if found < wanted else DataError
            raise kind(
                f"Task {task.name!r}: the split {name!r}{where} has {counted(found, 'sample')} where the task file "
                f"says exactly {wanted}. The data is {'incomplete' if found < wanted else 'another edition'}; "
                "get the official one, or, if it is right, correct `sizes` in the task file (or `exact: false`)."
            )


def _sampled(task: TaskSpec, rule: SampledSplits, pool: Pool) -> Fold:
    parts: list[Amount] = [rule.train, rule.test] if rule.val is None else [rule.train, rule.val, rule.test]
    _check_amounts(task, parts)
    try:
        rows = draw_split(pool.ids, pool.labels, parts, rule.seed, task.class_keys)
    except DataError as error:
        raise DataError(f"Task {task.name!r}, pool {pool.name!r}: {error}") from error
    splits = [Split(pool.name, part) for part in rows]
    return Fold(splits[0], None if rule.val is None else splits[1], splits[-1])


def _check_amounts(task: TaskSpec, parts: list[Amount]) -> None:
    place = f"Task {task.name!r}: `splits`"
    if parts.count("rest") > 1:
        raise SpecError(f"{place}: only one split can be the `rest`.")
    shares = [part for part in parts if isinstance(part, float)]
    if any(not 0 < share < 1 for share in shares) or sum(shares) > 1 + 1e-9:
        raise SpecError(f"{place}: shares must lie between 0 and 1 and sum to 1 at most; they are {shares}.")
    numbers = [part for part in parts if isinstance(part, int)]
    if any(number < 1 for number in numbers):
        raise SpecError(f"{place}: numbers per class must be 1 or more; they are {numbers}.")
    if numbers and task.multilabel:
        raise SpecError(f"{place}: samples per class have no meaning where a sample has several classes.")


def _named(rule: OfficialSplits | FoldSplits, number: str, split: Callable[[str], Split], test_only: bool) -> Fold:
    def find(name: str) -> Split:
        return split(name.replace("{}", number))

    test = find(rule.test)
    if test_only:
        return Fold(Split(test.pool, test.rows[:0]), None, test)
    return Fold(find(rule.train), None if rule.val is None else find(rule.val), test)


def _drawn(task: TaskSpec, draw: Draw, fold: Fold, open_pool: Callable[[str], Pool]) -> Fold:
    """Return the fold with only so many samples of each split as `draw` says."""
    drawn = {}
    for name, split in fold.splits.items():
        count: int | None = getattr(draw, name)
        if count is None or len(split) == 0:
            continue
        if count > len(split):
            raise DataMissingError(
                f"Task {task.name!r}: `splits.draw` asks for {count} samples of {name!r}, which has {len(split)}."
            )
        ids = open_pool(split.pool).ids
        rows = split.rows[draw_some([ids[row] for row in split.rows], count, draw.seed)]
        drawn[name] = Split(split.pool, rows)
    return replace(fold, **drawn)


def _check_disjoint(task: TaskSpec, fold: Fold, number: int | None, open_pool: Callable[[str], Pool]) -> None:
    where = "" if number is None else f" of fold {number}"
    for name, split in fold.splits.items():
        if len(split) == 0:
            raise DataMissingError(f"Task {task.name!r}: the split {name!r}{where} has no sample.")
    for (name, split), (other_name, other) in combinations(fold.splits.items(), 2):
        common = _common(split, other, open_pool)
        if common:
            shared = counted(len(common), "sample")
            raise DataError(
                f"Task {task.name!r}: splits {name!r} and {other_name!r}{where} share {shared}, such as {common[0]!r}; "
                "a score on them would be worth nothing. Correct the lists, or the pools."
            )


def _common(split: Split, other: Split, open_pool: Callable[[str], Pool]) -> list[str]:
    """Return the ids of samples of a split that are in another one, too, be it as a link, or by another pool."""
    pool, other_pool = open_pool(split.pool), open_pool(other.pool)
    if split.pool == other.pool:
        rows = np.intersect1d(split.rows, other.rows)
    elif pool.rows_of and pool.rows_of == other_pool.rows_of:
        known = {other_pool.ids[row] for row in other.rows}
        rows = np.array([row for row in split.rows if pool.ids[row] in known], np.int64)
    else:
        files, known_files = _files(pool, split.rows), _files(other_pool, other.rows)
        rows = np.array(sorted(files[key] for key in files.keys() & known_files.keys()), np.int64)
    return [pool.ids[row] for row in rows]


def _files(pool: Pool, rows: NDArray[np.int64]) -> dict[tuple[int, ...], int]:
    """Return what the file system knows the files of samples by -> row; empty where it does not number files."""
    if pool.states is None or pool.mtimes is None:
        return {}
    keys = np.column_stack([pool.states[rows], pool.mtimes[rows], pool.sizes[rows]])
    return {tuple(key): row for key, row in zip(keys.tolist(), rows.tolist(), strict=True) if key[0]}
