"""Seeded draws: hold-outs, limits, sampled splits."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.data.drawing import draw_some, draw_split, hold_out, rounded, shuffled, stratified_limit
from evalsuite.errors import DataError

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=120)


def names(count):
    # lexicographic order differs from numeric order
    return [f"img{row}.png" for row in range(count)]


def test_the_draw_is_the_published_one():
    # Pinned: a change of numpy or of this code that moves samples between splits must be seen.
    assert shuffled(8, np.random.PCG64(0)).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]


@pytest.mark.parametrize(("value", "nearest"), [(0.5, 1), (1.5, 2), (2.5, 3), (0.29 * 50, 15), (0.49, 0)])
def test_rounding_is_halves_up(value, nearest):
    assert rounded(value) == nearest


def test_nothing_is_drawn_of_nothing():
    assert shuffled(0, np.random.PCG64(0)).tolist() == []
    empty = np.array([], np.int64)
    assert [part.tolist() for part in draw_split([], empty, [1, 0.5, "rest"], 0, [])] == [[], [], []]
    assert stratified_limit(empty, 3).tolist() == draw_some([], 3, 0).tolist() == []
    with pytest.raises(DataError, match="held out of 0"):
        hold_out([], empty)


def test_the_first_seed_and_a_tenth_are_meant_where_nothing_is_said():
    labels = np.repeat([0, 1], 40)
    said = hold_out(names(80), labels, None, 0.1, 0)
    assert [rows.tolist() for rows in hold_out(names(80), labels)] == [rows.tolist() for rows in said]
    assert stratified_limit(labels, 7).tolist() == stratified_limit(labels, 7, 0).tolist()


@given(LABELS, st.integers(0, 3), st.randoms())
@settings(max_examples=60, deadline=None)
def test_hold_out_partitions_and_ignores_the_listing_order(labels, seed, random):
    ids = names(len(labels))
    array = np.array(labels)
    if np.unique(array, return_counts=True)[1].max() < 2:
        with pytest.raises(DataError):
            hold_out(ids, array, seed=seed)
        return
    train, val = hold_out(ids, array, seed=seed)
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(labels)))
    for label in set(labels):
        count, held = labels.count(label), int(np.sum(array[val] == label))
        assert held == (0 if count == 1 else max(1, rounded(0.1 * count)))
    order = list(range(len(labels)))
    random.shuffle(order)
    _, val_again = hold_out([ids[row] for row in order], array[order], seed=seed)
    assert {ids[row] for row in val} == {ids[order[row]] for row in val_again}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=2, max_size=150), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_no_group_is_on_both_sides_and_no_class_is_only_validated(pairs, seed):
    labels = np.array([label for label, _ in pairs])
    groups = [f"g{group}" for _, group in pairs]
    try:
        train, val = hold_out(names(len(pairs)), labels, groups, seed=seed)
    except DataError:
        # allowed only where every group has all samples of some class
        for group in set(groups):
            inside = np.array([name == group for name in groups])
            assert any(inside[labels == label].all() for label in set(labels[inside].tolist()))
        return
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(pairs)))
    assert not {groups[row] for row in train} & {groups[row] for row in val}
    assert set(labels[train].tolist()) == set(labels.tolist())


def test_grouped_hold_out_is_near_a_tenth_when_groups_span_all_classes():
    rng = np.random.default_rng(0)
    rows = [(label, group) for label in range(20) for group in range(18) for _ in range(rng.integers(4, 8))]
    labels = np.array([label for label, _ in rows])
    _, val = hold_out(names(len(rows)), labels, [f"g{group:02d}" for _, group in rows])
    assert 0.08 < len(val) / len(rows) < 0.14
    assert len(set(labels[val].tolist())) == 20


def test_grouped_hold_out_gives_each_class_something_when_groups_are_of_one_class():
    rows = [(label, f"{label}-{group}") for label in range(10) for group in range(6) for _ in range(5)]
    labels = np.array([label for label, _ in rows])
    _, val = hold_out(names(len(rows)), labels, [group for _, group in rows])
    assert np.bincount(labels[val], minlength=10).tolist() == [5] * 10


def test_groups_of_multilabel_samples_stay_together():
    groups = [f"g{row // 5:02d}" for row in range(100)]
    train, val = hold_out(names(100), np.random.default_rng(0).integers(0, 2, (100, 3)), groups)
    assert (len(train), len(val)) == (90, 10)
    assert not {groups[row] for row in train} & {groups[row] for row in val}


def test_multilabel_hold_out_takes_a_tenth():
    labels = np.zeros((50, 3), np.int8)
    train, val = hold_out(names(50), labels)
    assert (len(train), len(val)) == (45, 5)
    with pytest.raises(DataError, match="held out of 1: no class has two samples"):
        hold_out(names(1), labels[:1])
    with pytest.raises(DataError, match="held out of 2: no class has two groups"):
        hold_out(names(2), np.zeros(2, np.int64), ["one", "one"])


@given(LABELS, st.integers(1, 130), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_a_limit_gives_each_class_its_share_and_none_nothing(labels, limit, seed):
    array = np.array(labels)
    rows = stratified_limit(array, limit, seed)
    assert len(rows) == min(limit, len(labels))
    assert len(set(rows.tolist())) == len(rows)
    assert rows.tolist() == sorted(rows.tolist())
    if limit >= len(labels):
        return
    taken = {label: int(np.sum(array[rows] == label)) for label in set(labels)}
    assert min(taken.values()) >= (1 if limit >= len(taken) else 0)
    common = [label for label in taken if taken[label] > 1]
    share = (limit - (len(taken) - len(common))) / max(1, sum(labels.count(label) for label in common))
    for label in common:  # of what those leave that have a single sample
        assert abs(taken[label] - share * labels.count(label)) <= 1


def test_a_limit_leaves_the_shares_of_the_classes_alike_in_every_split():
    """Train is cut and validation, smaller than the limit, is not: a fit on both has the class prior of either."""
    train, val = np.repeat([0, 1, 2], [4000, 800, 200]), np.repeat([0, 1, 2], [400, 80, 20])
    kept = train[stratified_limit(train, 500)]
    assert np.bincount(kept).tolist() == np.bincount(val[stratified_limit(val, 500)]).tolist() == [400, 80, 20]
    fitted, held = hold_out(names(500), kept)
    assert np.bincount(kept[fitted]).tolist() == [360, 72, 18] and np.bincount(kept[held]).tolist() == [40, 8, 2]


def test_equal_classes_differ_by_one_sample_at_most_and_the_same_ones_have_it():
    for count in (30, 70):
        labels = np.repeat(np.arange(10), count)
        counts = np.bincount(labels[stratified_limit(labels, 12)])
        assert sorted(counts.tolist()) == [1] * 8 + [2] * 2
        assert np.flatnonzero(counts == 2).tolist() == [2, 7]


def test_limit_keeps_the_same_classes_in_train_and_test():
    train = np.repeat(np.arange(20), 30)
    test = np.random.default_rng(1).permutation(np.repeat(np.arange(20), 7))
    chosen = set(train[stratified_limit(train, 6, 0)].tolist())
    assert len(chosen) == 6
    assert chosen == set(test[stratified_limit(test, 6, 0)].tolist())
    assert chosen != set(train[stratified_limit(train, 6, 1)].tolist())


def test_limit_of_multilabel_samples():
    rows = stratified_limit(np.zeros((30, 4), np.int8), 7)
    assert len(set(rows.tolist())) == 7
    with pytest.raises(ValueError, match="1 or more"):
        stratified_limit(np.zeros(3, np.int64), 0)


def test_parts_of_a_draw():
    labels = np.array([0] * 10 + [1] * 20)
    train, val, test = draw_split(names(30), labels, [3, 0.25, "rest"], 7, ["a", "b"])
    assert np.bincount(labels[train]).tolist() == [3, 3]
    assert np.bincount(labels[val]).tolist() == [3, 5]  # 2.5 is rounded up
    assert sorted([*train, *val, *test]) == list(range(30))
    other = draw_split(names(30), labels, [3, 0.25, "rest"], 8, ["a", "b"])[0]
    assert other.tolist() != train.tolist()


def test_a_draw_of_more_than_there_is():
    with pytest.raises(DataError, match="class 'b', which has 2"):
        draw_split(names(7), np.array([0] * 5 + [1] * 2), [3, "rest"], 0, ["a", "b"])
    with pytest.raises(DataError, match="3 more samples of the pool, which has 2 in all and 2 left"):
        draw_split(names(2), np.zeros((2, 4), np.int8), [3], 0, list("abcd"))
    first, rest = draw_split(names(3), np.zeros(3, np.int64), [3, "rest"], 0, ["a"])
    assert first.tolist() == [0, 1, 2] and rest.tolist() == []


def test_shares_that_sum_to_one_leave_nothing():
    first, second = draw_split(names(3), np.zeros(3, np.int64), [0.5, 0.5], 0, ["a"])
    assert (len(first), len(second)) == (2, 1)


def drawn_of_many_problems():
    """Draw splits of random problems, small ones with ties and large ones."""
    rng, found = np.random.default_rng(0), []
    for count in (3, 7, 20, 60, 200):
        for classes in (1, 3, 8):
            labels = rng.integers(0, classes, count)
            groups = [f"g{group}" for group in rng.integers(0, max(3, count // 4), count)]
            ids = names(count)
            for seed in (0, 1):
                for kept in (None, groups):
                    with suppress(DataError):
                        found += [rows.tolist() for rows in hold_out(ids, labels, kept, seed=seed)]
                found += [stratified_limit(labels, limit, seed).tolist() for limit in (1, classes, 5, count // 2 + 1)]
                with suppress(DataError):
                    found += [part.tolist() for part in draw_split(ids, labels, [1, 0.3, "rest"], seed, "abcdefgh")]
                found.append(draw_some(ids, count // 2, seed).tolist())
    return found


def test_the_splits_of_stored_results_are_drawn_as_they_were():
    """Pinned: whatever moves a sample to another split makes numbers that nobody can compare."""
    found = drawn_of_many_problems()
    assert len(found) > 300
    assert hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16] == "4bec8508e6b67e68"


def test_all_draws_are_rows_of_one_type():
    labels = np.array([0, 1, 0, 1])
    drawn = [
        *hold_out(names(4), labels),
        stratified_limit(labels, 9),
        stratified_limit(labels, 2),
        draw_some(names(4), 2, 0),
    ]
    assert {rows.dtype for rows in drawn} == {np.dtype(np.int64)}
