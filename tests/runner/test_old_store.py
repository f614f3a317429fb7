"""A store that the first build wrote, by `run -m pixels -m pocket -t digits --limit 12`, serves this one."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

import evalsuite
from evalsuite.records import Result
from tests.processes import WarmCli

OLD = Path(__file__).parent / "old_store"
LOCKS = ("lock", ".lock")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(OLD, tmp_path / "store"))


def run(store: Path, output: str) -> list[Result]:
    """Ask for the same again; return the results with a value."""
    models = ["pixels", "pocket"]
    found = evalsuite.evaluate(models, "digits", output=store / output, cache_dir=store / "cache", limit=12)
    return [result for result in found if result.metric is not None]


def digests(folder: Path) -> dict[str, str]:
    """Return file -> sha256 of what a folder holds, locks aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in LOCKS]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_its_results_are_the_answer(store: Path) -> None:
    before = digests(store / "results")
    found = run(store, "results")
    assert len(found) == 3
    after = digests(store / "results")
    assert {name for name in before if after[name] != before[name]} <= {
        "pixels-7c4f99c7/digits.zero_shot.179e669c.json"  # not applicable, which is said anew
    }


def test_its_features_are_used_and_stay_as_they_are(store: Path) -> None:
    before = digests(store / "cache" / "features")
    found = run(store, "elsewhere")
    assert len(found) == 3
    assert [result.timings.images_encoded for result in found] == [0, 0, 0]
    assert digests(store / "cache" / "features") == before


def test_features_that_are_encoded_anew_are_the_same_files_and_those_of_pixels_the_same_bytes(store: Path) -> None:
    shutil.rmtree(store / "cache")
    run(store, "elsewhere")
    new, old = digests(store / "cache" / "features"), digests(OLD / "cache" / "features")
    assert new.keys() == old.keys()
    # The last bit of what the network of pocket computes depends on the machine, and parquet on its version.
    fixed = [
        name
        for name in old
        if name.endswith(("model.json", "pool.json")) or ("pixels" in name and name.endswith(".npy"))
    ]
    assert {name: new[name] for name in fixed} == {name: old[name] for name in fixed}


def test_what_is_stored_is_answered_without_loading_the_model(store: Path, cli: WarmCli) -> None:
    ask = (
        "run",
        "-m",
        "pocket",
        "-t",
        "digits",
        "--limit",
        "12",
        "-o",
        store / "results",
        "--cache-dir",
        store / "cache",
    )
    finished = cli(*ask, without=["open_clip"])
    assert finished.returncode == 0 and finished.stderr.count("(stored)") == 2, finished.stderr
    assert cli(*ask, "--overwrite", without=["open_clip"]).returncode == 0  # the features are enough
    shutil.rmtree(store / "cache")
    assert cli(*ask, "--overwrite", without=["open_clip"]).returncode == 1
