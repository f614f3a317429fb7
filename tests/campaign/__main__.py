"""Attack evalsuite for as long as you like: `python -m tests.campaign NAME --minutes N --seed S`."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from evalsuite.text import counted, duration
from tests.campaign.frame import Tally, attack, campaigns, rounds_of

EVERY = 60.0
"""Seconds between two lines of progress."""


def main(arguments: list[str] | None = None) -> int:
    """Run one campaign. Return 0 where nothing was found, 1 where something was."""
    options = _parser().parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    again = f"python -m tests.campaign {options.name} --seed {seed}"
    print(f"{options.name}: {options.minutes:g} min; to repeat it: {again}", flush=True)
    begun = said = time.monotonic()
    shown, tally = 0, Tally(0, [])
    interrupted = False
    with tempfile.TemporaryDirectory(prefix=f"campaign-{options.name}-") as folder:
        try:
            for tally in attack(rounds_of(options.name), Path(folder), seed, options.minutes * 60):
                for finding in tally.findings[shown:]:
                    print(f"FOUND (attack {tally.attacks:,}) {finding}", flush=True)
                shown = len(tally.findings)
                if time.monotonic() - said > EVERY:
                    said = time.monotonic()
                    print(f"{duration(said - begun)}: {_summary(tally)}", flush=True)
        except KeyboardInterrupt:
            interrupted = True
    print(f"{options.name}, seed {seed}: {_summary(tally)} in {duration(time.monotonic() - begun)}")
    return 1 if tally.findings else 130 if interrupted else 0


def _summary(tally: Tally) -> str:
    return f"{counted(tally.attacks, 'attack')}, {counted(len(tally.findings), 'finding')}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=campaigns(), help="what is attacked, and how")
    parser.add_argument("--minutes", type=float, default=10, help="when to stop (10)")
    parser.add_argument("--seed", type=int, help="that of an earlier campaign repeats its attacks")
    return parser


if __name__ == "__main__":
    sys.exit(main())
