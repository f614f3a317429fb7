"""Send the numbers of a run to a tracker of experiments: wandb, mlflow, tensorboard or trackio.

A tracker gets flat names with values, see `Results.to_dict`. A run of the tracker that is open gets them; else one is
opened for them and closed again. Where it keeps its runs, and as whom, its own settings say.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from evalsuite.errors import JobError, UsageError
from evalsuite.registry import did_you_mean
from evalsuite.text import brief

PROJECT = "evalsuite"
"""Project or experiment where none is named."""

FOLDER = "runs/evalsuite"
"""Folder of TensorBoard where none is named: below the one that torch's own SummaryWriter takes."""

Values = Mapping[str, float]

_NO_NAME_OF_MLFLOW = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True)
class Tracker:
    """A tracker: the module that must be there, what to install, what sends (values, step or None, target or "")."""

    module: str
    package: str
    send: Callable[[Values, int | None, str], None]


def _to_wandb(values: Values, step: int | None, project: str) -> None:
    wandb: Any = importlib.import_module("wandb")
    if wandb.run is not None:
        wandb.run.log(dict(values), step=step)
        return
    with wandb.init(project=project or PROJECT) as run:
        run.log(dict(values), step=step)


def _to_mlflow(values: Values, step: int | None, experiment: str) -> None:
    mlflow: Any = importlib.import_module("mlflow")
    named = {_NO_NAME_OF_MLFLOW.sub("_", name): value for name, value in values.items()}
    if mlflow.active_run() is not None:
        mlflow.log_metrics(named, step=step)
        return
    mlflow.set_experiment(experiment or PROJECT)
    with mlflow.start_run():
        mlflow.log_metrics(named, step=step)


def _to_tensorboard(values: Values, step: int | None, folder: str) -> None:
    tensorboard: Any = importlib.import_module("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(folder or FOLDER) as writer:
        for name, value in values.items():
            writer.add_scalar(name, value, global_step=step)


def _to_trackio(values: Values, step: int | None, project: str) -> None:
    trackio: Any = importlib.import_module("trackio")
    try:
        trackio.log(dict(values), step=step)
    except RuntimeError:  # no run is open
        trackio.init(project=project or PROJECT)
        trackio.log(dict(values), step=step)
        trackio.finish()


TRACKERS: Mapping[str, Tracker] = {
    "wandb": Tracker("wandb", "evalsuite[wandb]", _to_wandb),
    "mlflow": Tracker("mlflow", "evalsuite[mlflow]", _to_mlflow),
    "tensorboard": Tracker("tensorboard", "evalsuite[tensorboard]", _to_tensorboard),
    "trackio": Tracker("trackio", "trackio", _to_trackio),
}


def check_trackers(names: Sequence[str]) -> None:
    """Raise UsageError for a tracker that nobody knows or that is not installed. names: NAME or NAME:TARGET."""
    for name in names:
        kind = name.partition(":")[0]
        if kind not in TRACKERS:
            raise UsageError(
                f"--log-to {name}: choose {', '.join(TRACKERS)}, perhaps with a project or folder (wandb:PROJECT)."
                f"{did_you_mean(kind, TRACKERS)}"
            )
        tracker = TRACKERS[kind]
        if find_spec(tracker.module) is None:
            raise UsageError(f"--log-to {name}: {kind} is not installed. Type: pip install '{tracker.package}'")


def log_values(values: Values, name: str, step: int | None = None) -> None:
    """Send values to one tracker. name: NAME or NAME:TARGET, a project, an experiment or a folder.

    step: of the training. Raises UsageError as `check_trackers` does, JobError where the tracker fails.
    """
    check_trackers([name])
    kind, _, target = name.partition(":")
    try:
        TRACKERS[kind].send(values, step, target)
    except Exception as error:
        raise JobError(f"{kind} did not take the numbers: {type(error).__name__}: {brief(str(error))}") from error
