"""A store that the first build wrote, by `run -m pixels -m pocket -t digits --limit 12`, serves this one.

But for results of the linear probe: version 3 chooses another lambda where several tie, so they are computed again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import evalsuite
from evalsuite.records import Result
from evalsuite.results.store import load_stored
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
    assert len(run(store, "results")) == 3
    after = digests(store / "results")
    said_anew = "pixels-7c4f99c7/digits.zero_shot.179e669c.json"  # not applicable
    changed = {name for name in before if after[name] != before[name]}
    assert changed - {said_anew} == {name for name in before if ".linear_probe." in name}
    assert after.keys() == before.keys()
    run(store, "results")
    again = digests(store / "results")
    assert {name for name in after if again[name] != after[name]} <= {said_anew}


def test_its_records_are_read_as_they_were_written(store: Path) -> None:
    stored, warnings = load_stored([store / "results"])
    assert warnings == [] and len(stored) == 4
    for item in stored:
        assert item.path is not None
        written = json.loads(item.path.read_text())
        assert (item.result.metric and item.result.metric.value) == (written["metric"] and written["metric"]["value"])
        assert item.result.details == written["details"] and item.result.status == written["status"]


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
    # 0.1.0 did not test text encoders.
    assert {name for name in new if not name.endswith("/text_test.json")} == old.keys()
    # The last bit of what the network of pocket computes depends on the machine, and parquet on its version.
    fixed = [
        name
        for name in old
        if name.endswith("pool.json") or ("pixels" in name and name.endswith((".npy", "model.json")))
    ]
    assert {name: new[name] for name in fixed} == {name: old[name] for name in fixed}
    (pocket,) = (name for name in old if "pocket" in name and name.endswith("model.json"))
    written, before = (json.loads((root / "cache/features" / pocket).read_text()) for root in (store, OLD))
    assert written["info"].pop("logit_scale") == pytest.approx(21.97, abs=0.01)  # 0.1.0 did not say it
    assert written == before


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
    assert cli(*ask, without=["open_clip"]).stderr.count("(stored)") == 1  # the probe needs features alone
    finished = cli(*ask, without=["open_clip"])
    assert finished.returncode == 0 and finished.stderr.count("(stored)") == 2, finished.stderr
    assert cli(*ask, "--overwrite", without=["open_clip"]).returncode == 0  # the features are enough
    shutil.rmtree(store / "cache")
    assert cli(*ask, "--overwrite", without=["open_clip"]).returncode == 1
