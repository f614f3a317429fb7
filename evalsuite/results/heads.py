"""A fitted probe next to its result: weights as safetensors, and what they belong to as JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from evalsuite.errors import UsageError
from evalsuite.protocols.base import Head
from evalsuite.records import ModelInfo, Result, Strict, first_problem
from evalsuite.results.head_files import HEAD_ENDS, head_paths
from evalsuite.results.store import UnreadableRecordError, read_result
from evalsuite.seals import read_sealed, sealed

AGAIN = "save it again by `evalsuite run --save-head`."


class HeadClass(Strict):
    """A class of a head: its key and its names."""

    key: str
    names: list[str]


class HeadDescription(Strict):
    """What a head belongs to. A head says something only of features of this very model and layer."""

    schema_version: int = 1
    task: str
    protocol: str
    classes: list[HeadClass]
    multilabel: bool = Field(description="each class against the rest, by a sigmoid; else a softmax of all")
    layer: str
    dim: int = Field(description="dimension of the features")
    model: str = Field(description="slug")
    model_name: str = Field(description="as the user typed it")
    model_fingerprint: str = Field(description="weights, architecture, preprocessing and rules")
    preprocessing: str
    precision: str
    folds: int = Field(default=1, description="of the task; the head is that of the first")
    fingerprint: str = Field(description="of the result")
    sha256: str = Field(default="", description="of the file of weights")


@dataclass(frozen=True)
class StoredHead:
    """A head that was read, and where from."""

    path: Path
    head: Head
    described: HeadDescription


def head_files(head: Head, described: HeadDescription) -> tuple[bytes, bytes]:
    """Return the contents of the two files of a head; the description gets the checksum of the weights."""
    from safetensors.numpy import save

    content = save({"weights": np.ascontiguousarray(head.weights), "intercepts": np.ascontiguousarray(head.intercepts)})
    checked = described.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    return content, sealed(checked.model_dump(mode="json"))


def read_head(path: Path) -> StoredHead:
    """Read a head by the name of either of its files, or of its record; UsageError says what is wrong with it.

    Next to a record, it must be of that very result.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    stem = path.name
    for end in (*HEAD_ENDS, ".json"):
        stem = stem.removesuffix(end)
    weights, description = head_paths(path.with_name(stem))
    for file in (weights, description):
        if not file.is_file():
            raise UsageError(
                f"{path} names no head: there is no file {file}. `evalsuite run --protocol linear_probe --save-head` "
                "keeps one."
            )
    try:
        described = HeadDescription.model_validate(read_sealed(description))
    except ValidationError as error:
        raise UsageError(f"{description} does not describe a head ({first_problem(error)}).") from error
    except ValueError as error:
        raise UsageError(f"{description} is damaged ({error}): {AGAIN}") from error
    if (result := _result_next_to(weights, stem)) is not None and result.fingerprint != described.fingerprint:
        raise UsageError(f"{description} is of another result than {stem}.json next to it: {AGAIN}")
    content = weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != described.sha256:
        raise UsageError(f"{weights} is damaged, or of another head than {description.name} describes: {AGAIN}")
    try:
        found = load(content)
        head = Head(found["weights"], found["intercepts"])
    except (SafetensorError, KeyError) as error:
        raise UsageError(f"{weights} holds no head ({error}).") from error
    if head.weights.shape != (len(described.classes), described.dim):
        raise UsageError(f"{weights} has weights of the shape {head.weights.shape}, not of {description.name}.")
    return StoredHead(weights, head, described)


def _result_next_to(weights: Path, stem: str) -> Result | None:
    try:
        return read_result(weights.with_name(f"{stem}.json"))
    except (OSError, UnreadableRecordError):  # a head may be given away alone
        return None


def check_fits(stored: StoredHead, model: ModelInfo, chosen: str) -> None:
    """Raise UsageError with the reason where a head was not fitted to features of this very model.

    chosen: a layer that it was opened with, next to those it always has.
    """
    known, where = stored.described, f"The head {stored.path.name} ({stored.described.task})"
    if known.layer not in (*model.layers, chosen):
        raise UsageError(f"{where} reads the layer {known.layer!r}; {model.name} has {', '.join(model.layers)}.")
    if model.fingerprint == known.model_fingerprint:
        return
    if model.slug != known.model:
        reason = f"of {known.model_name}, not of {model.name}"
    elif model.preprocessing != known.preprocessing:
        reason = f"with another preprocessing ({known.preprocessing}; now {model.preprocessing})"
    else:
        reason = f"of {known.model_name} with other weights or rules"
    raise UsageError(f"{where} was fitted to features {reason}. Use that model, or fit a head to this one.")
