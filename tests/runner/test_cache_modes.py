"""What `cache` leaves behind: nothing, the last state of a model, or everything; and that numbers are of now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import evalsuite
from evalsuite.atomic import TEMPORARY_PREFIX
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.runner.test_python import Colours, shrink


@pytest.fixture
def task(tmp_path: Path) -> str:
    return str(write_folder_task(tmp_path / "shapes"))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def states(tmp_path: Path) -> list[str]:
    """Return the names of the folders of features."""
    return sorted(path.name for path in (tmp_path / "cache" / "features").iterdir())


def probe(tmp_path: Path, task: str, network: Colours, cache: Any, **more: Any) -> float:
    """Return the accuracy of a linear probe."""
    (found,) = evalsuite.evaluate(
        network, task, "linear_probe", preprocess=shrink, name="step", cache=cache, cache_dir=tmp_path / "cache", **more
    ).raise_for_errors()
    return float(found.metric.value)


def test_off_leaves_nothing_behind_and_follows_weights_that_change_in_place(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("EVALSUITE_HOME", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = files(tmp_path)
    network = Colours()
    assert probe(tmp_path, task, network, "off") == 1.0
    network.weight.data.zero_()
    assert probe(tmp_path, task, network, "off") == pytest.approx(1 / 3)
    with torch.no_grad():
        network.weight.fill_(1.0)
    assert probe(tmp_path, task, network, "off") == 1.0
    assert files(tmp_path) == before and not list((tmp_path / "temporary").iterdir())
    assert not home.exists()


def test_off_keeps_results_where_an_output_is_named_and_reads_no_features(tmp_path: Path, task: str) -> None:
    keywords = {"cache_dir": tmp_path / "cache", "output": tmp_path / "out"}
    evalsuite.evaluate(CountingModel(), task, "zero_shot", **keywords)
    kept = sorted(files(tmp_path / "cache"))
    model = CountingModel()
    evalsuite.evaluate(model, task, "zero_shot", cache="off", **keywords).raise_for_errors()
    assert model.encoded == 9 and sorted(files(tmp_path / "cache")) == kept
    assert len(evalsuite.leaderboard(tmp_path / "out").rows) == 1


def test_what_a_killed_run_without_a_cache_left_is_removed_by_the_next(tmp_path: Path, task: str) -> None:
    left = tmp_path / "cache" / "features" / f"{TEMPORARY_PREFIX}00000000-1-1"
    model = CountingModel(fail_after=0)
    with pytest.raises(KeyboardInterrupt):
        evalsuite.evaluate(model, task, "zero_shot", cache="off", cache_dir=tmp_path / "cache")
    assert not files(tmp_path / "cache")
    from evalsuite.atomic import _machine

    left = left.with_name(f"{TEMPORARY_PREFIX}{_machine()}-{2**22 + 1}-1")  # no process has this number
    left.mkdir()
    evalsuite.evaluate(CountingModel(), task, "zero_shot", cache="off", cache_dir=tmp_path / "cache")
    assert not left.exists()


def test_last_keeps_one_state_of_a_model_and_serves_it(tmp_path: Path, task: str) -> None:
    network, output = Colours(), tmp_path / "out"
    assert probe(tmp_path, task, network, "last", output=output) == 1.0
    (first,) = states(tmp_path)
    network.weight.data.zero_()
    assert probe(tmp_path, task, network, "last", output=output) == pytest.approx(1 / 3)
    (second,) = states(tmp_path)
    assert first != second
    (again,) = evalsuite.evaluate(
        network, task, "prototype", preprocess=shrink, name="step", cache="last", cache_dir=tmp_path / "cache",
        output=output,
    )  # fmt: skip
    assert again.timings.images_encoded == 0 and states(tmp_path) == [second]
    assert len(list(output.rglob("*.json"))) == 3  # results stay


def test_last_leaves_models_alone_whose_name_begins_alike(tmp_path: Path, task: str) -> None:
    for name in ("step-b", "step"):
        network = Colours()
        network.weight.data.mul_(len(name))
        keywords: dict[str, Any] = {"cache": "last", "cache_dir": tmp_path / "cache", "output": tmp_path / "out"}
        evalsuite.evaluate(network, task, "prototype", preprocess=shrink, name=name, **keywords).raise_for_errors()
    assert len(states(tmp_path)) == 2


def test_last_never_removes_what_was_to_be_kept(tmp_path: Path, task: str) -> None:
    network, output = Colours(), tmp_path / "out"
    probe(tmp_path, task, network, "keep", output=output)
    (kept,) = states(tmp_path)
    for weight in (2.0, 3.0):
        network.weight.data.fill_(weight)
        probe(tmp_path, task, network, "last", output=output)
    assert len(states(tmp_path)) == 2 and kept in states(tmp_path)
    probe(tmp_path, task, network, "keep", output=tmp_path / "other")  # wanted now
    network.weight.data.fill_(4.0)
    probe(tmp_path, task, network, "last", output=output)
    assert len(states(tmp_path)) == 3
