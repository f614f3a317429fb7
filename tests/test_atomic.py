"""Files of a store are written, replaced and removed as a whole, and what a process that was killed has left goes."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from evalsuite import atomic
from evalsuite.errors import UsageError
from tests.processes import Zygote

KILLED = """
import os, signal, sys
from pathlib import Path
from evalsuite import atomic
from evalsuite.errors import UsageError

folder = Path(sys.argv[1])
with atomic.replacing_folder(folder / "new") as temporary:
    (temporary / "half").write_bytes(b"1")
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("here", flush=True)
    signal.pause()
"""


def failing(number: int) -> Any:
    """Return what stands for a system call that does not work."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_has_left_goes_with_the_next_write(zygote: Zygote, tmp_path: Path) -> None:
    process = zygote.start([tmp_path, "killed"], zygote.environment(tmp_path.parent), tmp_path.parent, code=KILLED)
    process.finish()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(atomic.TEMPORARY_PREFIX) and atomic.leftovers(tmp_path) == [left]
    atomic.write_text(tmp_path / "other", "1")
    assert names(tmp_path) == ["other"]


def test_what_a_process_works_on_stays(zygote: Zygote, tmp_path: Path) -> None:
    process = zygote.start([tmp_path, "works"], zygote.environment(tmp_path.parent), tmp_path.parent, code=KILLED)
    assert next(process.lines) == "here\n"
    atomic.sweep(tmp_path)
    (working,) = tmp_path.iterdir()
    assert (working / "half").is_file()
    os.kill(process.pid, 9)
    process.finish()
    atomic.sweep(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", [".tmp-0123abcd", ".tmp-99999-0123abcd.json", ".tmp-00000000-1-0123abcd.npy"])
def test_of_another_machine_only_the_age_counts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    assert atomic.leftovers(tmp_path) == []
    os.utime(tmp_path / name, (0, 0))
    assert atomic.leftovers(tmp_path) == [tmp_path / name]


def test_the_probe_of_a_killed_process_goes_with_the_next_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing(errno.EIO))  # as a kill before it leaves it there
        with pytest.raises(UsageError):
            atomic.check_writable(tmp_path, "--output")
    (probe,) = tmp_path.iterdir()
    monkeypatch.setattr(atomic, "_runs", lambda pid: False)
    atomic.check_writable(tmp_path, "--output")
    assert not probe.exists() and names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_fails_names_its_file_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "record.json"
    atomic.write_text(path, "old")
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(OSError, match=r"record\.json"):
        atomic.write_text(path, "new")
    assert path.read_text() == "old" and names(tmp_path) == ["record.json"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_fsync_works_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    monkeypatch.setattr(atomic, "_TOLD", set())
    monkeypatch.setattr(os, "fsync", failing(number))
    with caplog.at_level(logging.WARNING):
        atomic.write_text(tmp_path / "one", "1")
        atomic.write_text(tmp_path / "two", "2")
    assert (tmp_path / "two").read_text() == "2"
    assert len(caplog.records) == 1 and "power cut" in caplog.text


def test_a_folder_is_gone_before_its_first_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.write_text(tmp_path / "pool" / "one", "1")

    def killed(path: Path, **_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            atomic.remove_folder(tmp_path / "pool")
    (left,) = names(tmp_path)
    assert left.startswith(atomic.TEMPORARY_PREFIX) and names(tmp_path / left) == ["one"]
    atomic.remove_folder(tmp_path / "pool")  # it is not there: nothing to do


def test_a_pipe_is_written_into_and_a_link_stays_one(tmp_path: Path) -> None:
    """As root, `--to /dev/null` would else put a file in the place of the device."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        atomic.write_text(tmp_path / name, name)
        assert os.read(reader, 100) == name.encode() and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    (tmp_path / "other").symlink_to("file")
    for content in ("new", "changed"):
        atomic.write_text(tmp_path / "other", content)
        assert (tmp_path / "file").read_text() == content and (tmp_path / "other").is_symlink()
    assert names(tmp_path) == ["file", "link", "other", "pipe"]


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As root, `--to /dev/stdout` made a file of it, for all programs."""
    (tmp_path / "nowhere").symlink_to("/dev/null")
    atomic.write_text(tmp_path / "nowhere", "text")
    assert (tmp_path / "nowhere").is_symlink() and [path.name for path in tmp_path.iterdir()] == ["nowhere"]
