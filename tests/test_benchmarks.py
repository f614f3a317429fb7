"""Benchmarks are typed by hand and seldom: here they show that they still fit the code they measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import extraction, nearest, probe, protocols


@pytest.mark.parametrize("command", [extraction.main, probe.main])
def test_help_names_the_options(command: object) -> None:
    done = CliRunner().invoke(command, ["--help"])  # type: ignore[arg-type]
    assert done.exit_code == 0 and "--busy" in done.output and "--json" in done.output


def test_neighbours_are_those_of_a_product_by_hand(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    small = ["--queries", "20", "--rows", "60", "--dim", "4", "--k", "3", "--repeats", "1"]
    done = CliRunner().invoke(nearest.main, [*small, "--json", str(target)])
    assert done.exit_code == 0, done.output
    assert json.loads(target.read_text())["ratio"] > 0


def test_every_protocol_is_timed_against_the_two_of_the_paper(tmp_path: Path) -> None:
    small = ["--model", "pixels", "--tasks", "digits", "--limit", "100", "--repeats", "1", "--work", str(tmp_path)]
    done = CliRunner().invoke(protocols.main, small)
    assert done.exit_code == 0 and "of the two of the paper" in done.output, done.output


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
