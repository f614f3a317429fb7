"""The schema of a result: one JSON record for each (model, task, protocol).

Metrics are fractions in [0, 1] here and percent in tables; times are in seconds.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Status = Literal["ok", "partial", "error", "not_applicable"]
STATUSES: tuple[Status, ...] = ("ok", "partial", "error", "not_applicable")


class Record(BaseModel):
    """A part of a result; unknown keys are errors, so that a newer file is not half understood."""

    # Pydantic before 2.10 warns about every field that begins with "model_" unless told not to.
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class IntervalRecord(Record):
    """A confidence interval, in the unit of its metric."""

    low: float
    high: float
    level: float
    method: str


class MetricRecord(Record):
    """The task's main metric on the test split."""

    name: str
    value: float
    interval: IntervalRecord | None = None
    n: int = Field(description="test samples the value was computed from, over all folds")
    folds: list[float] | None = Field(default=None, description="the value of each fold, where there are folds")


class ErrorRecord(Record):
    """Why a job could not be done, and what to do about it."""

    kind: str
    message: str


class Timings(Record):
    """Seconds by phase. A phase that was read from a store took almost none."""

    load: float = 0.0
    images: float = Field(default=0.0, description="decode + encode")
    text: float = 0.0
    fit: float = 0.0
    total: float = 0.0
    images_per_second: float | None = Field(default=None, description="of this run's image pass; none: all was stored")
    images_encoded: int = 0


class DataRecord(Record):
    """Where the samples came from."""

    source: str
    resolved: dict[str, Any] = Field(default_factory=dict)
    pools: dict[str, str] = Field(default_factory=dict, description="pool -> fingerprint")
    sizes: dict[str, int | list[int]] = Field(default_factory=dict, description="split -> samples used")
    content: str = Field(default="", description="digest of the bytes of every sample used, in order")
    unreadable: dict[str, list[str]] = Field(default_factory=dict, description="pool -> ids left out")
    split_fidelity: dict[str, str] = Field(default_factory=dict)


class Provenance(Record):
    """What is needed to run it again."""

    created: str
    command: str = ""
    evalsuite: str = ""
    git_commit: str | None = None
    git_dirty: bool | None = None
    python: str = ""
    packages: dict[str, str] = Field(default_factory=dict)
    platform: str = ""
    device: str = ""
    precision: str = ""
    seed: int = 0


class Result(Record):
    """What one protocol measured of one model on one task."""

    schema_version: int = SCHEMA_VERSION
    status: Status
    model: str = Field(description="the model's slug")
    model_name: str = Field(description="the name the user gave")
    task: str
    protocol: str
    fingerprint: str = Field(description="changes with the task file, prompts, options, features")
    model_fingerprint: str = Field(default="", description="changes with weights, preprocessing, precision")
    options_hash: str | None = Field(default=None, description="hash of the non-default options; none: all default")
    metric: MetricRecord | None = None
    metrics: dict[str, float] = Field(default_factory=dict, description="further metrics: top1, top5 ...")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the protocol, defaults included")
    changed_options: dict[str, Any] = Field(default_factory=dict, description="those that are not the default")
    details: dict[str, Any] = Field(default_factory=dict, description="what the protocol found: every lambda ...")
    warnings: list[str] = Field(default_factory=list)
    data: DataRecord | None = None
    model_info: dict[str, Any] = Field(default_factory=dict)
    timings: Timings = Timings()
    provenance: Provenance | None = None
    samples: str | None = Field(default=None, description="name of the parquet file with per-sample predictions")
    error: ErrorRecord | None = None
