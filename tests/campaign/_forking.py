"""Run pytest many times in the current folder, and import the libraries that are named once: a line of JSON per run.

A request is (arguments of pytest, seconds); the answer is the exit code, negative where a signal ended the run.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def serve() -> None:
    """Answer each request."""
    for name in ("pytest", *sys.argv[1:]):
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        arguments, seconds = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(arguments, seconds)
        _, status = os.waitpid(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it started and left behind
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    os._exit(0)


def _become(arguments: list[str], seconds: int) -> None:
    import pytest

    os.setsid()
    signal.alarm(seconds)
    output = os.open("pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.path.insert(0, str(Path.cwd()))
    code = 1
    try:
        code = int(pytest.main(arguments))
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
