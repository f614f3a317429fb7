"""`evalsuite export` as a person types it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from tests.processes import WarmCli
from tests.report.test_leaderboard_command import store


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    store(folder, "clip/mine", "mnist", 0.5)
    store(folder, "clip/mine", "cifar10", 0.25)
    store(folder, "other/model", "mnist", 0.75)
    return folder


def test_csv_and_parquet_hold_the_same_numbers(cli: WarmCli, runs: Path, tmp_path: Path) -> None:
    chosen = ["-o", runs, "--published", "clip/rn50", "-t", "mnist", "--protocol", "zero_shot"]
    printed = cli("export", "csv", *chosen)
    assert printed.returncode == 0
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    assert [(row["model"], row["metric"], row["value"], row["n"], row["origin"], row["table"]) for row in rows] == [
        ("clip/mine", "accuracy", "0.5", "100", "measured", ""),
        ("clip/rn50", "accuracy", "0.6659999999999999", "10000", "published", "clip-paper"),
        ("other/model", "accuracy", "0.75", "100", "measured", ""),
    ]
    assert (
        cli("export", "csv", *chosen, "--to", tmp_path / "n.csv").stdout
        == f"Wrote 3 numbers to {tmp_path / 'n.csv'}.\n"
    )
    assert (tmp_path / "n.csv").read_text() == printed.stdout
    assert cli("export", "parquet", *chosen, "--to", tmp_path / "n.parquet").returncode == 0
    table = pq.read_table(tmp_path / "n.parquet").to_pylist()
    assert [(row["model"], row["value"], row["n"]) for row in table] == [
        (row["model"], float(row["value"]), int(row["n"])) for row in rows
    ]


def test_a_model_card_of_one_model(cli: WarmCli, runs: Path, tmp_path: Path) -> None:
    printed = cli("export", "model-card", "clip/mine", "-o", runs)
    assert printed.returncode == 0
    name, found = model_index_to_eval_results(yaml.safe_load(printed.stdout)["model-index"])
    assert name == "clip/mine"
    assert [(item.dataset_name, item.metric_value) for item in found] == [("CIFAR-10", 0.25), ("MNIST", 0.5)]
    assert cli("export", "model-card", "clip/mine", "-o", runs, "--to", tmp_path / "card.yaml").returncode == 0
    assert (tmp_path / "card.yaml").read_text() == printed.stdout


def test_evaluation_results_name_the_repository_of_the_task_file(cli: WarmCli, runs: Path, tmp_path: Path) -> None:
    printed = cli("export", "eval-results", "clip/mine", "-o", runs)
    found = {entry["dataset"]["id"]: entry["value"] for entry in yaml.safe_load(printed.stdout)}
    assert printed.returncode == 0 and found == {"uoft-cs/cifar10": 0.25, "ylecun/mnist": 0.5}
    target = tmp_path / ".eval_results" / "mine.yaml"
    options = ["--dataset", "mnist=me/digits", "--units", "percent", "-t", "mnist", "--to", target]
    assert cli("export", "eval-results", "clip/mine", "-o", runs, *options).returncode == 0
    (entry,) = yaml.safe_load(target.read_text())
    assert entry["dataset"]["id"] == "me/digits" and entry["value"] == 50.0


def test_states_of_weights_are_told_apart_as_in_a_leaderboard(cli: WarmCli, runs: Path) -> None:
    (path,) = runs.glob("clip-mine-*/mnist.zero_shot.json")
    (runs / "another").mkdir()
    record = json.loads(path.read_text().replace("weights of clip/mine", "new weights"))
    del record["digest"]  # it is an edit
    (runs / "another" / path.name).write_text(json.dumps(record))
    refused = cli("export", "model-card", "clip/mine", "-o", runs)
    assert refused.returncode == 2 and "results of clip/mine @" in refused.stderr
    label = refused.stderr.partition("results of ")[2].partition(",")[0]
    assert cli("export", "model-card", label, "-o", runs).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["csv", "-o", "{runs}", "-t", "mnits"], "Did you mean mnist"),
        (["csv", "-o", "nowhere"], "There is no results folder nowhere"),
        (["parquet", "-o", "{runs}"], "--to"),
        (["parquet", "-o", "{runs}", "--to", "/proc/none/n.parquet"], "Cannot write"),
        (["model-card", "clip/min", "-o", "{runs}"], "Did you mean clip/mine"),
        (["model-card"], "MODEL"),
        (["eval-results", "clip/mine", "-o", "{runs}", "--dataset", "mnist=x"], "TASK=ORG/NAME"),
        (["xml"], "No such command"),
    ],
)
def test_wrong_input_is_exit_2(cli: WarmCli, runs: Path, arguments: list[str], message: str) -> None:
    finished = cli("export", *(argument.replace("{runs}", str(runs)) for argument in arguments))
    assert finished.returncode == 2 and message in finished.stderr and "Traceback" not in finished.stderr
