"""The schema of a result: one JSON record for each (model, task, protocol).

Metrics are fractions in [0, 1] here and percent in tables; times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from evalsuite.faults import in_words

SCHEMA_VERSION = 1

Status = Literal["ok", "partial", "error", "not_applicable"]


class Record(BaseModel):
    """A part of a result; unknown keys are errors, so that a newer file is not half understood."""

    # Pydantic before 2.10 warns about every field that begins with "model_" unless told not to.
    # Values that are not finite stay what they are; a serialiser of ours would make them null.
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), ser_json_inf_nan="constants")


class Strict(Record):
    """A record, or a part of a file of data, that never changes."""

    model_config = ConfigDict(frozen=True)


def first_problem(error: ValidationError) -> str:
    """Return where the first error is and what it is, on one line."""
    first = error.errors(include_url=False)[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), in_words(first)) if part)


@dataclass(frozen=True)
class Interval:
    """A two-sided interval of a value or of a difference; bounds in its unit, level in (0, 1), method: how it came."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    low: float
    high: float
    level: float
    method: str


class MetricRecord(Record):
    """The task's main metric on the test split."""

    name: str
    value: float
    interval: Interval | None = None
    n: int = Field(description="test samples the value was computed from, over all folds")
    folds: list[float] | None = Field(default=None, description="the value of each fold, where there are folds")


class ErrorRecord(Record):
    """Why a job could not be done, and what to do about it."""

    kind: str
    message: str = Field(description="at most a few lines")
    log: str | None = Field(default=None, description="name of the file next to the record with the whole traceback")

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialised(self)
        return found if self.log else {"kind": self.kind, "message": self.message}


@dataclass(frozen=True)
class PassPhases:
    """Where the time of a result's image passes went, in seconds.

    total: wall time. decoding: reading, decoding and resizing, added up over the processes that do it. computing:
    the model, added up over devices. writing: features into the store. device_busy: computing / (total x devices).
    A pass that several models share counts whole for each, with the computing of that model alone.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    total: float
    decoding: float
    computing: float
    writing: float
    device_busy: float


class Timings(Record):
    """Seconds by phase. A phase that was read from a store took almost none."""

    load: float = 0.0
    images: float = Field(default=0.0, description="decode + encode")
    text: float = 0.0
    fit: float = 0.0
    total: float = 0.0
    images_per_second: float | None = Field(default=None, description="of this run's image pass; none: all was stored")
    images_encoded: int = 0
    image_pass: PassPhases | None = Field(default=None, description="what `images` is made of; none: all was stored")

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialised(self)
        if self.image_pass is None:
            found.pop("image_pass", None)
        return found


class SplitFidelity(Strict):
    """Whether the splits are the paper's, and why one can say so."""

    level: Literal["exact", "convention", "approximate"]
    why: str = Field(min_length=1)


WeightFidelity = Literal["exact", "same-recipe", "unknown"]


class ModelInfo(Strict):
    """What is recorded about a model in every result.

    `fingerprint` covers weights, architecture, preprocessing, and the rules for layers and texts: two models
    with the same fingerprint, precision and decoder give the same features.
    """

    name: str
    slug: str
    backend: str
    fingerprint: str
    input_size: int
    layers: dict[str, int] = Field(description="layer name -> feature dimension; 0: known once images are seen")
    parameters: int | None = None
    gflops: float | None = Field(default=None, description="GFLOPs (1e9 multiply-adds x 2) of one image, counted")
    activation: str | None = Field(default=None, description="'quickgelu', 'gelu', 'relu' ... where it is a choice")
    weights: str = Field(default="", description="where the weights came from: tag, hub commit, or sha256")
    weight_fidelity: WeightFidelity = "unknown"
    preprocessing: str = Field(default="", description="the preprocessing, readable")
    published: str | None = Field(default=None, description="slug of this model's row in the paper's tables")
    logit_scale: float | None = Field(default=None, description="factor of the cosine of image and text; none: unknown")
    logit_bias: float | None = Field(default=None, description="what is added to it; only softmax scores ignore it")
    not_described: tuple[str, ...] = Field(
        default=(), description="what the fingerprint does not cover, in words; where there is any, nothing is reused"
    )
    warnings: tuple[str, ...] = Field(default=(), description="what is doubtful about the model, or was left out")
    details: dict[str, Any] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialised(self)
        for name in ("not_described", "warnings", "logit_scale", "logit_bias"):
            if found.get(name) in (None, (), []):
                found.pop(name, None)
        return found


