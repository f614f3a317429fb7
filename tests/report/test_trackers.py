"""Numbers in trackers of experiments, read back from what the real libraries wrote; none of them needs a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evalsuite
from evalsuite.errors import JobError
from evalsuite.records import Interval, MetricRecord, Result
from evalsuite.report import trackers
from tests.processes import WarmCli


def results(value: float = 0.75) -> evalsuite.Results:
    """One result, of which a tracker gets four numbers."""
    interval = Interval(value - 0.1, value + 0.1, 0.995, "by hand")
    metric = MetricRecord(name="accuracy", value=value, interval=interval, n=40)
    return evalsuite.Results(
        [
            Result(
                status="ok", model="net", model_name="net", task="digits", protocol="linear_probe", fingerprint="",
                metric=metric, metrics={"accuracy": value, "top5": 1.0},
            )
        ]
    )  # fmt: skip


NAMES = [f"digits/linear_probe/{name}" for name in ("accuracy", "low", "high", "top5")]


def test_tensorboard_has_the_numbers_at_their_steps(tmp_path: Path) -> None:
    reading: Any = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs pip install 'evalsuite[tensorboard]'"
    )
    for step, value in ((1, 0.5), (2, 0.75)):
        results(value).log_to(f"tensorboard:{tmp_path}", step=step)
    found = reading.EventAccumulator(str(tmp_path))
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == sorted(NAMES)
    assert [(event.step, event.value) for event in found.Scalars(NAMES[0])] == [(1, 0.5), (2, 0.75)]


def test_mlflow_has_them_in_the_run_that_is_open_or_in_one_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow: Any = pytest.importorskip("mlflow", reason="needs pip install 'evalsuite[mlflow]'")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.set_experiment("training")
    with mlflow.start_run() as run:
        results(0.5).log_to("mlflow", step=1)
        results(0.75).log_to("mlflow", step=2)
    client = mlflow.MlflowClient()
    assert sorted(client.get_run(run.info.run_id).data.metrics) == sorted(NAMES)
    history = client.get_metric_history(run.info.run_id, NAMES[0])
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.75)]
    results().log_to("mlflow:apart")
    (own,) = client.search_runs([client.get_experiment_by_name("apart").experiment_id])
    assert own.data.metrics[NAMES[0]] == 0.75 and mlflow.active_run() is None


def test_wandb_has_them_in_the_run_that_is_open_or_in_one_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb: Any = pytest.importorskip("wandb", reason="needs pip install 'evalsuite[wandb]'")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path)), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    with wandb.init(project="training"):
        results(0.515625).log_to("wandb", step=1)
        results(0.765625).log_to("wandb", step=2)
    assert wandb.run is None
    results(0.890625).log_to("wandb:apart")
    assert wandb.run is None
    written = [path.read_bytes() for path in tmp_path.rglob("run-*.wandb")]
    assert len(written) == 2 and all(name.encode() in content for content in written for name in NAMES)
    found = [[value in content for value in (b"0.515625", b"0.765625", b"0.890625")] for content in written]
    assert sorted(found) == [[False, False, True], [True, True, False]]


def test_trackio_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip("trackio", reason="needs pip install trackio")
    results().log_to("trackio:evalsuite-test")
    (store,) = tmp_path.rglob("evalsuite-test*.db")
    assert all(name.encode() in store.read_bytes() for name in NAMES)


def test_a_tracker_that_is_not_installed_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    for name, package in (("mlflow:apart", r"evalsuite\[mlflow\]"), ("trackio", "trackio")):
        with pytest.raises(evalsuite.UsageError, match=f"--log-to {name}: .* pip install '{package}'"):
            evalsuite.evaluate("pixels", "digits", log_to=name)


def test_a_tracker_that_fails_takes_no_results_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(values: trackers.Values, step: int | None, target: str) -> None:
        raise ConnectionError(f"no way to {target}")

    monkeypatch.setattr(trackers, "TRACKERS", {"wandb": trackers.Tracker("json", "json", refuse)})
    with pytest.raises(JobError, match="wandb did not take the numbers: ConnectionError: no way to here"):
        results().log_to("wandb:here")
    found = evalsuite.evaluate(
        "pixels", "digits", "prototype", limit=20, log_to=["wandb:here"], output=tmp_path, cache_dir=tmp_path
    )
    assert found[0].status == "partial" and "no way to here" in caplog.text


ONE_RUN = ["run", "-m", "pixels", "-t", "digits", "--protocol", "prototype", "--limit", "20"]


@pytest.mark.parametrize(
    ("tracker", "words"), [("tensorboard", "pip install 'evalsuite[tensorboard]'"), ("wandbb", "Did you mean wandb?")]
)
def test_the_command_line_refuses_a_tracker_that_it_cannot_use(cli: WarmCli, tracker: str, words: str) -> None:
    found = cli(*ONE_RUN, "--log-to", tracker, without=["tensorboard"])
    assert found.returncode == 2 and words in found.stderr and "result" not in found.stdout


def test_the_command_line_ends_with_1_where_a_tracker_fails(cli: WarmCli, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install 'evalsuite[tensorboard]'")
    (tmp_path / "file").write_text("")
    found = cli(*ONE_RUN, "--log-to", "tensorboard:file", "-o", tmp_path / "out")
    assert found.returncode == 1 and "tensorboard did not take the numbers" in found.stderr
    assert "1 result" in found.stdout and list((tmp_path / "out").rglob("*.json"))


def test_no_tracker_is_imported_unless_it_is_asked_for() -> None:
    code = (
        "import sys, evalsuite.report.run_results; "
        "print([name for name in ('wandb', 'mlflow', 'tensorboard', 'trackio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
