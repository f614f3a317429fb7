"""The first attacks of the campaigns `fuzz` and `hostile`: nothing is found. What would be found is found."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.campaign._contained import MOST_MEMORY, all_well, contained
from tests.campaign.frame import findings, rounds_of


@pytest.mark.parametrize(("name", "attacks"), [("fuzz", 25), ("hostile", 12)])
def test_a_slice_of_the_campaign(name: str, attacks: int, tmp_path: Path) -> None:
    assert findings(rounds_of(name), tmp_path, attacks, seed=3) == []


def _raises() -> NoReturn:
    raise SystemExit(3)


def _takes_memory() -> tuple[int, str]:
    return len(b"1" * (MOST_MEMORY + 50_000_000)), ""


ATTACKS: dict[str, tuple[Callable[[], object], bool]] = {
    "well": (lambda: (2, "Error: no."), True),
    "raises": (_raises, False),
    "prints a traceback": (lambda: (1, "Traceback (most recent call last):\n"), False),
    "is well after it": (lambda: (0, ""), True),
    "ends": (lambda: os._exit(0), False),
    "is killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), False),
    "takes memory": (_takes_memory, False),
    "is well at the end": (lambda: (0, ""), True),
}


def test_what_is_wrong_with_one_of_many_attacks_in_a_process_is_known(tmp_path: Path) -> None:
    made = [attack for attack, _ in ATTACKS.values()]
    numbers = range(len(made))
    found = list(all_well(lambda number: made[number], numbers, tmp_path))  # type: ignore[arg-type,return-value]
    assert found == [well for _, well in ATTACKS.values()]
    for name, (attack, well) in ATTACKS.items():
        if name != "takes memory":  # alone, only what is above all that was imported counts
            assert (contained(attack, tmp_path).fault == "") == well  # type: ignore[arg-type]
