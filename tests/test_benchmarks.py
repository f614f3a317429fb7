"""Benchmarks are typed by hand and seldom: here they show that they still fit the code they measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import extraction, probe


@pytest.mark.parametrize("command", [extraction.main, probe.main])
def test_help_names_the_options(command: object) -> None:
    done = CliRunner().invoke(command, ["--help"])  # type: ignore[arg-type]
    assert done.exit_code == 0 and "--busy" in done.output and "--json" in done.output


@pytest.mark.slow
def test_a_part_without_data_measures_a_few_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "FOLDER", tmp_path / "made")
    monkeypatch.setattr("evalsuite.speed.measure.SECONDS", 0.0)
    monkeypatch.setitem(extraction.BATCH_SIZES, "cpu", 4)
    target = tmp_path / "figures.json"
    part = ["--part", "device", "--architecture", extraction.ARCHITECTURE, "--images", "8", "--repeats", "1"]
    done = CliRunner().invoke(extraction.main, [*part, "--busy", "1", "--json", str(target)])
    assert done.exit_code == 0, done.output
    found = json.loads(target.read_text())
    assert found["busy"] == 1 and found["device"][extraction.ARCHITECTURE]["memory_over_bare"] > 0
