"""A signal at each file-system call of a run, of `cache rm`, `merge` and `download`: between them lies every phase.

Whoever gets it ends with the exit code of the signal, in order and without a traceback; the same command does the rest.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from tests.campaign._hook import WRITING
from tests.campaign._stage import Call, Stage, prepared, tail
from tests.campaign.frame import Finding

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def rounds(folder: Path, random: random.Random, stage: Stage | None = None) -> Iterator[Finding | None]:
    """Send a signal before every writing call once, in a random order, then before any call, again and again."""
    with nullcontext(stage) if stage else prepared(folder) as stage:
        for scenario, call in stage.choose(random, WRITING):
            yield interrupted(stage, scenario, call, random.choice(SIGNALS))
        while True:
            for scenario, call in stage.choose(random):
                yield interrupted(stage, scenario, call, random.choice(SIGNALS))


def interrupted(stage: Stage, scenario: str, call: Call, number: signal.Signals) -> Finding | None:
    """Send a signal before a call, and heal what it has left."""
    store = stage.begin(scenario, "attacked")
    stopped = stage.start(stage.command(scenario, store), "attacked", call, signal=number)
    done = f"{scenario}: {number.name} before {call}"
    if "Traceback" in stopped.stdout + stopped.stderr:
        return Finding(done, f"a traceback: {tail(stopped.stderr)}")
    if stopped.returncode not in (0, 128 + number):  # 0: all was done already
        return Finding(done, f"it ended with {stopped.returncode}: {tail(stopped.stderr)}")
    healed = stage.start(stage.healing(scenario, store), "attacked")
    if healed.returncode != 0:
        return Finding(done, f"the same command ends with {healed.returncode}: {tail(healed.stderr)}")
    wrong = stage.wrong(scenario, store)
    return Finding(done, wrong) if wrong else None
