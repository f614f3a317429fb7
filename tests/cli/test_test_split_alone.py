"""A task of which only the test split is there: zero-shot needs no more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evalsuite.data import open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataMissingError
from evalsuite.tasks import load_task_file
from tests.cli.conftest import records
from tests.processes import WarmCli


def test_zero_shot_runs_and_the_probe_is_told(cli: WarmCli, shapes: Path, colours: str, tmp_path: Path) -> None:
    full = cli("run", "-m", colours, "-t", shapes, "-o", "full")
    assert full.returncode == 0
    shutil.rmtree(shapes.parent / "train")
    done = cli("run", "-m", colours, "-t", shapes, "-o", "out")
    assert done.returncode == 1
    found = {record["protocol"]: record for record in records(tmp_path / "out")}
    whole = {record["protocol"]: record for record in records(tmp_path / "full")}
    assert found["zero_shot"]["status"] == "ok"
    assert found["zero_shot"]["metric"] == whole["zero_shot"]["metric"]
    assert found["zero_shot"]["fingerprint"] == whole["zero_shot"]["fingerprint"]
    assert found["linear_probe"]["status"] == "error"
    assert str(shapes.parent / "train") in found["linear_probe"]["error"]["message"]


def test_skip_missing_leaves_the_probe_out(cli: WarmCli, shapes: Path, colours: str, tmp_path: Path) -> None:
    shutil.rmtree(shapes.parent / "train")
    done = cli("run", "-m", colours, "-t", shapes, "-o", "out", "--skip-missing")
    assert done.returncode == 0
    assert [record["protocol"] for record in records(tmp_path / "out")] == ["zero_shot"]
    assert "Skipped linear_probe of shapes" in done.output
    planned = cli("run", "-m", "pocket", "-t", shapes, "-o", "out", "--dry-run")
    assert "pocket shapes zero_shot to do" in planned.output and "linear_probe blocked" in planned.output


def test_without_the_test_split_nothing_opens(shapes: Path) -> None:
    shutil.rmtree(shapes.parent / "test")
    with pytest.raises(DataMissingError, match=r"data/test\. Put a folder"):
        open_task(load_task_file(shapes), DataPlace(), test_only=True)
