"""Places of a table: which rows are told apart, by hand, and how often that is wrong of rows that are equal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from evalsuite.records import Interval
from evalsuite.report.formats import to_json, to_markdown
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.pairing import Spread
from evalsuite.report.places import ALPHA, told_ahead
from evalsuite.report.table import Leaderboard
from evalsuite.results.numbers import Number, Numbers
from evalsuite.stats import clopper_pearson, deviations, mcnemar_p
from tests.report.conftest import Bench

UNKNOWN = (np.inf, np.inf)


def ahead(
    values: Sequence[Sequence[float]], arms: object, paired: Sequence[dict[tuple[int, int], Spread]]
) -> list[str]:
    """Return "AB" where the first row, A, is ahead of the second, and so on."""
    found = told_ahead(np.array(values), np.array(arms, dtype=float), paired)
    return ["ABCDEFG"[one] + "ABCDEFG"[two] for one, two in np.argwhere(found)]


def of_counts(first: int, second: int, n: int) -> Spread:
    """Return what is known of a pair of which one alone is right so often."""
    return Spread((first + second) ** 0.5 / n, mcnemar_p(first, second))


# --- by hand ---


def test_one_task_of_logged_samples_is_decided_by_the_exact_test_and_holm() -> None:
    # Six samples speak for A and none for B: p = 2 / 2**6 = 0.031.
    two = ahead([[0.86, 0.80]], [[UNKNOWN] * 2], [{(0, 1): of_counts(6, 0, 100)}])
    assert two == ["AB"]
    # A third row like B makes it three pairs: 3 * 0.031 = 0.094.
    pairs = {(0, 1): of_counts(6, 0, 100), (0, 2): of_counts(6, 0, 100), (1, 2): of_counts(0, 0, 100)}
    assert ahead([[0.86, 0.80, 0.80]], [[UNKNOWN] * 3], [pairs]) == []
    # Twelve samples: 3 * 2 / 2**12 = 0.0015.
    pairs |= {(0, 1): of_counts(12, 0, 100), (0, 2): of_counts(12, 0, 100)}
    assert ahead([[0.80, 0.92, 0.80]], [[UNKNOWN] * 3], [{(0, 1): pairs[0, 1], (1, 2): pairs[0, 2]}]) == ["BA", "BC"]


@pytest.mark.parametrize(("first", "told"), [(8, []), (9, ["AB"])])
def test_variances_of_tasks_add_up(first: int, told: list[str]) -> None:
    # Of 100 samples each: (8 - 2 + 6 - 4) / sqrt(8 + 2 + 6 + 4) = 1.79 and 9 / sqrt(21) = 1.964, just above 1.960.
    paired = [{(0, 1): of_counts(first, 2, 100)}, {(0, 1): of_counts(6, 4, 100)}]
    values = [[0.5 + (first - 2) / 100, 0.5], [0.52, 0.5]]
    assert ahead(values, [[UNKNOWN] * 2] * 2, paired) == told


@pytest.mark.parametrize(("value", "told"), [(0.548, []), (0.550, ["AB"])])
def test_without_samples_the_arms_towards_each_other_decide(value: float, told: list[str]) -> None:
    # sqrt(0.02**2 + 0.015**2) = 0.025; 1.96 of them are 0.049. The far arms have no say.
    assert ahead([[value, 0.5]], [[(0.02, 9.0), (9.0, 0.015)]], [{}]) == told


def test_what_nothing_is_known_of_is_ahead_of_nothing() -> None:
    assert ahead([[1.0, 0.0]], [[UNKNOWN, (0.01, 0.01)]], [{}]) == []


def test_ahead_of_a_row_that_is_ahead_of_a_third_is_ahead_of_the_third() -> None:
    sure = Spread(0.001, 1e-6)
    assert ahead([[0.9, 0.8, 0.7]], [[UNKNOWN] * 3], [{(0, 1): sure, (1, 2): sure}]) == ["AB", "AC", "BC"]


# --- how often it is wrong ---


def drawn(shares: np.ndarray, sizes: Sequence[int], rng: np.random.Generator, logged: bool) -> np.ndarray:
    """Return which rows are told apart on drawn samples. shares: (tasks, rows), how often each is right.

    Half of the answers to a sample are what all rows would say, so that their errors go together.
    """
    values, arms, paired = [], [], []
    for own, n in zip(shares, sizes, strict=True):
        easy, chance = rng.random((1, n)), rng.random((len(own), n))
        right = np.where(rng.random((1, n)) < 0.5, easy, chance) < own[:, None]
        values.append(right.mean(axis=1))
        intervals = [clopper_pearson(int(hits), n) for hits in right.sum(axis=1)]
        z = deviations(0.995)
        arms.append([((v - i.low) / z, (i.high - v) / z) for v, i in zip(values[-1], intervals, strict=True)])
        alone = {(a, b): int((right[a] & ~right[b]).sum()) for a in range(len(own)) for b in range(len(own))}
        paired.append({(a, b): of_counts(alone[a, b], alone[b, a], n) for a, b in alone if a < b} if logged else {})
    return told_ahead(np.array(values), np.array(arms), paired)


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize(
    ("shares", "sizes"),
    [
        ([[0.8] * 5], [100]),
        ([[0.8] * 5, [0.5] * 5, [0.97] * 5], [36, 400, 100]),
        ([[0.9, 0.8, 0.7, 0.6], [0.6, 0.7, 0.8, 0.9]], [60, 60]),  # equal on average alone
        ([[0.98, 0.98, 0.98], [0.99, 0.99, 0.99]], [100, 50]),
    ],
)
def test_rows_that_are_equal_are_seldom_told_apart(shares: list[list[float]], sizes: list[int], logged: bool) -> None:
    rng, trials = np.random.default_rng(5), 400
    wrong = sum(drawn(np.array(shares), sizes, rng, logged).any() for _ in range(trials))
    assert wrong / trials <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / trials) ** 0.5


def test_of_rows_that_differ_and_rows_that_do_not_only_the_first_are_told_apart() -> None:
    shares = np.array([[0.9, 0.9, 0.75, 0.75]] * 3)
    rng, trials = np.random.default_rng(6), 200
    found = [drawn(shares, [400] * 3, rng, logged=True) for _ in range(trials)]
    assert np.mean([told[:2, 2:].all() for told in found]) > 0.95
    assert np.mean([told[0, 1] or told[1, 0] or told[2, 3] or told[3, 2] for told in found]) <= 0.1


# --- in a table ---


def places(board: Leaderboard) -> dict[str, str]:
    return {row.model: row.places.label if row.places else "" for row in board.rows}


def wide(bench: Bench) -> Numbers:
    """Return what is in the store, with the intervals that follow from the number of samples alone."""
    return Numbers(tuple(replace(number, interval=None) for number in Numbers.of(bench.read()).numbers))


@pytest.mark.parametrize(("value", "found"), [(0.548, "1–2"), (0.550, "1")])
def test_of_two_intervals_the_ends_towards_each_other_decide(value: float, found: str) -> None:
    one = deviations(0.995)
    bounds = {value: (value - 0.02 * one, 1.0), 0.5: (0.0, 0.5 + 0.015 * one)}
    numbers = [
        Number(
            model=f"m/{share}", name="m", protocol="p", task="t", metric="accuracy", value=share,
            interval=Interval(low=low, high=high, level=0.995, method="clopper-pearson"),
        )
        for share, (low, high) in bounds.items()
    ]  # fmt: skip
    assert places(build_leaderboard(Numbers(tuple(numbers))))[f"m/{value}"] == found


def test_a_small_difference_is_told_where_samples_were_logged_and_not_without(bench: Bench) -> None:
    bench.add("m/a", "t1", 0.1)
    bench.add("m/b", "t1", 0.4)
    numbers = wide(bench)
    assert places(build_leaderboard(numbers)) == {"m/a": "1", "m/b": "2"}
    in_memory = Numbers(tuple(replace(number, stored=None) for number in numbers.numbers))  # where no samples are
    assert places(build_leaderboard(in_memory)) == {"m/a": "1–2", "m/b": "1–2"}


@pytest.mark.parametrize("options", [{"metric": "mean_per_class_recall"}, {"folds": 3}])
def test_other_metrics_and_folds_are_told_apart_by_a_bootstrap(bench: Bench, options: dict[str, object]) -> None:
    for model, noise in (("m/a", 0.1), ("m/b", 0.5), ("m/c", 0.1)):
        bench.add(model, "t1", noise, **options)
    found = places(build_leaderboard(Numbers.of(bench.read())))
    assert found == {"m/a": "1–2", "m/b": "3", "m/c": "1–2"}


def test_samples_that_are_damaged_or_of_other_images_decide_nothing(bench: Bench) -> None:
    bench.add("m/a", "t1", 0.1)
    bench.add("m/b", "t1", 0.4, first=1)  # one sample is another
    assert set(places(build_leaderboard(wide(bench))).values()) == {"1–2"}
    bench.add("m/b", "t1", 0.4)
    assert places(build_leaderboard(wide(bench))) == {"m/a": "1", "m/b": "2"}
    for path in bench.store.root.rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])
    assert set(places(build_leaderboard(wide(bench))).values()) == {"1–2"}


def test_only_whole_rows_have_places_and_every_format_says_them(bench: Bench) -> None:
    for model, noise in (("m/a", 0.1), ("m/b", 0.1), ("m/c", 1.5)):
        for name in ("t1", "t22"):
            bench.add(model, name, noise)
    bench.add("m/d", "t1", 0.1)
    board = build_leaderboard(Numbers.of(bench.read()))
    assert places(board) == {"m/a": "1–2", "m/b": "1–2", "m/c": "3", "m/d": ""}
    lines = to_markdown(board).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")][6:8] == ["average", "place"]
    assert "  1–2 |" in lines[2] and any(line.startswith("- place: ") for line in lines)
    frame = board.to_frame()
    assert frame["first_place"].dropna().tolist() == [1, 1, 3] and frame["last_place"].dropna().tolist() == [2, 2, 3]
    told = [row["places"] for row in json.loads(to_json(board))["rows"]]
    assert told[0] == {"first": 1, "last": 2, "alike": [1]} and told[2]["alike"] == [] and told[3] is None


def test_one_row_has_no_place(bench: Bench) -> None:
    bench.add("m/a", "t1", 0.1)
    text = to_markdown(build_leaderboard(Numbers.of(bench.read())))
    assert "place" not in text
