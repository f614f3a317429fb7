"""Seeded draws of samples: the same on every machine, with every numpy, in whatever order files are listed.

All draws order things by 64-bit words of numpy's PCG64 bit generator, ties by position. (Methods of
`Generator` such as `permutation` may change between versions of numpy; the words of a bit generator are
promised not to.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import DataError

Rows = NDArray[np.int64]
Amount = int | float | Literal["rest"]


def shuffled(count: int, bits: np.random.PCG64) -> Rows:
    """Return the numbers 0 .. count-1 in the order of the next `count` words of the generator."""
    return np.argsort(bits.random_raw(count), kind="stable").astype(np.int64)


def rounded(value: float) -> int:
    """Round to the nearest integer, halves up, also where a product like 0.29 * 50 falls short of its half."""
    return math.floor(value + 0.5 + 1e-9)


def by_id(ids: Sequence[str]) -> Rows:
    """Return the rows in lexicographic order of their ids (by code point)."""
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)


def draw_split(
    ids: Sequence[str], labels: NDArray[Any], parts: Sequence[Amount], seed: int, class_keys: Sequence[str]
) -> list[Rows]:
    """Draw disjoint parts of a pool, in sequence: `int` samples per class, a `float` share of a class, or the rest.

    For each class, in label order: its samples in lexicographic order of their ids are shuffled, and each
    part takes its number from the front, in the order of `parts`; what is left goes to "rest". A share is
    rounded to the nearest integer, halves up, or is what is left where that is less. One generator,
    PCG64(seed), serves all classes in turn.
    Multi-label samples (a matrix) are one stratum; an int is an error there.

    Returns sorted rows, one array per part. DataError where a class has too few samples.
    """
    order = by_id(ids)
    classes = strata(labels, order)
    bits = np.random.PCG64(seed)
    drawn: list[list[Rows]] = [[] for _ in parts]
    for stratum, rows in classes:
        name = "the pool" if labels.ndim == 2 else f"the class {class_keys[stratum]!r}"
        remaining = rows[shuffled(len(rows), bits)]
        for part, amount in enumerate(parts):
            if amount == "rest":
                continue
            wanted = _number(amount, len(rows), len(remaining))
            if wanted > len(remaining):
                raise DataError(
                    f"The split asks for {wanted} more samples of {name}, which has {len(rows)} in all "
                    f"and {len(remaining)} left."
                )
            drawn[part].append(remaining[:wanted])
            remaining = remaining[wanted:]
        if "rest" in parts:
            drawn[list(parts).index("rest")].append(remaining)
    return [_sorted_rows(pieces) for pieces in drawn]


def draw_some(ids: Sequence[str], count: int, seed: int) -> Rows:
    """Return `count` positions, sorted: the first of a seeded shuffle of the ids in lexicographic order."""
    order = by_id(ids)
    return np.sort(order[shuffled(len(order), np.random.PCG64(seed))][:count])


def hold_out(
    ids: Sequence[str],
    labels: NDArray[Any],
    groups: Sequence[str] | None = None,
    fraction: float = 0.1,
    seed: int = 0,
) -> tuple[Rows, Rows]:
    """Hold out a share of samples for validation; return the rows for training and for validation, sorted.

    Without groups: of each class, over its samples in lexicographic order of their ids, a share of
    `fraction` rounded to the nearest integer (halves up), at least one; a class with a single sample stays
    in training, because a class that is only validated cannot be learned. Multi-label samples are drawn
    without regard to labels, at least one.
    With groups: no group is on both sides; see `_hold_out_groups`.

    Raises DataError where nothing can be held out.
    """
    order = by_id(ids)
    if groups is not None:
        held = _hold_out_groups(order, labels, groups, fraction, seed)
    else:
        bits = np.random.PCG64(seed)
        pieces = []
        for _, rows in strata(labels, order):
            taken = min(max(1, rounded(fraction * len(rows))), len(rows) - 1)
            pieces.append(rows[shuffled(len(rows), bits)][:taken])
        held = _sorted_rows(pieces)
    if len(held) == 0:
        unit = "groups" if groups is not None else "samples"
        raise DataError(
            f"No validation samples can be held out of {len(ids)}: no class has two {unit}. "
            "Name a validation split in the task file (`splits: {val: ...}`)."
        )
    rest = np.ones(len(ids), bool)
    rest[held] = False
    return np.flatnonzero(rest).astype(np.int64), held


def stratified_limit(labels: NDArray[Any], limit: int, seed: int = 0) -> Rows:
    """Return at most `limit` positions of a split, each class in proportion to its share of the split, sorted.

    So a split that is cut and one that is smaller than the limit keep the same shares of the classes. A share
    below one sample counts as one; other shares are rounded down, and what that leaves goes to classes in turn,
    one sample each. The order of the turns is a seeded shuffle of the class indices that does not depend on the
    split, so that with fewer samples than classes train and test still hold the same classes (if all of them
    have all classes). Multi-label samples are drawn without regard to labels. A limit of the split's size or
    more changes nothing.
    """
    if limit < 1:
        raise ValueError(f"A limit must be 1 or more, not {limit}.")
    everything = np.arange(len(labels), dtype=np.int64)
    if limit >= len(labels):
        return everything
    bits = np.random.PCG64(seed)
    if labels.ndim == 2:
        return np.sort(shuffled(len(labels), bits)[:limit])
    # Words of the class indices are drawn for each index alone, so that an absent class shifts no other.
    classes = [rows[shuffled(len(rows), bits)] for _, rows in strata(labels, everything)]
    turns = [int(np.random.PCG64([seed, stratum]).random_raw()) for stratum in np.unique(labels).tolist()]
    counts = _shares(np.array([len(rows) for rows in classes]), limit, np.argsort(turns))
    return _sorted_rows([rows[:count] for rows, count in zip(classes, counts.tolist(), strict=True)])


def _shares(sizes: Rows, limit: int, turns: Rows) -> Rows:
    """Return how many of `limit` samples, fewer than there are, each class gets. turns: the classes in their order."""
    counts = np.zeros(len(sizes), np.int64)
    if limit <= len(sizes):
        counts[turns[:limit]] = 1
        return counts
    rare = np.zeros(len(sizes), bool)  # those whose share of what the others leave is at most one sample
    while True:
        left, total = limit - int(rare.sum()), int(sizes[~rare].sum())
        more = ~rare & (sizes * left <= total)
        if not more.any():
            break
        rare |= more
    counts[:] = np.where(rare, 1, sizes * left // total)
    uneven = turns[(~rare & (sizes * left % total > 0))[turns]]
    counts[uneven[: limit - int(counts.sum())]] += 1
    return counts


def _number(amount: int | float, count: int, left: int) -> int:
    return min(rounded(amount * count), left) if isinstance(amount, float) else amount


def strata(labels: NDArray[Any], order: Rows) -> list[tuple[int, Rows]]:
    """Return (class index, rows in the given order) by class index; a matrix is one stratum."""
    if labels.ndim == 2:
        return [(0, order)]
    ordered = labels[order]
    positions = np.argsort(ordered, kind="stable")
    present, starts = np.unique(ordered[positions], return_index=True)
    pieces = np.split(order[positions], starts[1:])
    return list(zip(present.tolist(), pieces, strict=True)) if len(present) else []


def _hold_out_groups(order: Rows, labels: NDArray[Any], groups: Sequence[str], fraction: float, seed: int) -> Rows:
    """Return the rows of whole groups that come nearest to `fraction` of each class.

    The groups, sorted by name and then shuffled, are taken one by one where that lessens the sum over
    classes of |held - fraction of the class| and leaves each class a training sample. Then each class
    that has nothing held out gets the group that harms this sum least, if there is one it can spare.
    """
    names = sorted(set(groups))
    number = {name: index for index, name in enumerate(names)}
    group_of = np.array([number[name] for name in groups], np.int64)
    class_of = np.zeros(len(order), np.int64) if labels.ndim == 2 else labels
    classes, class_of = np.unique(class_of, return_inverse=True)
    totals = np.bincount(class_of)
    counts = _group_counts(group_of, class_of, len(names))
    target, held = fraction * totals, np.zeros(len(classes), np.int64)
    taken: list[int] = []

    def harm(group: int) -> float:
        """By how much taking the group worsens the sum; infinite where a class would lose everything."""
        present, number_of = counts[group]
        after = held[present] + number_of
        if np.any(after >= totals[present]):
            return math.inf
        change = np.abs(after - target[present]) - np.abs(held[present] - target[present])
        return float(change.sum())

    def take(group: int) -> None:
        present, number_of = counts[group]
        held[present] += number_of
        taken.append(group)

    candidates = shuffled(len(names), np.random.PCG64(seed)).tolist()
    for group in candidates:
        if harm(group) < 0:
            take(group)
    members = _groups_of_classes(counts, len(classes), candidates)
    for index in range(len(classes)):
        if held[index] == 0:
            free = [group for group in members[index] if harm(group) < math.inf]
            if free:
                take(min(free, key=harm))
    return np.flatnonzero(np.isin(group_of, taken)).astype(np.int64)


def _group_counts(group_of: Rows, class_of: Rows, count: int) -> list[tuple[Rows, Rows]]:
    """Return, for each group, the classes in it and how many samples it has of each."""
    by_group = np.argsort(group_of)
    starts = np.searchsorted(group_of[by_group], np.arange(1, count))
    return [np.unique(class_of[rows], return_counts=True) for rows in np.split(by_group, starts)]


def _groups_of_classes(counts: list[tuple[Rows, Rows]], classes: int, order: Sequence[int]) -> list[list[int]]:
    """Return the groups that hold each class, in the given order."""
    members: list[list[int]] = [[] for _ in range(classes)]
    for group in order:
        for index in counts[group][0].tolist():
            members[index].append(group)
    return members


def _sorted_rows(pieces: Sequence[Rows]) -> Rows:
    return np.sort(np.concatenate(pieces)).astype(np.int64) if pieces else np.empty(0, np.int64)
