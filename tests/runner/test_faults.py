"""Faults of the machine in the middle of a run: one record each, the other jobs are done, the same call heals it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evalsuite
from evalsuite import atomic
from evalsuite.features.store import PoolFeatures
from evalsuite.results.store import load_stored
from evalsuite.runner.base import Reporter
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.processes import cli_environment


def evaluate(tmp_path: Path, model: Any, tasks: list[Path], **options: Any) -> Any:
    """Evaluate zero-shot with stores of the test's own."""
    stores = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    return evalsuite.evaluate(model, list(map(str, tasks)), "zero_shot", **stores, **options)


def statuses(results: Any) -> list[str]:
    return [result.status for result in results]


@pytest.fixture
def tasks(tmp_path: Path) -> list[Path]:
    return [write_folder_task(tmp_path / name, name=name, train=1, test=2) for name in ("one", "two")]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let every write of a file whose path has a certain part fail; called with the part, "" for none."""
    part = ""
    write = atomic.write_bytes

    def fail(path: Path, content: bytes) -> None:
        if part and part in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    def set_part(value: str) -> None:
        nonlocal part
        part = value

    monkeypatch.setattr(atomic, "write_bytes", fail)
    return set_part


@pytest.mark.parametrize("what", ["one.test-", "model.json", "texts/"])
def test_a_full_disk_is_an_error_record_of_the_job(tmp_path: Path, tasks: list[Path], full: Any, what: str) -> None:
    full(what)
    results = evaluate(tmp_path, CountingModel(), tasks)
    assert statuses(results)[0] == "error" and results[0].error is not None
    assert results[0].error.message.startswith("The disk is full") and results[0].error.log is None
    assert len(results[0].error.message.splitlines()) == 1
    assert (what == "one.test-") == (statuses(results)[1] == "ok")
    full("")
    assert statuses(evaluate(tmp_path, CountingModel(), tasks)) == ["ok", "ok"]
    assert [item.result.status for item in load_stored([tmp_path / "out"])[0]] == ["ok", "ok"]


class Faulty(CountingModel):
    """Raises what it is given for the pixels of the first task."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def encode_images(self, batch: Any) -> Any:
        error, self.error = self.error, None
        if error is not None:
            raise error
        return super().encode_images(batch)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "The memory does not suffice"),
        (MemoryError("Unable to allocate 9 GiB"), "Unable to allocate 9 GiB"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "The memory does not suffice"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "/data/x.png"), "/data/x.png: Input/output error"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "Your quota of the disk is used up"),
    ],
)
def test_a_fault_of_the_machine_is_said_without_a_place_in_the_code(
    tmp_path: Path, tasks: list[Path], error: Exception, said: str
) -> None:
    results = evaluate(tmp_path, Faulty(error), tasks)
    assert statuses(results) == ["error", "ok"]
    assert said in results[0].error.message and ".py" not in results[0].error.message and results[0].error.log is None


def test_a_record_that_cannot_be_stored_is_told_with_its_value_and_stops_nothing(
    tmp_path: Path, tasks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        write = atomic.write_bytes

        def fail(path: Path, content: bytes) -> None:
            if path.name.startswith("one."):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            write(path, content)

        patch.setattr(atomic, "write_bytes", fail)
        results = evaluate(tmp_path, CountingModel(), tasks)
    assert statuses(results) == ["error", "ok"]
    assert "accuracy 100.00 % was measured and not stored" in results[0].error.message
    assert statuses(evaluate(tmp_path, CountingModel(), tasks)) == ["ok", "ok"]


def test_an_error_does_not_outlive_its_fault(tmp_path: Path, tasks: list[Path]) -> None:
    evaluate(tmp_path, CountingModel(), tasks)
    for path in (tmp_path / "cache").rglob("compacted-*"):
        atomic.remove_folder(path)
    failed = evaluate(tmp_path, Faulty(MemoryError()), tasks, overwrite=True)
    assert statuses(failed) == ["error", "ok"]
    assert len(list((tmp_path / "out").rglob("*.error.json"))) == 1
    assert statuses(evaluate(tmp_path, CountingModel(), tasks)) == ["ok", "ok"]
    assert list((tmp_path / "out").rglob("*.error.json")) == []


def test_a_store_that_cannot_be_written_is_read(
    tmp_path: Path, tasks: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(tmp_path, CountingModel(), tasks)
    for image in (tmp_path / "one").rglob("*.png"):
        os.utime(image, (0, 0))  # their new keys would be noted

    def read_only(store: PoolFeatures, tell: Any = None) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(store.folder))

    monkeypatch.setattr(atomic, "_TOLD", set())
    monkeypatch.setattr(PoolFeatures, "lock", read_only)
    model = CountingModel()
    assert statuses(evaluate(tmp_path, model, tasks)) == ["ok", "ok"] and model.encoded == 0
    assert "Read-only file system" in caplog.text


def test_an_interrupted_pass_says_what_is_kept(tmp_path: Path, tasks: list[Path]) -> None:
    notes: list[str] = []

    class Listening(Reporter):
        def note(self, text: str) -> None:
            notes.append(text)

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, CountingModel(fail_after=4), tasks, batch_size=2, reporter=Listening())
    assert notes == ["counting: 4 of 6 images of one/test are encoded and kept."]
    model = CountingModel()
    assert statuses(evaluate(tmp_path, model, tasks)) == ["ok", "ok"] and model.encoded == 8


def test_too_little_memory_to_load_the_libraries_is_said(tmp_path: Path) -> None:
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (600_000_000,) * 2)\n"
    code = limited + "from evalsuite.cli import main\nmain()"
    command = [sys.executable, "-c", code, "run", "-m", "pocket", "-t", "digits", "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=cli_environment(tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "The memory does not suffice" in done.stderr and len(done.stderr.splitlines()) <= 3
