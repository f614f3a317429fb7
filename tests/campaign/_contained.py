"""Attacks in forked processes, with the command line in them: what they printed, how they ended, time and memory."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0
"""An attack that takes longer has hung the program. Counted in processor time: machines are busy."""

WALL_SECONDS = 120.0
"""What sleeps for so long hangs, too."""

MOST_MEMORY = 600_000_000
"""Bytes that an attack may take: with torch and all that the command line imports, the process has less than a GB."""

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "EVALSUITE_HOME": "home", "EVALSUITE_CACHE": "cache", "EVALSUITE_DATA": "data"}

Attack = Callable[[], tuple[int, str]]
"""Returns an exit code and what was printed."""

WELL = b"."

PLACE_IN_THE_CODE = re.compile(r"^\(\S+, \S+(?<!/m)\.p(?:y|yx|xi), line \d+\)$", re.MULTILINE)
"""How a job ends that met what nobody thought of: its message is for programmers, unless it is of the model `m.py`."""

MOST_LINES = 6
MOST_LETTERS = 1_100
"""Of a message, and of each of its lines."""


@dataclass(frozen=True)
class Ended:
    """How an attack ended. code: the exit code, -1 without one. fault: what is wrong with that; "" if nothing is."""

    code: int
    printed: str
    fault: str


def command(arguments: Sequence[str | Path]) -> tuple[int, str]:
    """Run the command line in this process; return its exit code and all that it printed."""
    from evalsuite.cli import main

    output = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        sys.argv = ["evalsuite", *map(str, arguments)]
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0) if isinstance(end.code, int | None) else 1
    return code, output.getvalue()


def contained(attack: Attack, folder: Path) -> Ended:
    """Make an attack in a forked process, which works in `folder`, and judge how it ended."""
    reader, writer = os.pipe()
    before = _resident()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(attack, folder, writer)
    os.close(writer)
    said = _read_all(reader, pid)
    _, status, usage = os.wait4(pid, 0)
    os.close(reader)
    memory = usage.ru_maxrss * 1024 - before
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        why = f"took more than {SECONDS:.0f} s" if name in ("SIGXCPU", "SIGKILL") else "died"
        return Ended(-1, "", f"{why} ({name})")
    if not said:
        return Ended(-1, "", f"ended without a word (status {status})")
    code, printed, fault = json.loads(said)
    if memory > MOST_MEMORY:
        fault = fault or f"took {memory / 1e9:.1f} GB"
    return Ended(code, printed, fault)


def all_well(make: Callable[[int], Attack], numbers: Sequence[int], folder: Path) -> Iterator[bool]:
    """Make attacks one after the other in a forked process, and yield for each whether nothing was wrong with it.

    Forking a process in which everything is imported takes longer than most attacks. Where one ends the process, the
    rest are made in another. What was wrong may be what an earlier attack has left behind: `contained` tells.
    """
    left = list(numbers)
    while left:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _children(make, left, folder, theirs)
        theirs.close()
        ours.settimeout(WALL_SECONDS)
        try:
            said = b"?"
            while left and said:
                said = _answer(ours)
                left.pop(0)
                yield said == WELL
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            ours.close()


def _answer(ours: socket.socket) -> bytes:
    """Let the next attack be made, and return what is said of it; nothing where the process ended or hangs."""
    try:
        ours.sendall(WELL)
        return ours.recv(1)
    except OSError:
        return b""


def _children(make: Callable[[int], Attack], numbers: Sequence[int], folder: Path, theirs: socket.socket) -> None:
    before = dict(os.environ)
    try:
        while numbers and theirs.recv(1):  # nothing: the process that asks has ended
            os.environ.clear()
            os.environ.update(before)
            theirs.sendall(WELL if _is_well(make, numbers[0], folder) else b"!")
            numbers = numbers[1:]
    finally:
        os._exit(0)


def _is_well(make: Callable[[int], Attack], number: int, folder: Path) -> bool:
    try:
        _settle(folder)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that of the attack
        at_first = _resident()
        _, printed = make(number)()
        return not judged(printed) and _peak() - at_first <= MOST_MEMORY
    except BaseException:  # noqa: BLE001 - it is made again, alone
        return False


def _resident() -> int:
    """Return the bytes of memory that this process has now, and a forked one begins with."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    """Return the most bytes of memory that this process had since its peak was forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _settle(folder: Path) -> None:
    """Allow so much time from now on, and work in a folder that is all there is."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime + SECONDS) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
    os.chdir(folder)
    os.environ.update(ENVIRONMENT)
    if constants := sys.modules.get("huggingface_hub.constants"):
        constants.HF_HUB_OFFLINE = True  # read from the environment when it was imported
    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()


def _child(attack: Attack, folder: Path, writer: int) -> None:
    _settle(folder)
    code, printed, fault = -1, "", ""
    try:
        code, printed = attack()
        fault = judged(printed)
    except BaseException:  # noqa: BLE001 - whatever comes out is a finding
        fault = traceback.format_exc()
    os.write(writer, json.dumps([code, printed, fault]).encode())
    os._exit(0)


def _read_all(reader: int, pid: int) -> bytes:
    end = time.monotonic() + WALL_SECONDS
    parts = []
    while True:
        ready, _, _ = select.select([reader], [], [], max(end - time.monotonic(), 0))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            return b""
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def judged(printed: str) -> str:
    """Say what is wrong with what was printed; "" if nothing is."""
    if "Traceback (most recent call last)" in printed:
        return printed[-2_000:]
    if found := PLACE_IN_THE_CODE.search(printed):
        return f"an error that nobody thought of: {printed[max(found.start() - 500, 0) : found.end()]}"
    control = next((c for c in printed if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0), "")
    if control:
        return f"printed the control character {control!r}"
    lines = printed.splitlines()
    if any(len(line) > MOST_LETTERS for line in lines if "Error" in line or "error" in line):
        return f"printed a line of {max(map(len, lines)):,} letters"
    starts = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    if starts and len(lines) - starts[0] > MOST_LINES and "Unknown model" not in lines[starts[0]]:
        return f"printed a message of {len(lines) - starts[0]} lines"
    return ""
