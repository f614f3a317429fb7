"""A slice of the campaigns of kills, of signals and of calls that fail."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.campaign import crash, errno, signals
from tests.campaign._hook import WRITING
from tests.campaign._stage import Stage, prepared
from tests.campaign.frame import findings
from tests.processes import Zygote


@pytest.fixture(scope="module")
def stage(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with prepared(tmp_path_factory.mktemp("faults"), zygote) as found:
        yield found


def test_kills_lose_nothing(stage: Stage, tmp_path: Path) -> None:
    assert findings(partial(crash.rounds, stage=stage), tmp_path, attacks=4) == []


def test_calls_that_fail_are_told_and_healed(stage: Stage, tmp_path: Path) -> None:
    assert findings(partial(errno.rounds, stage=stage), tmp_path, attacks=4) == []


def test_signals_end_every_phase_in_order(stage: Stage, tmp_path: Path) -> None:
    assert findings(partial(signals.rounds, stage=stage), tmp_path, attacks=3) == []


@pytest.mark.parametrize(("place", "number"), [(0, signal.SIGINT), (-1, signal.SIGTERM)])
def test_signals_end_the_merging_of_features_in_order(stage: Stage, place: int, number: signal.Signals) -> None:
    merging = [call for call in stage.calls["new"] if call.path.endswith(".npy") and call.name in WRITING]
    assert signals.interrupted(stage, "new", merging[place], number) is None
