"""Locks between processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from evalsuite.locks import HeldError, Lock
from tests.processes import Zygote

HOLDER = """
import sys, time
from pathlib import Path
from evalsuite.locks import Lock

with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, None])
def test_who_holds_a_lock_is_said_even_if_it_was_stopped(
    zygote: Zygote, tmp_path: Path, number: signal.Signals | None
) -> None:
    process = zygote.start([tmp_path / "lock"], zygote.environment(tmp_path), tmp_path, code=HOLDER)
    assert next(process.lines) == "held\n"
    if number is not None:
        os.kill(process.pid, number)
    with pytest.raises(HeldError, match=rf"process {process.pid} on \S+, since 20") as found:
        Lock(tmp_path / "lock").acquire(timeout=0)
    assert found.value.owner is not None and found.value.owner.pid == process.pid
    os.kill(process.pid, signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL
    with Lock(tmp_path / "lock") as lock:  # it died with its owner
        owner = lock.owner()
        assert owner is not None and owner.pid == os.getpid()
    assert lock.owner() is None


def test_one_who_waits_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.locks.TELL_AFTER", 0.0)
    told: list[str] = []
    with Lock(tmp_path / "lock"), pytest.raises(HeldError):
        Lock(tmp_path / "lock", told.append).acquire(timeout=0.2)
    assert len(told) == 1 and f"process {os.getpid()}" in told[0]
