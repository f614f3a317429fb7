"""What every campaign shares: what a finding is, and how attacks are counted.

A campaign is a module of this folder with one function:

    def rounds(folder: Path, random: random.Random) -> Iterator[Finding | None]

It attacks something in `folder` again and again, and yields once for each attack: None where everything held. What it
does follows from `random` alone, so that a seed repeats it. It may end when there is nothing left to attack.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

NOT_CAMPAIGNS = ("__main__", "frame")


@dataclass(frozen=True)
class Finding:
    """done: the attack, so that a person can repeat it. wrong: what came of it."""

    done: str
    wrong: str

    def __str__(self) -> str:
        return f"{self.done}\n    {self.wrong}"


@dataclass
class Tally:
    """How many attacks were made, and which of them found something."""

    attacks: int
    findings: list[Finding]


Rounds = Callable[[Path, random.Random], Iterator[Finding | None]]


def campaigns() -> list[str]:
    """Return the names of the campaigns: the modules of this folder, but those that start with an underscore."""
    names = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in names if name not in NOT_CAMPAIGNS and not name.startswith(("_", "test_")))


def rounds_of(name: str) -> Rounds:
    """Return the function `rounds` of a campaign."""
    rounds: Rounds = importlib.import_module(f"tests.campaign.{name}").rounds
    return rounds


def attack(
    rounds: Rounds, folder: Path, seed: int, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Tally]:
    """Make attacks until the time is over or none is left; yield the tally after each."""
    tally = Tally(0, [])
    end = clock() + seconds
    for finding in rounds(folder, random.Random(seed)):
        tally.attacks += 1
        if finding is not None:
            tally.findings.append(finding)
        yield tally
        if clock() >= end:
            return


def findings(rounds: Rounds, folder: Path, attacks: int, seed: int = 0) -> list[str]:
    """Make the first attacks of a campaign, as the tests of `make test` do, and return what they found.

    Raises AssertionError where there were fewer: a campaign that attacks nothing finds nothing.
    """
    made = list(itertools.islice(rounds(folder, random.Random(seed)), attacks))
    assert len(made) == attacks, f"only {len(made)} of {attacks} attacks were made"
    return [str(finding) for finding in made if finding is not None]
