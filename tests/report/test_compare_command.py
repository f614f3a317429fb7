"""`evalsuite compare` as a person types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.processes import WarmCli
from tests.report.conftest import Bench

ROWS = ("compare", "published:clip/vit-b-32", "published:resnet/50", "--protocol", "linear_probe")


@pytest.fixture
def two_models(bench: Bench) -> Bench:
    """Results of m/good and m/bad on two tasks, the samples logged, in `out`."""
    for task in ("mnist", "cifar10"):
        bench.add("m/good", task, 0.2)
        bench.add("m/bad", task, 1.5)
    return bench


def test_two_models_that_were_run(cli: WarmCli) -> None:
    finished = cli(
        "run", "-m", "pocket,pixels", "-t", "digits", "--limit", "40", "--protocol", "linear_probe", "--log-samples",
        "-o", "out", "--cache-dir", "cache",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    refused = cli("compare", "pocket", "pixels", "-o", "out")
    assert refused.returncode == 2 and "All results of pocket are partial" in refused.stderr
    finished = cli("compare", "pocket", "pixels", "-o", "out", "--include-partial", "--format", "json")
    assert finished.returncode == 0, finished.stderr
    (row,) = json.loads(finished.stdout)["rows"]
    assert (row["task"], row["test"]) == ("digits", "exact McNemar")
    assert row["difference"] == pytest.approx(row["first"] - row["second"])
    finished = cli("compare", "--reproduce", "-o", "out")
    assert finished.returncode == 0, finished.stderr
    assert "No published number: pocket on digits" in finished.stdout


def test_the_table_is_for_people_and_the_exit_code_for_machines(cli: WarmCli, two_models: Bench) -> None:
    shown = cli("compare", "m/good", "m/bad", "-o", "out")
    assert shown.returncode == 0 and shown.stderr == ""
    assert "linear_probe: m/good against m/bad: wins 2, ties 0, losses 0; +" in shown.stdout
    assert cli("compare", "m/good", "m/bad", "-o", "out", "--fail-below", "0").returncode == 0
    behind = cli("compare", "m/bad", "m/good", "-o", "out", "--fail-below", "5")
    assert behind.returncode == 1
    assert "losses 2" in behind.stdout and "Failed: linear_probe: -" in behind.stderr
    assert "Failed: mnist (linear_probe): -" in behind.stderr
    assert cli("compare", "m/bad", "m/good", "-o", "out", "--fail-below", "100").returncode == 0
    assert cli("compare", "m/bad", "m/good", "-o", "out").returncode == 0


def test_a_reproduction_fails_where_it_is_too_low(cli: WarmCli, bench: Bench) -> None:
    exact = {"published": "clip/vit-b-32", "weight_fidelity": "exact"}
    bench.add("clip/vit-b-32", "mnist", 0.5, value=0.94, model_info=exact, log=False)  # the paper: 99.0
    shown = cli("compare", "--reproduce", "ViT-B/32", "-o", "out", "--fail-below", "5.1")
    assert shown.returncode == 0, shown.stderr
    assert "outside the interval, 2.00 too low" in shown.stdout
    failed = cli("compare", "--reproduce", "-o", "out", "--fail-below", "4.9", "--to", "table.csv")
    assert failed.returncode == 1
    assert "Failed: clip/vit-b-32 on mnist (linear_probe): -5.00 points" in failed.stderr


def test_published_rows_need_no_results(cli: WarmCli, tmp_path: Path) -> None:
    failed = cli(
        "compare", "published:resnet/50", "published:clip/vit-b-32", "-t", "mnist,imagenet", "--fail-below", "1"
    )
    assert failed.returncode == 1  # linear probes: 98.3 against 99.0, and 74.3 against 76.1
    assert failed.stderr.splitlines() == [
        "Failed: linear_probe: -1.25 points on average.",
        "Failed: imagenet (linear_probe): -1.80 points.",
    ]
    alone = cli(*ROWS, "-t", "mnist,gtsrb", "--to", "two.csv")
    assert alone.returncode == 0
    assert alone.stdout == "Wrote 2 rows to two.csv.\n" and "on average over 2 tasks" in alone.stderr
    rows = list(csv.DictReader((tmp_path / "two.csv").read_text().splitlines()))
    assert [(row["task"], round(float(row["first"]), 6), row["outcome"]) for row in rows] == [
        ("gtsrb", 85.3, "win"),
        ("mnist", 99.0, "win"),
    ]


def test_folders_groups_and_files_combine(cli: WarmCli, two_models: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other")
    other.add("m/new", "mnist", 0.4)
    other.add("m/new", "own", 0.4)
    found = cli("compare", "m/new", "m/good", "-o", "out", "-o", "other", "-t", "all", "--to", "two.md")
    assert found.returncode == 0, found.stderr
    text = (tmp_path / "two.md").read_text()
    assert "| linear_probe | mnist  |" in text and "own" not in text
    assert "Not compared, because m/new has no such result: cifar10 (linear_probe)." in text


def test_foreign_broken_and_newer_files_are_named_and_left_out(cli: WarmCli, two_models: Bench, tmp_path: Path) -> None:
    folder = two_models.read()[0].path.parent
    (folder / "cut.json").write_text('{"schema_version": 1, "mod')
    (folder / "foreign.json").write_text('{"accuracy": 0.9}')
    (folder / "newer.json").write_text('{"schema_version": 99}')
    found = cli("compare", "m/good", "m/bad", "-o", "out")
    assert found.returncode == 0 and "wins 2" in found.stdout
    warnings = dict(line.removeprefix("warning: out/").split(" was left out: ") for line in found.stderr.splitlines())
    assert {Path(name).name: reason for name, reason in warnings.items()} == {
        "cut.json": warnings[f"{folder.name}/cut.json"],
        "foreign.json": "it is not a result of evalsuite",
        "newer.json": "it has schema 99 and this version reads up to 1; upgrade evalsuite",
    }
    assert warnings[f"{folder.name}/cut.json"].startswith("it is not JSON")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "Name one or two models"),
        (["compare", "m/good", "m/bad", "m/good"], "Name one or two models"),
        (["compare", "m/gud", "m/bad"], "Did you mean m/good"),
        (["compare", "m/good", "m/good"], "Both names stand for m/good"),
        (["compare", "m/good"], "m/good has no published row of its own"),
        (["compare", "m/good", "published:resnet/51"], "Did you mean resnet/50"),
        (["compare", "m/good", "m/bad", "-t", "mnits"], "Did you mean mnist"),
        (["compare", "m/good", "m/bad", "--protocol", "linear"], "Did you mean linear_probe"),
        (["compare", "m/good", "m/bad", "--fail-below", "-1"], "-1 is too small: give a number of 0 or more"),
        (["compare", "m/good", "m/bad", "--fail-below", "nan"], "'nan' is no number: give a number of 0 or more"),
        (["compare", "m/good", "m/bad", "--to", "board.html"], "end its name in .md or .csv or .json"),
        (["compare", "m/good", "m/bad", "--to", "out/x/y.md/z.md"], "Cannot write"),
        (["compare", "--reproduce", "m/gud"], "Did you mean m/good"),
        (["compare", "m/good", "m/bad", "-o", "nowhere"], "There is no results folder nowhere"),
        ([*ROWS, "-t", "digits"], "There is no result for the task 'digits'"),
    ],
)
def test_what_is_wrong_is_said_and_exit_2(cli: WarmCli, two_models: Bench, arguments: list[str], message: str) -> None:
    (two_models.store.root / "x").mkdir()
    (two_models.store.root / "x" / "y.md").write_text("")
    finished = cli(*arguments, *([] if "-o" in arguments or arguments[0] != "compare" else ["-o", "out"]))
    assert finished.returncode == 2
    assert message in finished.output
    assert finished.stdout == ""
