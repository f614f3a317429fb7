"""What a number says of itself: its interval, and how it is written."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from evalsuite.records import Interval
from evalsuite.results.numbers import Number


def number(value: float, **known: object) -> Number:
    """Return a number of a metric."""
    fields = {"model": "m", "name": "M", "protocol": "p", "task": "t", "metric": "map_11_point", **known}
    return Number(value=value, **fields)  # type: ignore[arg-type]


def test_the_interval_of_a_record_comes_before_one_by_the_test_size() -> None:
    own = Interval(low=0.1, high=0.9, level=0.9, method="bootstrap")
    assert number(0.5, n=100, interval=own).confidence() is own
    assert number(0.5, interval=own).confidence() is own
    assert number(0.5).confidence() is number(0.5, n=0).confidence() is None


@pytest.mark.parametrize(("value", "n", "right"), [(0.854, 3669, 3133), (1.0, 10, 10), (0.0, 10, 0), (0.999, 100, 100)])
def test_a_published_number_has_clopper_and_pearsons_on_the_test_size(value: float, n: int, right: int) -> None:
    found, expected = number(value, n=n).confidence(), binomtest(right, n).proportion_ci(0.995)
    assert found is not None and found.level == 0.995
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_value_is_written_in_percent_with_its_mark() -> None:
    assert (number(0.12345).percent, number(0.12345, partial=True).percent) == ("12.3", "12.3*")
