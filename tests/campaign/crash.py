"""kill -9 at each file-system call of a run, of `cache rm`, `merge` and `download`; then the same again.

The resume is killed, too, now and then. In the end there must be the results and features of a process that nothing
happened to, and nothing left over.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from tests.campaign._hook import WRITING
from tests.campaign._stage import Call, Stage, prepared, tail
from tests.campaign.frame import Finding

AGAIN = 0.3
"""How often a resume is killed, too."""

AT_A_CALL = 0.5
"""How often a kill comes at a call, and not at a time."""

LONGEST = 1.5
"""Seconds up to which a kill comes at a time: longer than most commands take."""


def rounds(folder: Path, random: random.Random, stage: Stage | None = None) -> Iterator[Finding | None]:
    """Kill at every writing call once, in a random order, then at any call or at any time, again and again."""
    with nullcontext(stage) if stage else prepared(folder) as stage:
        for scenario, call in stage.choose(random, WRITING):
            yield _attack(stage, scenario, call, random)
        while True:
            for scenario, call in stage.choose(random):
                yield _attack(stage, scenario, call if random.random() < AT_A_CALL else None, random)


def _attack(stage: Stage, scenario: str, call: Call | None, random: random.Random) -> Finding | None:
    store = stage.begin(scenario, "attacked")
    command, healing = stage.command(scenario, store), stage.healing(scenario, store)
    after = random.random() * LONGEST if call is None else 0.0
    done = f"{scenario}: killed at {call or f'{after:.3f} s'}"
    first = stage.start(command, "attacked", call, after=after)
    if first.returncode > 0:
        return Finding(done, f"it ended with {first.returncode}: {tail(first.stderr)}")
    if scenario == "removed" and random.random() < AT_A_CALL:  # else the next run finds what was left of the store
        stage.start(command, "attacked")
    while random.random() < AGAIN:
        again = random.choice(stage.calls["new"])
        done += f", then {again}"
        stage.start(healing, "attacked", again)
    last = stage.start(healing, "attacked")
    if last.returncode != 0:
        return Finding(done, f"the same command ends with {last.returncode}: {tail(last.stderr)}")
    wrong = stage.wrong(scenario, store)
    return Finding(done, wrong) if wrong else None
