"""`evalsuite cache verify` looks at everything that is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import evalsuite
from evalsuite.cli.cache import verify
from evalsuite.seals import read_sealed
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.stores import write_old_checksums


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """A folder with features, texts, results and samples of a small model."""
    task = write_folder_task(tmp_path / "data")
    places = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    evalsuite.evaluate([CountingModel()], str(task), "zero_shot", log_samples=True, **places)
    return tmp_path


def looked_at(stores: Path, *options: str) -> Result:
    """Call the command."""
    places = ["--cache-dir", stores / "cache", "-o", stores / "out"]
    return CliRunner().invoke(verify, [*map(str, places), *options], standalone_mode=False)


def the(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


def test_what_is_whole_is_ok_and_all_of_it_is_named(stores: Path) -> None:
    found = looked_at(stores)
    assert found.return_value == 0, found.output
    lines = found.output.splitlines()
    assert all(": ok" in line for line in lines)
    for what in ("counting shapes/test: ok", "texts of counting-", "results in ", "published tables: ok"):
        assert sum(line.startswith(what) for line in lines) == 1, what
    assert "without a checksum" not in found.output


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("penultimate.npy", "penultimate.npy: its bytes are not what was written"),
        ("manifest.parquet", "manifest.parquet is damaged"),
        ("checksums.json", "damaged"),
        ("pool.json", "pool.json"),
        ("model.json", "model.json is damaged"),
        ("text_test.json", "text_test.json is damaged"),
        ("*.safetensors", "texts/"),
        ("out/*/shapes.zero_shot.json", "run it again"),
        ("*.samples.parquet", "--log-samples"),
        ("digests/*.json", "is damaged"),
    ],
)
def test_whatever_is_damaged_is_named(stores: Path, pattern: str, said: str) -> None:
    path = the(stores, pattern)
    flipped(path)
    found = looked_at(stores)
    assert found.return_value == 1 and "1 problem" in found.output, found.output
    assert said in found.output and "Traceback" not in found.output


def old(stores: Path) -> None:
    """Take away the checksums that version 0.1.0 did not write."""
    write_old_checksums(the(stores, "compacted-000000"))
    record = the(stores, "shapes.zero_shot.json")
    content = read_sealed(record)
    del content["samples_digest"]
    record.write_text(json.dumps(content))


def test_what_is_from_before_there_were_checksums_is_said(stores: Path) -> None:
    old(stores)
    found = looked_at(stores)
    assert found.return_value == 0
    assert "1 without a checksum" in found.output


@pytest.mark.parametrize(("options", "there"), [(("-m", "counting"), True), (("-m", "other"), False)])
def test_filters_leave_out_what_is_not_asked_for(stores: Path, options: tuple[str, ...], there: bool) -> None:
    found = looked_at(stores, *options)
    assert ("shapes/test: ok" in found.output, "results in" in found.output) == (there, there)
    assert "published tables" not in found.output


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: path.write_text("[1, 2]")])
def test_an_import_that_is_damaged_is_named(
    stores: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("EVALSUITE_HOME", str(stores / "home"))
    path = stores / "home" / "imported" / "open-clip.json"
    path.parent.mkdir(parents=True)
    damage(path)
    found = looked_at(stores)
    assert found.return_value == 1 and str(path) in found.output
