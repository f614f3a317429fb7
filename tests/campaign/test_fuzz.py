"""The first attacks of the campaigns `fuzz` and `hostile`: nothing is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign.frame import findings, rounds_of


@pytest.mark.parametrize(("name", "attacks"), [("fuzz", 25), ("hostile", 12)])
def test_a_slice_of_the_campaign(name: str, attacks: int, tmp_path: Path) -> None:
    assert findings(rounds_of(name), tmp_path, attacks, seed=3) == []
