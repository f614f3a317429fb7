"""The campaign that breaks lines: what it breaks, and that it tells a test that notices from one that does not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.campaign._breaking import breakages
from tests.campaign.mutants import ROOT, TESTS, bench

SOURCE = b'''\
"""A module."""

def share(hits: int, total: int = 1) -> float:
    """Return a share."""
    if total < 1:
        raise ValueError(f"no {total + 1}")
    return hits / max(total, 1)


def key(name, size):
    return hash(tuple([name, size]))
'''


def test_every_place_is_broken_once_and_messages_are_left_alone() -> None:
    found = breakages(SOURCE)
    assert {one.told(SOURCE) for one in found} == {
        "line 3: 1 -> (2)",
        "line 5: total < 1 -> (not (total < 1))",
        "line 5: total < 1 -> (total <= 1)",
        "line 5: 1 -> (2)",
        'line 6: raise ValueError(f"no {total + 1}") -> pass',
        "line 7: hits / max(total, 1) -> (hits * max(total, 1))",
        "line 7: max -> (min)",
        "line 7: 1 -> (2)",
        "line 11: [name, size] -> ([size])",
        "line 11: [name, size] -> ([name])",
    }
    for one in found:
        ast.parse(one.applied(SOURCE))


def test_a_breakage_that_no_test_notices_is_told_from_one_that_a_test_does(tmp_path: Path) -> None:
    (tmp_path / "shares.py").write_bytes(SOURCE)
    (tmp_path / "test_shares.py").write_text(
        "from shares import share\n\ndef test_it():\n    assert share(1, 4) == 0.25\n"
    )
    told = {one.told(SOURCE): one for one in breakages(SOURCE)}
    with bench(tmp_path, libraries=()) as used:
        assert used.passes(["test_shares.py"], 60)
        for stamp, (what, noticed) in enumerate([("line 7: max -> (min)", True), ("line 7: 1 -> (2)", False)], 1):
            assert used.notices("shares.py", told[what], ["test_shares.py"], 60, stamp) == noticed
    assert (tmp_path / "shares.py").read_bytes() == SOURCE


@pytest.mark.parametrize("module", TESTS)
def test_what_is_broken_and_its_tests_are_there(module: str) -> None:
    assert (ROOT / module).is_file() and all((ROOT / name).exists() for name in TESTS[module])
