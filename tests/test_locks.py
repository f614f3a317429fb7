"""Locks between processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evalsuite import atomic
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
        while "T" not in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2]:
            os.sched_yield()
    with pytest.raises(HeldError, match=rf"process {process.pid} on \S+, since 20") as found:
        Lock(tmp_path / "lock").acquire(timeout=0)
    assert found.value.owner is not None and found.value.owner.pid == process.pid
    assert (f"kill -CONT {process.pid}" in str(found.value)) == (number is not None)
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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_without_locks_works_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic, "_TOLD", set())
    monkeypatch.setattr(fcntl, "flock", flock)
    with Lock(tmp_path / "lock"), Lock(tmp_path / "other"):
        pass
    assert len(caplog.records) == 1 and "only one process" in caplog.text


def test_a_fault_of_a_lock_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="lock"):
        Lock(tmp_path / "lock").acquire(timeout=0)


def test_who_waited_for_a_folder_that_was_removed_has_the_lock_of_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "pool" / "lock"
    first, second = Lock(path), Lock(path)
    first.acquire()
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(second.acquire)
        atomic.remove_folder(path.parent)
        first.release()
        waiting.result()
    with pytest.raises(HeldError):
        Lock(path).acquire(timeout=0)
    second.release()
    Lock(path).acquire(timeout=0)
