"""What signals do to the command line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalsuite.locks import Lock
from tests.processes import Started, Zygote, cli_environment

STUBBORN = """
import time
from evalsuite.cli.signals import end_on_signals

end_on_signals()
try:
    print("begin", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("storing", flush=True)
    time.sleep(600)
"""


def test_third_signal_ends_what_the_first_two_could_not(zygote: Zygote, tmp_path: Path) -> None:
    process = zygote.start([], zygote.environment(tmp_path), tmp_path, code=STUBBORN)
    process.stop_at(lambda line: line == "begin\n", signal.SIGINT)
    process.stop_at(lambda line: line == "storing\n", signal.SIGTERM)
    deadline = time.monotonic() + 60
    while "Once more ends this" not in process.stderr.read_text() and time.monotonic() < deadline:
        os.sched_yield()
    os.kill(process.pid, signal.SIGINT)
    done = process.finish()
    assert done.returncode == 130 and "Traceback" not in done.stderr


def test_signal_that_is_ignored_from_the_start_stays_ignored(zygote: Zygote, tmp_path: Path) -> None:
    script = (
        "import os, signal\nfrom evalsuite.cli.signals import end_on_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nend_on_signals()\nos.kill(os.getpid(), signal.SIGHUP)\n"
    )
    done = zygote.run([], zygote.environment(tmp_path), tmp_path, code=script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_ends_is_no_traceback(tmp_path: Path, number: signal.Signals) -> None:
    script = (
        f"import atexit, os, sys\natexit.register(lambda: os.kill(os.getpid(), {number:d}))\n"
        "sys.argv = ['evalsuite', '-V']\nfrom evalsuite.cli import main\nmain()\n"
    )
    command, env = [sys.executable, "-c", script], cli_environment(tmp_path)
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-number, "") and done.stdout.startswith("evalsuite")


def told(process: Started) -> str:
    """Return what a process has said so far."""
    return process.stderr.read_text() if process.stderr.exists() else ""


IMPATIENT = """
import evalsuite.locks, evalsuite.runner.loop

evalsuite.locks.TELL_AFTER = evalsuite.runner.loop.TELL_AFTER = 0.0
from evalsuite.cli import main

main()
"""

RUN, REMOVE = ["--protocol", "zero_shot", "--overwrite"], ["cache", "rm", "--all", "--yes"]


@pytest.mark.parametrize(
    ("command", "lock", "number"),
    [
        (RUN, "out/*/.jobs/*/.lock", signal.SIGTERM),
        (RUN, "out/*/.lock", signal.SIGINT),
        (RUN, "cache/features/*/*/lock", signal.SIGUSR1),
        (REMOVE, "cache/features/*/*/lock", signal.SIGHUP),
    ],
)
def test_signal_ends_one_who_waits_for_a_lock(
    zygote: Zygote, tmp_path: Path, shapes: Path, colours: str, command: list[str], lock: str, number: signal.Signals
) -> None:
    run = ["run", "-m", colours, "-t", str(shapes), "-o", "out", *RUN]
    arguments = [*(run if command is RUN else command), "--cache-dir", "cache"]
    environment = zygote.environment(tmp_path)
    first = zygote.run([*run, "--cache-dir", "cache"], environment, tmp_path)
    assert first.returncode == 0, first.stderr
    (path,) = tmp_path.glob(lock)
    for stored in tmp_path.glob("cache/features/*/*/compacted-*"):
        if command is RUN:
            shutil.rmtree(stored)  # so that images are encoded again
    with Lock(path):
        process = zygote.start(arguments, environment, tmp_path, code=IMPATIENT)
        deadline = time.monotonic() + 60
        while f"held by process {os.getpid()} on " not in told(process) and time.monotonic() < deadline:
            os.sched_yield()
        os.kill(process.pid, number)
        done = process.finish()
    assert done.returncode == 128 + number and "Traceback" not in done.stderr, done.stderr
    again = zygote.run(arguments, environment, tmp_path)
    assert again.returncode == 0, again.stderr
