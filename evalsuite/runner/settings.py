"""The options of a run, after defaults are filled in, and what a run tells while it works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from evalsuite.features.encoding import MapBatches, Precision
from evalsuite.models.base import ImageModel
from evalsuite.probe.sweep import Grid
from evalsuite.protocols.linear_probe import PROBE_TOLERANCE
from evalsuite.records import Result


@dataclass(frozen=True)
class RunSettings:
    """How to run. batch_size, workers and limit None: chosen by the device and the work, no limit.

    prompts: default, simple or the path of a prompt file. probe_*: see
    `ProbeOptions`. command: what the user typed, for the record.
    """

    output: Path
    cache_dir: Path
    data_root: Path | None = None
    batch_size: int | None = None
    workers: int | None = None
    limit: int | None = None
    prompts: str = "default"
    seed: int = 0
    offline: bool = False
    overwrite: bool = False
    download: bool = False
    skip_missing: bool = False
    log_samples: bool = False
    trust_adapters: bool = False
    probe_grid: Grid = "parametric"
    probe_tolerance: float = PROBE_TOLERANCE
    command: str = ""


class Executor(Protocol):
    """Runs models over batches somewhere. `devices[0]` is also where the probe is solved."""

    @property
    def devices(self) -> Sequence[torch.device]:
        """The devices, the first of which everything else runs on."""

    @property
    def precision(self) -> Precision:
        """The precision models run at."""

    def mapping(self, model: ImageModel) -> MapBatches:
        """Return a function that encodes batches, in order, with a model on the first device."""


class Reporter:
    """Is told what a run does; this one stays silent. The command line shows it."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def start(self, jobs: int) -> None:
        """A run of so many jobs begins."""

    def job(self, model: str, task: str, protocols: Sequence[str]) -> None:
        """Work on a model and a task begins."""

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """So much of something is done."""

    def result(self, result: Result, stored: bool) -> None:
        """A job has its result; stored: it was there before this run."""
