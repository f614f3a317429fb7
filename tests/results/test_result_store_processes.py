"""The result store under processes that share it, and under kill -9."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from evalsuite.errors import JobError
from evalsuite.locks import Lock
from evalsuite.records import ErrorRecord, MetricRecord, Result
from evalsuite.results import store as store_module
from evalsuite.results.store import ResultStore
from tests.results.conftest import load_results

ROUNDS = 40

WRITER = """
import os, signal, sys
from pathlib import Path
from evalsuite.records import MetricRecord, Result
from evalsuite.results.store import ResultStore

moment = sys.argv[2]
if moment == "fsync":      # the content is in the temporary file and nowhere else
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
elif moment == "replace":  # everything is written, the last step is missing
    Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
store = ResultStore(Path(sys.argv[1]))
for turn in range(2000):  # the test ends it long before
    record = Result(
        status="ok", model="m", model_name="m", task=f"task{turn % 3}", protocol="zero_shot", fingerprint=str(turn),
        metric=MetricRecord(name="accuracy", value=0.5, n=10), details={"lambdas": [turn] * 20_000},
    )
    store.write(record, "weights")
    if turn == 0:
        print("ready", flush=True)
"""


def make(task: str, status: str, value: float = 0.5) -> Result:
    has_value = status == "ok"
    return Result(
        status="ok" if has_value else "error",
        model="m",
        model_name="m",
        task=task,
        protocol="zero_shot",
        fingerprint="inputs",
        metric=MetricRecord(name="accuracy", value=value, n=10) if has_value else None,
        error=None if has_value else ErrorRecord(kind="JobError", message="failed"),
    )


def write_all(root: Path, status: str, barrier: Barrier) -> None:
    """Write one record per task, each at the same moment as the other process."""
    store = ResultStore(root)
    for number in range(ROUNDS):
        barrier.wait(timeout=60)
        store.write(make(f"task{number}", status), "weights")


@contextmanager
def writer_process(root: Path, moment: str = "any") -> Iterator[subprocess.Popen[bytes]]:
    """Run WRITER; it is gone when the block ends, whatever happened in it."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(root), moment], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_processes_race_and_no_error_ever_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=write_all, args=(tmp_path, status, barrier)) for status in ("ok", "error")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = ResultStore(tmp_path)
    main = [store_module.read_result(store.path("m", "weights", f"task{n}", "zero_shot")) for n in range(ROUNDS)]
    assert [record.status for record in main] == ["ok"] * ROUNDS
    assert load_results([tmp_path])[1] == []


def test_a_writer_between_look_and_write_makes_the_other_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(tmp_path)
    main = store.path("m", "weights", "digits", "zero_shot")
    main.parent.mkdir(parents=True)
    monkeypatch.setattr(store_module, "_LOCK_SECONDS", 0.2)
    with Lock(main.parent / ".lock"), pytest.raises(JobError, match=f"held by process {os.getpid()} on "):
        store.write(make("digits", "ok"), "weights")
    assert not main.exists()
    store.write(make("digits", "ok"), "weights")
    assert main.exists()


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_writer_killed_in_the_middle_of_a_write_leaves_the_old_record(tmp_path: Path, moment: str) -> None:
    store = ResultStore(tmp_path)
    path = store.write(make("task0", "ok", value=0.25), "weights")
    before = path.read_bytes()
    with writer_process(tmp_path, moment) as writer:
        assert writer.wait(timeout=30) == -signal.SIGKILL
    leftovers = list(path.parent.glob(".tmp-*"))
    assert len(leftovers) == 1, "the kill came before or after the write"
    assert path.read_bytes() == before
    results, warnings = load_results([tmp_path])
    assert [result.task for result in results] == ["task0"] and warnings == []
    store.write(make("task0", "ok", value=0.75), "weights")  # the lock died with its owner
    found = store.find("m", "weights", "task0", "zero_shot")
    assert found is not None and found.metric is not None and found.metric.value == 0.75


def test_whatever_the_moment_of_a_kill_every_visible_record_is_whole(tmp_path: Path) -> None:
    wait = random.Random(0)
    for _ in range(4):
        with writer_process(tmp_path) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n", "the writer ended before its first record"
            end = time.monotonic() + 0.2 + wait.random() * 0.3
            while time.monotonic() < end:  # a reader next to the writer sees whole records, too
                assert load_results([tmp_path])[1] == []
        results, warnings = load_results([tmp_path])
        assert warnings == [] and results
        for result in results:
            assert result.details["lambdas"] == [int(result.fingerprint)] * 20_000
