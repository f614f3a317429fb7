"""The result store: where records go, what may replace what, and what readers make of foreign files."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from evalsuite.errors import JobError, UsageError
from evalsuite.records import ErrorRecord, MetricRecord, Result
from evalsuite.results.store import (
    ResultStore,
    StoredResult,
    file_slug,
    hash8,
    load_stored,
    log_path,
    read_result,
    samples_path,
    write_samples,
)
from evalsuite.seals import unseal
from tests.results.conftest import load_results

JOB = ("clip/vit-b-32", "weights-1", "digits", "zero_shot")


def make(status: str = "ok", value: float = 0.5, **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "status": status,
        "model": "clip/vit-b-32",
        "model_name": "ViT-B/32",
        "task": "digits",
        "protocol": "zero_shot",
        "fingerprint": "inputs-1",
    }
    if status in ("ok", "partial"):
        fields["metric"] = MetricRecord(name="accuracy", value=value, n=899)
    else:
        fields["error"] = ErrorRecord(kind="DataMissingError", message="no images")
    return Result(**(fields | changes))


def names(root: Path) -> list[str]:
    """Return the visible files of a store, relative to its one model folder."""
    return sorted(path.name for path in root.glob("*/*") if not path.name.startswith("."))


def test_a_record_goes_to_the_documented_path_and_comes_back_equal(tmp_path: Path) -> None:
    path = ResultStore(tmp_path).write(make(), "weights-1")
    assert path == tmp_path / f"clip-vit-b-32-{hash8('weights-1')}" / "digits.zero_shot.json"
    assert re.fullmatch("[0-9a-f]{8}", hash8("weights-1"))
    found = ResultStore(tmp_path).find(*JOB)
    assert found == make(run_key="weights-1")
    assert names(tmp_path) == ["digits.zero_shot.json"]


def test_models_options_and_lossy_task_names_never_share_a_file(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    paths = {
        store.path("m", "weights-1", "digits", "zero_shot"),
        store.path("m", "weights-2", "digits", "zero_shot"),
        store.path("m", "weights-1", "digits", "zero_shot", "0123456789abcdef"),
        store.path("m", "weights-1", "digits", "linear_probe"),
        store.path("m", "weights-1", "my birds", "zero_shot"),
        store.path("m", "weights-1", "my-birds", "zero_shot"),
        store.path("m", "weights-1", "My-birds", "zero_shot"),
        store.path("m", "weights-1", "../digits", "zero_shot"),
    }
    assert len(paths) == 8
    assert all(path.parent.parent == tmp_path for path in paths)
    assert store.path("m", "f", "t", "p", "0123456789abcdef").name == "t.p.01234567.json"


def test_file_names_stay_short_and_safe() -> None:
    assert file_slug("open_clip:ViT-B-32/laion2b_s34b") == "open_clip-vit-b-32-laion2b_s34b"
    assert file_slug("../..") == "unnamed"
    long = [file_slug("x" * 300 + end) for end in "ab"]
    assert long[0] != long[1] and max(map(len, long)) <= 80
    assert file_slug("x" * 80) == "x" * 80


@pytest.mark.parametrize("worse", ["error", "not_applicable"])
def test_a_partial_value_is_kept_from_a_worse_record(tmp_path: Path, worse: str) -> None:
    store = ResultStore(tmp_path)
    path = store.write(make("partial"), "weights-1")
    assert store.write(make(worse), "weights-1").name == "digits.zero_shot.error.json"
    assert store.write(make("partial"), "weights-1") == path and names(tmp_path) == [path.name]


@pytest.mark.parametrize("worse", ["error", "not_applicable"])
def test_an_error_never_replaces_a_value_and_both_are_visible(tmp_path: Path, worse: str) -> None:
    store = ResultStore(tmp_path)
    store.write(make(value=0.7), "weights-1")
    path = store.write(make(worse, fingerprint="inputs-2"), "weights-1")
    assert path.name == "digits.zero_shot.error.json"
    found = store.find(*JOB)
    assert found is not None and found.metric is not None and found.metric.value == 0.7
    results, warnings = load_results([tmp_path])
    assert sorted(result.status for result in results) == sorted(["ok", worse]) and not warnings


def test_an_ok_record_replaces_an_error_and_removes_its_siblings(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    assert store.write(make("error"), "weights-1").name == "digits.zero_shot.json"
    store.write(make(value=0.6), "weights-1")
    store.write(make("error"), "weights-1")
    store.write(make("partial"), "weights-1", samples={"id": ["a"]})
    assert names(tmp_path) == [
        "digits.zero_shot.json",
        "digits.zero_shot.partial.json",
        "digits.zero_shot.partial.samples.parquet",
    ]
    store.write(make(value=0.8), "weights-1")
    assert names(tmp_path) == ["digits.zero_shot.json"]
    found = store.find(*JOB)
    assert found is not None and found.metric is not None and found.metric.value == 0.8


def test_a_partial_record_replaces_an_error_and_is_kept_from_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.write(make("error"), "weights-1")
    assert store.write(make("partial"), "weights-1").name == "digits.zero_shot.json"
    assert store.write(make("error"), "weights-1").name == "digits.zero_shot.error.json"
    found = store.find(*JOB)
    assert found is not None and found.status == "partial"


@pytest.mark.parametrize(
    ("status", "done"), [("ok", True), ("partial", True), ("error", False), ("not_applicable", False)]
)
def test_done_is_a_value_for_the_very_same_inputs(tmp_path: Path, status: str, done: bool) -> None:
    store = ResultStore(tmp_path)
    assert not store.find_value(*JOB, None, "inputs-1")
    store.write(make(status), "weights-1")
    assert (store.find_value(*JOB, None, "inputs-1") is not None) is done
    assert not store.find_value(*JOB, None, "inputs-2")
    assert not store.find_value(*JOB, "other-options", "inputs-1")
    assert not store.find_value("clip/vit-b-32", "weights-2", "digits", "zero_shot", None, "inputs-1")


def test_a_partial_record_of_new_inputs_is_found_beside_an_old_ok_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.write(make(), "weights-1")
    store.write(make("partial", fingerprint="inputs-2"), "weights-1")
    assert store.find_value(*JOB, None, "inputs-2")
    found = store.find(*JOB, fingerprint="inputs-2")
    assert found is not None and found.status == "partial"
    assert store.find(*JOB, fingerprint="inputs-3") is None


def test_foreign_and_broken_files_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    good = store.write(make(), "weights-1")
    newer = json.loads(good.read_text()) | {"schema_version": 99}
    foreign = {
        "cut.json": good.read_text()[:200],
        "newer.json": json.dumps(newer),
        "other.json": '{"name": "not ours"}',
        "list.json": "[1, 2]",
        "extra.json": json.dumps(json.loads(good.read_text()) | {"colour": "red"}),
        "unsigned.json": json.dumps({key: value for key, value in newer.items() if key != "schema_version"}),
    }
    for name, text in foreign.items():
        (good.parent / name).write_text(text)
    (good.parent / "latin.json").write_bytes(b'{"a": "\xe9"}')
    (good.parent / ".tmp-1-abc.json").write_text("{half")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "copy.json").write_text(good.read_text())
    results, warnings = load_results([tmp_path])
    assert len(results) == 1
    assert len(warnings) == 7
    for name in (*foreign, "latin.json"):
        assert sum(str(good.parent / name) in warning for warning in warnings) == 1
    assert "upgrade evalsuite" in next(warning for warning in warnings if "newer.json" in warning)
    assert "colour" in next(warning for warning in warnings if "extra.json" in warning)


def test_several_folders_are_read_and_no_file_twice(tmp_path: Path) -> None:
    ResultStore(tmp_path / "a").write(make(), "weights-1")
    ResultStore(tmp_path / "b").write(make(), "weights-2")
    results, _ = load_results([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
    assert sorted(result.run_key for result in results) == ["weights-1", "weights-2"]
    with pytest.raises(UsageError, match="typo"):
        load_results([tmp_path / "typo"])


def test_a_linked_file_is_read_once_and_odd_numbers_are_kept(tmp_path: Path) -> None:
    path = ResultStore(tmp_path).write(make(value=float("nan"), details={"losses": [5, 1e300]}), "weights-1")
    path.write_text(unseal(path.read_bytes())[0].decode().replace("5,", "Infinity,"))
    (path.parent / "again.json").symlink_to(path)
    results, warnings = load_results([tmp_path])
    assert warnings == [] and [result.details["losses"] for result in results] == [[float("inf"), 1e300]]
    assert results[0].metric is not None and math.isnan(results[0].metric.value)


def test_a_broken_record_is_done_again_but_an_error_does_not_replace_it(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    path = store.write(make(), "weights-1")
    newer = json.dumps(json.loads(path.read_text()) | {"schema_version": 99})
    path.write_text(newer)
    assert store.find(*JOB) is None
    assert store.write(make("error"), "weights-1") != path
    assert path.read_text() == newer
    assert store.write(make(), "weights-1") == path
    assert store.find_value(*JOB, None, "inputs-1")


def test_an_unwritable_folder_is_known_early(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ResultStore(tmp_path / "file" / "runs")
    with pytest.raises(UsageError, match="--output"):
        store.check_writable()
    with pytest.raises(JobError, match="Cannot store"):
        store.write(make(), "weights-1")
    ResultStore(tmp_path / "new" / "runs").check_writable()
    assert list((tmp_path / "new" / "runs").iterdir()) == []


def test_samples_lie_beside_their_record_and_leave_with_it(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    path = store.write(make(), "weights-1", samples={"id": ["a", "b"], "label": [0, 1]})
    assert samples_path(path).name == "digits.zero_shot.samples.parquet"
    assert pq.read_table(samples_path(path)).to_pydict() == {"id": ["a", "b"], "label": [0, 1]}
    found = store.find(*JOB)
    assert found is not None and found.samples == "digits.zero_shot.samples.parquet"
    store.write(make("error"), "weights-1")
    assert samples_path(path).exists()
    store.write(make(), "weights-1")
    assert not samples_path(path).exists()
    write_samples(samples_path(path), {"id": ["c"]})
    store.write(make(samples=samples_path(path).name), "weights-1")
    assert pq.read_table(samples_path(path)).num_rows == 1


def test_a_folder_that_may_not_be_read_and_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is told of; nobody waits for what comes through the pipe."""
    (tmp_path / "closed").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    scandir = os.scandir

    def refusing(path: Any) -> Any:  # root may read every folder
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    stored, warnings = load_results([tmp_path])
    assert stored == [] and len(warnings) == 1
    assert str(tmp_path / "closed") in warnings[0] and "was left out: it cannot be read" in warnings[0]


