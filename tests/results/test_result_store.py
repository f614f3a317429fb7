"""The result store: where records go, what may replace what, and what readers make of foreign files."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from evalsuite.errors import JobError, UsageError
from evalsuite.records import ErrorRecord, MetricRecord, Result
from evalsuite.results.store import ResultStore, file_slug, hash8, samples_path, write_samples
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
