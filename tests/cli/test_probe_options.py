"""The options of the probe, through the command line, on scikit-learn's digits as pixels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import records
from tests.processes import Finished, WarmCli


def probe(cli: WarmCli, out: Path, *options: str) -> tuple[dict[str, Any], Finished]:
    """Run the probe on 200 digits a split; return what it recorded and printed."""
    done = cli(
        "run", "-m", "pixels", "-t", "digits", "--protocol", "linear_probe", "--limit", "200", "--offline",
        "-o", out, *options,
    )  # fmt: skip
    assert done.returncode == 0, done.output
    (record,) = records(out)
    assert record["metric"]["value"] is not None
    return record, done


def details(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["details"]["folds"][0]
    return found


def scores(record: dict[str, Any]) -> dict[float, float]:
    return {trial["lambda"]: trial["score"] for trial in details(record)["tried"]}


def test_the_full_grid_tries_all_97_lambdas(cli: WarmCli, tmp_path: Path) -> None:
    full, _ = probe(cli, tmp_path / "full", "--probe-grid", "full")
    quick, _ = probe(cli, tmp_path / "quick")
    lambdas = list(scores(full))
    assert len(lambdas) == 97
    assert lambdas == pytest.approx([10 ** (-6 + i / 8) for i in range(97)])
    assert len(scores(quick)) <= 20  # 15, and a few more where lambdas tie
    assert set(scores(quick)) <= set(lambdas)
    tried = list(scores(full).values())
    low, high = details(full)["plateau"]
    first, middle, last = map(lambdas.index, (low, details(full)["lambda"], high))
    assert set(tried[first : last + 1]) == {max(tried)} and middle == (first + last + 1) // 2
    assert full["fingerprint"] != quick["fingerprint"]


@pytest.mark.parametrize("named", [True, False])
def test_a_record_is_current_whether_it_names_the_solver_or_not(cli: WarmCli, tmp_path: Path, named: bool) -> None:
    record, _ = probe(cli, tmp_path / "out")
    assert record["options"]["solver"] == "lbfgs"
    (path,) = (tmp_path / "out").glob("*/digits.linear_probe*.json")
    if not named:
        del record["options"]["solver"], record["digest"]
        path.write_text(json.dumps(record), "utf-8")
    before = path.read_bytes()
    again, _ = probe(cli, tmp_path / "out")
    assert path.read_bytes() == before
    assert again["fingerprint"] == record["fingerprint"]


def test_the_tolerance_is_how_far_a_fit_goes(cli: WarmCli, tmp_path: Path) -> None:
    loose, _ = probe(cli, tmp_path / "loose", "--probe-tolerance", "0.05")
    tight, _ = probe(cli, tmp_path / "tight", "--probe-tolerance", "1e-8")
    best = {trial["lambda"]: trial["objective"] for trial in details(tight)["tried"]}
    shared = [trial for trial in details(loose)["tried"] if trial["lambda"] in best]
    assert len(shared) >= 7
    floor = 1e-3 * 180  # a tenth of the 200 rows is held out
    gaps = [(trial["objective"] - best[trial["lambda"]]) / max(best[trial["lambda"]], floor) for trial in shared]
    assert max(gaps) > 1e-6
    assert sum(trial["iterations"] for trial in shared) < sum(
        trial["iterations"] for trial in details(tight)["tried"] if trial["lambda"] in {t["lambda"] for t in shared}
    )
    assert all(math.isfinite(trial["gradient_norm"]) for trial in shared)


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--probe-grid", "fine", "'parametric', 'full'"),
        ("--probe-tolerance", "0", "give a number between 0 and 1"),
        ("--probe-tolerance", "1", "give a number between 0 and 1"),
        ("--probe-tolerance", "tight", "'tight' is no number"),
    ],
)
def test_wrong_values_are_refused_before_any_work(
    cli: WarmCli, tmp_path: Path, option: str, value: str, text: str
) -> None:
    done = cli("run", "-m", "pixels", "-t", "digits", "-o", tmp_path / "out", option, value)
    assert done.returncode == 2
    assert text in done.output
    assert not (tmp_path / "out").exists()
