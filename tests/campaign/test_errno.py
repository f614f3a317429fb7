"""A slice of the campaign of calls that fail."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.campaign.errno import rounds
from tests.campaign.frame import findings
from tests.processes import Zygote


def test_calls_that_fail_are_told_and_healed(zygote: Zygote, tmp_path: Path) -> None:
    assert findings(partial(rounds, zygote=zygote), tmp_path, attacks=8) == []
