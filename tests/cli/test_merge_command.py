"""`evalsuite merge`: stores of machines that share no disk become one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evalsuite.errors import EvalsuiteError
from evalsuite.features.blocks import Block, Stamp
from evalsuite.features.catalog import ENTRY_FILE, Origin, note_origin
from evalsuite.features.descriptions import DIGESTS, read_description, write_description
from evalsuite.features.merging import merge_pool, plan_features
from evalsuite.features.store import PoolFeatures
from evalsuite.features.texts import EmbeddedTexts, read_texts, text_embeddings
from evalsuite.records import DataRecord, ErrorRecord, MetricRecord, Provenance, Result
from evalsuite.results.merging import plan_results
from evalsuite.results.store import ResultStore, read_result
from tests.cli.conftest import contents
from tests.processes import WarmCli

POOL = Path("cache/features/m-0123456789ab/digits.test-abc")
MODEL = POOL.parent


def store_record(machine: Path, task: str, value: float | None, created: str = "2026-01-01", **more: Any) -> Path:
    """Write a record as a run on a machine would."""
    metric = None if value is None else MetricRecord(name="accuracy", value=value, n=10)
    usual = {"run_key": "weights", "samples": None, "head": None, "fingerprint": "same", "content": "c", "top5": 0.6}
    more = {**usual, **more}
    result = Result(
        status="error" if value is None else "ok",
        model="m",
        model_name="m",
        task=task,
        protocol="zero_shot",
        fingerprint=more["fingerprint"],
        metric=metric,
        error=ErrorRecord(kind="E", message=created) if value is None else None,
        metrics={"top5": more["top5"]} if value is not None else {},
        data=DataRecord(source="s", content=more["content"]),
        provenance=Provenance(created=created),
    )
    return ResultStore(machine / "results").write(result, more["run_key"], samples=more["samples"], head=more["head"])


def store_features(
    machine: Path, ids: list[str], *, scale: float = 1.0, sha: str = "s", dim: int = 2, pool: str = "test"
) -> None:
    """Write features whose values follow from the ids."""
    store = PoolFeatures(machine / POOL)
    note_origin(store.folder, Origin("m", "digits", pool, "fp32", "abc"))
    with store.lock():
        rows = np.array([[scale * float(name), *[1.0] * (dim - 1)] for name in ids], dtype=np.float32)
        store.add_shard(Block(ids, [Stamp(1, 0, sha + name) for name in ids], {"penultimate": rows}))
        store.reload()
        store.compact()


def store_texts(machine: Path, value: float = 1.0) -> Path:
    """Write embeddings of two texts; return their file."""
    folder = machine / MODEL / "texts"
    text_embeddings(folder, ["one", "two"], lambda texts: EmbeddedTexts(torch.full((2, 3), value)))
    (path,) = folder.iterdir()
    return path


def damage(path: Path) -> None:
    """Change the last bit of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


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


@pytest.mark.parametrize(
    "wrong", ["value", "metrics", "fingerprint", "data", "pool", "images", "features", "dimensions", "texts"]
)
def test_contradictions_are_refused_before_anything_is_written(cli: WarmCli, tmp_path: Path, wrong: str) -> None:
    for machine, fails in (("a", False), ("b", True)):
        other = wrong if fails else ""
        store_record(
            tmp_path / machine,
            "one",
            0.6 if other == "value" else 0.5,
            fingerprint="x" if other == "fingerprint" else "same",
            content="d" if other == "data" else "c",
            top5=0.8 if other == "metrics" else 0.9,
        )
        store_features(
            tmp_path / machine,
            ["3"] if other == "dimensions" else ["2", "3"] if fails else ["1", "2"],
            scale=1.5 if other == "features" else 1.0,
            sha="t" if other == "images" else "s",
            dim=3 if other == "dimensions" else 2,
            pool="train" if other == "pool" else "test",
        )
        store_texts(tmp_path / machine, 2.0 if other == "texts" else 1.0)
    store_record(tmp_path / "a", "other", 0.5)
    done = cli("merge", "a", "b", "--to", "all")
    assert done.returncode == 1 and "1 contradiction; nothing was merged" in done.stderr
    assert wrong != "metrics" or "top5 is 0.900000 and 0.800000" in done.stderr
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