def _or_none(value: Any) -> Any:
    return value or None  # an empty object is how records without one were written before it had a type


class DataRecord(Record):
    """Where the samples came from."""

    source: str
    resolved: dict[str, Any] = Field(default_factory=dict)
    pools: dict[str, str] = Field(default_factory=dict, description="pool -> fingerprint")
    sizes: dict[str, int | list[int]] = Field(default_factory=dict, description="split -> samples used")
    content: str = Field(default="", description="digest of the bytes of every sample used, in order")
    labels: str = Field(default="", description="digest of the labels of the test samples, in order")
    unreadable: dict[str, list[str]] = Field(default_factory=dict, description="pool -> ids left out")
    split_fidelity: Annotated[SplitFidelity | None, BeforeValidator(_or_none)] = None
    task_file: str = Field(default="", description="path of the task file; none: the task is shipped, or has no file")

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialised(self)
        for name in ("labels", "task_file"):
            if not getattr(self, name):
                found.pop(name, None)
        return found


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
    decoder: str = Field(default="", description="what decoded and resized, with its version; none: pillow")
    seed: int = 0

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialised(self)
        if not self.decoder:
            del found["decoder"]
        return found


class Result(Record):
    """What one protocol measured of one model on one task.

    A record without `run_key` was written when its `model_fingerprint` was what is called so now.
    """

    schema_version: int = SCHEMA_VERSION
    status: Status
    model: str = Field(description="the model's slug")
    model_name: str = Field(description="the name the user gave")
    task: str
    protocol: str
    fingerprint: str = Field(description="changes with the task file, prompts, options, features")
    model_fingerprint: str = Field(default="", description="changes with weights, architecture, preprocessing, rules")
    run_key: str = Field(default="", description="changes with the model fingerprint, the precision, the decoder")
    options_hash: str | None = Field(default=None, description="hash of the non-default options; none: all default")
    metric: MetricRecord | None = None
    metrics: dict[str, float] = Field(default_factory=dict, description="further metrics: top1, top5 ...")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the protocol, defaults included")
    changed_options: dict[str, Any] = Field(default_factory=dict, description="those that are not the default")
    details: dict[str, JsonValue] = Field(default_factory=dict, description="what the protocol found, in its own type")
    warnings: list[str] = Field(default_factory=list)
    data: DataRecord | None = None
    model_info: Annotated[ModelInfo | None, BeforeValidator(_or_none)] = None
    timings: Timings = Timings()
    provenance: Provenance | None = None
    samples: str | None = Field(default=None, description="name of the parquet file with per-sample predictions")
    samples_digest: str | None = Field(default=None, description="its sha256; none: from before there were any")
    error: ErrorRecord | None = None

    @property
    def is_calibrated(self) -> bool:
        """Whether a temperature was fitted on validation samples."""
        calibration = self.details.get("calibration")
        return isinstance(calibration, dict) and bool(calibration.get("validation"))

    @property
    def split_level(self) -> str | None:
        """How near the splits are to the published ones; None where no data was recorded."""
        return self.data.split_fidelity.level if self.data and self.data.split_fidelity else None

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialised(self)
        if self.samples_digest is None:
            found.pop("samples_digest", None)
        return found

    @model_validator(mode="after")
    def _names_both_identities(self) -> Result:
        if "run_key" not in self.model_fields_set:
            self.run_key = self.model_fingerprint
            self.model_fingerprint = self.model_info.fingerprint if self.model_info else ""
        return self
