"""Another package adds tasks, models and metrics by entry points."""

from __future__ import annotations

from pathlib import Path

from tests.datasets import write_folder_task
from tests.packages import install
from tests.processes import WarmCli

ENTRY_POINTS = """\
[evalsuite.tasks]
birds = birds_package:task_folder

[evalsuite.models]
mean-colour = birds_package:make_model

[evalsuite.metrics]
half_accuracy = birds_package:HALF
"""

PACKAGE = """
from pathlib import Path

from evalsuite.metrics import METRICS, Metric
from tests.models_for_tests import CountingModel

HALF = Metric("half_accuracy", "half", lambda scores, labels: METRICS.get("accuracy").compute(scores, labels) / 2)


def task_folder():
    return Path(__file__).parent / "birds_tasks"


def make_model():
    return CountingModel()
"""


def test_an_installed_package_brings_a_task_a_model_and_a_metric(tmp_path: Path, cli: WarmCli) -> None:
    site = tmp_path / "site"
    environment = install(site, ENTRY_POINTS, {"birds_package.py": PACKAGE})
    task = write_folder_task(site / "birds_tasks", name="birds")
    task.write_text(task.read_text() + "metric: half_accuracy\n")

    finished = cli("run", "-m", "mean-colour", "-t", "birds", env=environment)
    assert finished.returncode == 0, finished.stderr
    assert "half_accuracy 50.00 %" in finished.stderr
    without = cli("run", "-m", "mean-colour", "-t", "birds")
    assert without.returncode == 2 and "birds" in without.stderr