def test_what_a_model_is_comes_with_its_own_checksum(cli: WarmCli, tmp_path: Path) -> None:
    for machine in ("a", "b"):
        store_features(tmp_path / machine, ["1"])
        write_description(tmp_path / machine / MODEL, {"written on": machine}, reusable=True)
    shutil.rmtree(tmp_path / "a" / "cache" / DIGESTS)  # as version 0.1.0 left it
    assert cli("merge", "a", "b", "--to", "all").returncode == 0
    assert read_description(tmp_path / "all" / MODEL) == (tmp_path / "a" / MODEL / "model.json").read_bytes()
    (tmp_path / "a" / MODEL / "model.json").unlink()
    assert cli("merge", "a", "b", "--to", "second").returncode == 0
    damage(tmp_path / "second" / MODEL / "model.json")
    healed = cli("merge", "b", "--to", "second")
    assert healed.returncode == 1 and "left out: second/cache" in healed.stderr
    assert read_description(tmp_path / "second" / MODEL) == (tmp_path / "b" / MODEL / "model.json").read_bytes()


def test_what_is_damaged_is_named_and_what_is_sound_elsewhere_takes_its_place(cli: WarmCli, tmp_path: Path) -> None:
    for machine in ("a", "b", "all"):
        store_features(tmp_path / machine, ["1", "2"])
    store_features(tmp_path / "c", ["4"])
    texts = [store_texts(tmp_path / machine) for machine in ("a", "b", "all")]
    damage(texts[0])
    damage(texts[2])
    (features,) = (tmp_path / "all" / POOL).rglob("*.npy")
    damage(features)
    (cut,) = (tmp_path / "a" / POOL).rglob("*.npy")
    cut.write_bytes(cut.read_bytes()[:20])
    (tmp_path / "c" / POOL / ENTRY_FILE).unlink()
    done = cli("merge", "a", "b", "c", "--to", "all")
    assert done.returncode == 1
    for path in (texts[0], texts[2], cut, tmp_path / "c" / POOL / ENTRY_FILE):
        assert str(path.relative_to(tmp_path)) in done.stderr
    read_texts(texts[2])
    merged = PoolFeatures(tmp_path / "all" / POOL)
    assert sorted(merged.ids()) == ["1", "2"] and merged.damaged() == []


def test_errors_that_are_older_than_a_value_of_their_job_go(cli: WarmCli, tmp_path: Path) -> None:
    store_record(tmp_path / "a", "one", None, run_key="")  # its weights were not there
    store_record(tmp_path / "a", "two", 0.5)
    store_record(tmp_path / "a", "two", None, "2026-01-03")  # overwriting failed, later
    store_record(tmp_path / "b", "one", 0.5, "2026-01-02")
    store_record(tmp_path / "all", "one", None, run_key="")
    for records in (3, 0):
        done = cli("merge", "a", "b", "--to", "all")
        assert done.returncode == 0 and f"{records} records and" in done.output
        names = sorted(path.name for path in (tmp_path / "all").rglob("*.json"))
        assert names == ["one.zero_shot.json", "two.zero_shot.error.json", "two.zero_shot.json"]


def test_of_equal_values_the_one_with_samples_and_head_counts(cli: WarmCli, tmp_path: Path) -> None:
    lost = store_record(tmp_path / "a", "one", 0.5, samples={"sample": ["x"]})
    lost.with_name("one.zero_shot.samples.parquet").unlink()
    store_record(tmp_path / "b", "one", 0.5, samples={"sample": ["x"]})
    store_record(tmp_path / "a", "two", 0.5)
    store_record(tmp_path / "b", "two", 0.5, head=(b"weights", b"{}"))
    assert cli("merge", "a", "b", "--to", "all").returncode == 0
    assert len(list((tmp_path / "all").rglob("*.samples.parquet"))) == 1
    assert len(list((tmp_path / "all").rglob("*.head.*"))) == 2


def test_links_are_followed_and_the_target_is_no_source(cli: WarmCli, tmp_path: Path) -> None:
    store_record(tmp_path / "disk", "one", 0.5)
    store_features(tmp_path / "disk", ["1"])
    (tmp_path / "a").mkdir()
    for name in ("results", "cache"):
        (tmp_path / "a" / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "results" / "again").symlink_to(tmp_path / "a")
    for amount in ("1 record and 1 row of features", "0 records and 0 rows of features"):
        done = cli("merge", "a", "--to", "a/all")
        assert done.returncode == 0 and amount in done.output
    assert not (tmp_path / "a" / "all" / "all").exists()


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_record(tmp_path / "a", "one", 0.5)
    store_features(tmp_path / "a", ["1"])
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name in ("results", "cache"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    for plan in (plan_results, plan_features):
        with pytest.raises(PermissionError):
            plan([tmp_path / "a"], tmp_path / "all")  # type: ignore[operator]


def test_rows_that_are_gone_since_they_were_seen_are_no_traceback(tmp_path: Path) -> None:
    store_features(tmp_path / "a", ["1", "2"])
    (pool,) = plan_features([tmp_path / "a"], tmp_path / "all").pools
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(EvalsuiteError, match=r"2 rows of it are gone, such as 1.* same command"):
        merge_pool(pool, print, print)
