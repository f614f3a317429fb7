"""What signals do to the command line."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.processes import Zygote

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
