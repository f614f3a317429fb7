"""A slice of the campaign `corrupt`."""

from __future__ import annotations

from pathlib import Path

from tests.campaign.corrupt import rounds
from tests.campaign.frame import findings


def test_no_damage_gives_another_number(tmp_path: Path) -> None:
    assert findings(rounds, tmp_path, 120) == []