def test_the_folder_of_results_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"it is a folder.*--to .*mine\.csv"):
        ResultStore(tmp_path / "mine.json").check_writable()
    (tmp_path / "all.csv").mkdir()
    ResultStore(tmp_path / "all.csv").check_writable()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": None}, "it is not a result of evalsuite"),
        ({"schema_version": 2}, "it has schema 2 and this version reads up to 1; upgrade evalsuite"),
        ({"schema_version": "one"}, "breaks the schema of a result (schema_version"),
        ({"status": "good"}, "breaks the schema of a result (status"),
    ],
)
def test_a_record_of_another_schema_is_not_read(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Also where everything else is as this version knows it."""
    path = ResultStore(tmp_path).write(make(), "weights-1")
    content = json.loads(unseal(path.read_bytes())[0]) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    (warning,) = load_results([path])[1]
    assert message in warning


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ResultStore(tmp_path).write(make(), "weights-1")
    monkeypatch.setattr("evalsuite.results.store.MOST_BYTES", path.stat().st_size)
    assert load_results([path]) == ([make(run_key="weights-1")], [])
    monkeypatch.setattr("evalsuite.results.store.MOST_BYTES", path.stat().st_size - 1)
    assert "larger than" in load_results([path])[1][0]


def test_records_are_misplaced_only_where_both_names_say_a_job(tmp_path: Path) -> None:
    path = ResultStore(tmp_path).write(make(), "weights-1")
    job, own, renamed = path.name, path.parent.name, f"renamed-{path.parent.name[-8:]}"

    def warnings_of(folder: str, name: str) -> list[str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes(path.read_bytes())
        return load_results([tmp_path / folder / name])[1]

    partial = job.replace(".json", ".partial.json")
    for folder, name in (("best", "other.zero_shot.json"), (own, "mine.json"), (renamed, job), (renamed, partial)):
        assert warnings_of(folder, name) == []
    for folder, name in ((f"clip-vit-b-32-{hash8('weights-2')}", job), (own, "other.zero_shot.json")):
        (warning,) = warnings_of(folder, name)
        assert f"belongs into {own}/{job}" in warning


def test_the_traceback_of_an_error_lies_next_to_it_until_the_next_record(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    path = store.write(make("error"), "weights-1", log="Traceback: ...")
    assert log_path(path).read_text() == "Traceback: ..."
    error = read_result(path).error
    assert error is not None and error.log == log_path(path).name and error.message == "no images"
    store.write(make("error"), "weights-1")
    error = read_result(path).error
    assert error is not None and error.log is None and names(tmp_path) == [path.name]
    store.write(make(), "weights-1", log="of no error")
    assert read_result(path).status == "ok" and names(tmp_path) == [path.name]


def test_a_head_lies_next_to_its_record_until_the_next_one(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    path = store.write(make(), "weights-1", head=(b"weights", b"{}"))
    ends = ["digits.zero_shot.head.json", "digits.zero_shot.head.safetensors", path.name]
    assert names(tmp_path) == ends
    assert [(path.parent / name).read_bytes() for name in ends[:2]] == [b"{}", b"weights"]
    assert load_results([tmp_path]) == ([make(run_key="weights-1")], [])
    store.write(make(), "weights-1")
    assert names(tmp_path) == [path.name]


def test_errors_of_a_job_are_forgotten_once_it_has_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those from before its weights were known lie under no run key."""
    store = ResultStore(tmp_path)
    value = store.write(make(), "weights-1")
    store.write(make("partial"), "weights-1")
    store.write(make("error"), "weights-1", log="failed again")
    store.write(make("partial"), "")
    store.write(make("error"), "", log="no weights")
    store.write(make("error", task="other"), "weights-1")
    result = read_result(value)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    everything = names(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("evalsuite.results.store.remove", refuse)
        store.forget_errors(result)
    assert names(tmp_path) == everything and len(everything) == 8
    store.forget_errors(result)
    assert names(tmp_path) == ["digits.zero_shot.json", "digits.zero_shot.partial.json", "other.zero_shot.json"]


def test_a_job_has_a_lock_of_its_own(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    with store.job_lock("m", "weights-1", "digits"):
        with store.job_lock("m", "weights-1", "other"):
            pass
        with pytest.raises(JobError, match="is held by"):
            store.job_lock("m", "weights-1", "digits").acquire(timeout=0)
    assert load_results([tmp_path]) == ([], [])


def test_whether_a_table_of_samples_is_there(tmp_path: Path) -> None:
    told: list[str] = []
    store = ResultStore(tmp_path, told.append)
    path = store.write(make(), "weights-1", samples={"id": ["a"]})
    stored = StoredResult(path, read_result(path))
    assert stored.samples == samples_path(path) and store.has_samples(stored.result)
    assert StoredResult(None, stored.result).samples is None
    assert StoredResult(path, make()).samples is None and not store.has_samples(make())
    write_samples(samples_path(path), {"id": ["b"]})
    for _ in range(2):
        assert not store.has_samples(stored.result)
    assert told == [f"Warning: {samples_path(path)} is damaged, or of another result. The job is done again."]
    assert store.has_samples(stored.result.model_copy(update={"samples_digest": None}))  # of an old record
    samples_path(path).unlink()
    assert stored.samples is None and not store.has_samples(stored.result) and len(told) == 1


def test_files_are_read_in_the_order_of_their_names_and_broken_links_are_told_of(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    written = {store.write(make(task=f"task-{number * 7 % 10}"), f"weights-{number % 3}") for number in range(10)}
    found, warnings = load_stored([tmp_path])
    assert [item.path for item in found] == sorted(written, key=str) and warnings == []
    gone = tmp_path / "gone.json"
    gone.symlink_to(tmp_path / "nothing")
    assert load_stored([tmp_path])[1] == [f"{gone} was left out: it cannot be read (No such file or directory)"]
