"""A slice of the campaign of kills."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.campaign.crash import rounds
from tests.campaign.frame import findings
from tests.processes import Zygote


def test_kills_lose_nothing(zygote: Zygote, tmp_path: Path) -> None:
    assert findings(partial(rounds, zygote=zygote), tmp_path, attacks=8) == []
