"""`evalsuite merge`: stores of machines that share no disk become one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from evalsuite.features.blocks import Block, Stamp
from evalsuite.features.catalog import Origin, note_origin
from evalsuite.features.store import PoolFeatures
from evalsuite.records import DataRecord, ErrorRecord, MetricRecord, Provenance, Result
from evalsuite.results.store import ResultStore, read_result
from tests.cli.conftest import contents
from tests.processes import WarmCli

POOL = Path("cache/features/m-0123456789ab/digits.test-abc")


def store_record(machine: Path, task: str, value: float | None, created: str = "2026-01-01", **more: object) -> Path:
    """Write a record as a run on a machine would."""
    metric = None if value is None else MetricRecord(name="accuracy", value=value, n=10)
    result = Result(
        status="error" if value is None else "ok",
        model="m",
        model_name="m",
        task=task,
        protocol="zero_shot",
        fingerprint=str(more.get("fingerprint", "same")),
        metric=metric,
        error=ErrorRecord(kind="E", message=created) if value is None else None,
        metrics={"top5": more.get("top5", 0.6)} if value is not None else {},
        data=DataRecord(source="s", content=str(more.get("content", "c"))),
        provenance=Provenance(created=created),
    )
    return ResultStore(machine / "results").write(result, "weights", samples=more.get("samples"))


def store_features(machine: Path, ids: list[str], *, scale: float = 1.0, sha: str = "s", pool: str = "test") -> None:
    """Write features whose values follow from the ids."""
    store = PoolFeatures(machine / POOL)
    note_origin(store.folder, Origin("m", "digits", pool, "fp32", "abc"))
    with store.lock():
        rows = np.array([[scale * float(name), 1.0] for name in ids], dtype=np.float32)
        store.add_shard(Block(ids, [Stamp(1, 0, sha + name) for name in ids], {"penultimate": rows}))
        store.reload()
        store.compact()


def test_records_and_features_of_all_folders_are_there(cli: WarmCli, tmp_path: Path) -> None:
    store_record(tmp_path / "a", "one", 0.5, samples={"sample": ["x"]})
    store_record(tmp_path / "b", "two", 0.25)
    store_features(tmp_path / "a", ["1", "3"])
    store_features(tmp_path / "b", ["2", "3"])
    (tmp_path / "a" / POOL.parent / "model.json").write_text("{}")
    seen = cli("merge", "a", "b", "--to", "all", "--dry-run")
    assert "2 records and 3 rows of features" in seen.output and not (tmp_path / "all").exists()
    done = cli("merge", "a", "b", "--to", "all")
    assert done.returncode == 0, done.stderr
    for name in ("a", "b"):
        for path, content in contents(tmp_path / name / "results").items():
            assert (tmp_path / "all" / "results" / path).read_bytes() == content
    merged = PoolFeatures(tmp_path / "all" / POOL)
    assert sorted(merged.ids()) == ["1", "2", "3"] and merged.is_compact() and merged.damaged() == []
    assert merged.read("penultimate", ["2", "1"]).tolist() == [[2.0, 1.0], [1.0, 1.0]]
    assert (tmp_path / "all" / POOL.parent / "model.json").is_file()
    before = contents(tmp_path / "all")
    again = cli("merge", "a", "b", "--to", "all")
    assert again.returncode == 0 and "0 records and 0 rows" in again.output
    assert contents(tmp_path / "all") == before


def test_better_and_newer_records_win(cli: WarmCli, tmp_path: Path) -> None:
    store_record(tmp_path / "a", "one", None)
    store_record(tmp_path / "b", "one", 0.5, "2025-01-01")
    store_record(tmp_path / "a", "two", None, "2026-01-02")
    path = store_record(tmp_path / "b", "two", None, "2026-01-03")
    assert cli("merge", "a", "b", "--to", "all").returncode == 0
    merged = {file.name: read_result(file) for file in (tmp_path / "all").rglob("*.json")}
    assert len(merged) == 2
    assert merged["one.zero_shot.json"].status == "ok"
    error = merged[path.name].error
    assert error is not None and error.message == "2026-01-03"


def test_of_equal_records_the_one_that_logged_its_samples_is_kept(cli: WarmCli, tmp_path: Path) -> None:
    for machine, samples in (("a", None), ("b", {"sample": ["x"]}), ("c", None)):
        path = store_record(tmp_path / machine, "one", 0.5, samples=samples)
    assert cli("merge", "a", "b", "c", "--to", "all").returncode == 0
    (merged,) = (tmp_path / "all").rglob(path.name)
    assert read_result(merged).samples is not None and contents(merged.parent) == contents(
        tmp_path / "b" / merged.parent.relative_to(tmp_path / "all")
    )


@pytest.mark.parametrize("wrong", ["value", "further value", "fingerprint", "data", "pool", "images", "features"])
def test_contradictions_are_refused_before_anything_is_written(cli: WarmCli, tmp_path: Path, wrong: str) -> None:
    store_record(tmp_path / "a", "one", 0.5)
    store_record(tmp_path / "a", "other", 0.5)
    other = {"fingerprint": {"fingerprint": "x"}, "data": {"content": "d"}, "further value": {"top5": 0.7}}
    store_record(tmp_path / "b", "one", 0.6 if wrong == "value" else 0.5, **other.get(wrong, {}))
    store_features(tmp_path / "a", ["1", "2"])
    scale, sha = (1.5 if wrong == "features" else 1.0), ("t" if wrong == "images" else "s")
    store_features(tmp_path / "b", ["2", "3"], scale=scale, sha=sha, pool="train" if wrong == "pool" else "test")
    done = cli("merge", "a", "b", "--to", "all")
    assert done.returncode == 1 and "1 contradiction; nothing was merged" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 6
    assert not (tmp_path / "all").exists()


def test_features_of_other_rounding_are_the_same(cli: WarmCli, tmp_path: Path) -> None:
    store_features(tmp_path / "a", ["1", "2"])
    store_features(tmp_path / "b", ["2", "3"], scale=1 + 1e-6)
    assert cli("merge", "a", "b", "--to", "all").returncode == 0
    assert len(PoolFeatures(tmp_path / "all" / POOL)) == 3


def test_file_that_is_no_record_is_named_and_left_out(cli: WarmCli, tmp_path: Path) -> None:
    good, bad = store_record(tmp_path / "a", "one", 0.5), store_record(tmp_path / "a", "two", 0.5)
    bad.write_text(json.dumps(json.loads(good.read_text()))[:100])
    done = cli("merge", "a", "--to", "all")
    assert done.returncode == 1 and f"left out: {bad.relative_to(tmp_path)}" in done.stderr
    assert [path.name for path in (tmp_path / "all").rglob("*.json")] == [good.name]


def test_target_that_is_among_the_folders_is_extended(cli: WarmCli, tmp_path: Path) -> None:
    store_record(tmp_path / "a", "one", 0.5)
    store_record(tmp_path / "b", "two", 0.5)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert cli("merge", "a", "b", "copy", "--to", "a").returncode == 0
    assert len(list((tmp_path / "a").rglob("*.json"))) == 2
    missing = cli("merge", "nowhere", "--to", "a")
    assert missing.returncode == 2 and "There is no folder nowhere" in missing.stderr
