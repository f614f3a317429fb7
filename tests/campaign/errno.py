"""Each file-system call of a run, of `cache rm`, `merge` and `download` fails, or all that write fail from there on.

What can be done is done, and what cannot is told in a few lines without a traceback; the same command heals it.
"""

from __future__ import annotations

import errno
import itertools
import random
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from evalsuite.results.store import load_stored
from tests.campaign._stage import JOBS, Call, Stage, prepared, tail
from tests.campaign.frame import Finding
from tests.processes import Finished

SCENARIOS = ("new", "added", "removed", "merged", "fetched")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES)
LASTING = (errno.ENOSPC, errno.EDQUOT)
MOST_LINES = 6


def rounds(folder: Path, random: random.Random, stage: Stage | None = None) -> Iterator[Finding | None]:
    """Let every call fail with every error, in a random order; where that lasts, for good, too.

    First each line of evalsuite that makes such calls, once in each way that it is reached; then the same in other
    turns of a loop.
    """
    with nullcontext(stage) if stage else prepared(folder, scenarios=SCENARIOS) as stage:
        points = [
            (scenario, call, number, lasting)
            for scenario, call in stage.choose(random, scenarios=SCENARIOS)
            for number in ERRORS
            for lasting in ([False, True] if number in LASTING else [False])
        ]
        random.shuffle(points)
        first = {(scenario, call.name, call.place, *how): (scenario, call, *how) for scenario, call, *how in points}
        chosen = set(first.values())
        again = (point for point in points if point not in chosen)
        yield from (_attack(stage, *point) for point in itertools.chain(first.values(), again))


def _attack(stage: Stage, scenario: str, call: Call, number: int, lasting: bool) -> Finding | None:
    store = stage.begin(scenario, "attacked")
    failed = stage.start(stage.command(scenario, store), "attacked", call, number, lasting)
    done = f"{scenario}: {errno.errorcode[number]} {'from' if lasting else 'at'} {call}"
    wrong = _badly_told(failed, scenario, stage.folder / store)
    if not wrong:
        healed = stage.start(stage.healing(scenario, store), "attacked")
        if healed.returncode != 0:
            wrong = f"the same command ends with {healed.returncode}: {tail(healed.stderr)}"
        else:
            wrong = stage.wrong(scenario, store)
    return Finding(done, f"{wrong} (it had said: {tail(failed.stderr)})") if wrong else None


def _badly_told(failed: Finished, scenario: str, store: Path) -> str:
    """Say what is wrong with what a person reads; "" where that is short, and no job is lost."""
    if "Traceback" in failed.stdout + failed.stderr:
        return "a traceback"
    if failed.returncode not in (0, 1, 2):
        return f"it ended with {failed.returncode}"
    if failed.returncode == 1 and scenario in ("new", "added") and f"{JOBS} results" not in failed.stdout:
        return f"jobs are lost: {tail(failed.stdout)}"
    messages = re.split(r"^(?=\[\d+/\d+\]|\S+ on \w+:|Warning|Error|  failed:|$)", failed.stderr, flags=re.MULTILINE)
    records = load_stored([store / "results"])[0] if (store / "results").is_dir() else []
    messages += [item.result.error.message for item in records if item.result.error is not None]
    longest = max((text.strip() for text in messages), key=lambda text: len(text.splitlines()), default="")
    return f"a long message: {longest}" if len(longest.splitlines()) > MOST_LINES else ""
