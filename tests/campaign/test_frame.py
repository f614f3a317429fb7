"""The frame of campaigns: it counts attacks, says what was found, and a seed repeats it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.campaign import __main__ as command
from tests.campaign.frame import Finding, Rounds, attack, campaigns, findings, rounds_of


def one_in_three(folder: Path, random: random.Random) -> Iterator[Finding | None]:
    """Nine attacks, each on a file of its own; a third of them finds something."""
    for _ in range(9):
        digit = random.randrange(1000)
        (folder / str(digit)).touch()
        yield Finding(f"digit {digit}", "it is divided by three") if digit % 3 == 0 else None


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    """A campaign named `stand_in`."""
    module = ModuleType("tests.campaign.stand_in")
    module.rounds = one_in_three  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(command, "campaigns", lambda: ["stand_in"])
    return one_in_three


def test_it_tells_what_was_found_and_fails(campaign: Rounds, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["stand_in", "--seed", "5"]) == 1
    printed = capsys.readouterr().out
    found = printed.count("FOUND")
    assert 0 < found < 9 and f"9 attacks, {found} finding" in printed
    assert "it is divided by three" in printed and "python -m tests.campaign stand_in --seed 5" in printed


def test_a_seed_repeats_a_campaign(campaign: Rounds, capsys: pytest.CaptureFixture[str]) -> None:
    def found(seed: str) -> list[str]:
        command.main(["stand_in", "--seed", seed])
        return [line for line in capsys.readouterr().out.splitlines() if "FOUND" in line]

    assert found("5") == found("5") != found("6")


def test_it_ends_with_the_time(tmp_path: Path) -> None:
    clock = iter(range(100))
    *_, tally = attack(one_in_three, tmp_path, 5, seconds=4, clock=lambda: next(clock))
    assert tally.attacks == 4


def test_nothing_found_is_success(monkeypatch: pytest.MonkeyPatch, campaign: Rounds) -> None:
    monkeypatch.setattr(command, "rounds_of", lambda name: lambda folder, random: iter([None, None]))
    assert command.main(["stand_in"]) == 0


def test_a_slice_must_make_its_attacks(tmp_path: Path) -> None:
    assert len(findings(one_in_three, tmp_path, 9, seed=5)) > 0
    with pytest.raises(AssertionError, match="only 9 of 10"):
        findings(one_in_three, tmp_path, 10)


@pytest.mark.parametrize("name", campaigns())
def test_each_campaign_has_rounds(name: str) -> None:
    assert callable(rounds_of(name)) and sys.modules[f"tests.campaign.{name}"].__doc__
