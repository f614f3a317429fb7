"""kill -9 at each file-system call of a run, of `cache rm` and of `merge`; then the same command again.

The resume is killed, too, now and then. In the end there must be the results and features of a process that nothing
happened to, and nothing left over.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.campaign._hook import WRITING
from tests.campaign._stage import Call, Stage, tail
from tests.campaign.frame import Finding
from tests.processes import Zygote, warm_process

AGAIN = 0.3
"""How often a resume is killed, too."""


def rounds(folder: Path, random: random.Random, zygote: Zygote | None = None) -> Iterator[Finding | None]:
    """Kill at every writing call once, in a random order, then at any call, again and again."""
    with ExitStack() as stack:
        process = zygote or stack.enter_context(warm_process(folder))
        stage = Stage(process, folder / "crash")
        stage.prepare()
        everything = itertools.chain(stage.choose(random, WRITING), _for_ever(stage, random))
        yield from (_attack(stage, scenario, call, random) for scenario, call in everything)


def _for_ever(stage: Stage, random: random.Random) -> Iterator[tuple[str, Call]]:
    while True:
        yield from stage.choose(random)


def _attack(stage: Stage, scenario: str, call: Call, random: random.Random) -> Finding | None:
    store = stage.begin(scenario, "attacked")
    kill = partial(stage.start, root="attacked")
    done = f"{scenario}: killed at {call}"
    first = kill(stage.command(scenario, store), at=call)
    if first.returncode > 0:
        return Finding(done, f"it ended with {first.returncode}: {tail(first.stderr)}")
    if scenario == "removed" and random.random() < 0.5:  # else the next run finds what was left of the store
        kill(stage.command(scenario, store))
    while random.random() < AGAIN:
        again = random.choice(stage.calls["new"])
        done += f", then {again}"
        kill(stage.healing(scenario, store), at=again)
    last = kill(stage.healing(scenario, store))
    if last.returncode != 0:
        return Finding(done, f"the same command ends with {last.returncode}: {tail(last.stderr)}")
    wrong = stage.wrong(scenario, store)
    return Finding(done, wrong) if wrong else None
