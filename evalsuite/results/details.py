"""What several readers need of the details of a record, in types; what has another shape counts as not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

T = TypeVar("T")


class Errors(BaseModel):
    """See `evalsuite.calibration.Errors`."""

    ece: float
    nll: float
    brier: float


class Calibration(BaseModel):
    """See `evalsuite.protocols.calibrating.Calibration`."""

    validation: int = 0
    before: Errors
    after: Errors | None = None
    temperatures: list[float] = []


class Shot(BaseModel):
    """See `evalsuite.protocols.few_shot.Shot`."""

    images: int
    mean: float
    std: float = 0.0
    values: list[float] = []


_CALIBRATION: TypeAdapter[Calibration] = TypeAdapter(Calibration)
_SHOTS: TypeAdapter[list[Shot]] = TypeAdapter(list[Shot])


def calibration_of(details: Mapping[str, Any]) -> Calibration | None:
    """Return how well the scores of a result are calibrated."""
    return _parsed(_CALIBRATION, details.get("calibration"))


def shots_of(details: Mapping[str, Any]) -> list[Shot]:
    """Return the points of a few-shot curve, by rising number of images."""
    return _parsed(_SHOTS, details.get("shots")) or []


def shares_in(details: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield what in the details is a fraction between 0 and 1, named."""
    calibration = calibration_of(details)
    for errors in (calibration.before, calibration.after) if calibration else ():
        if errors is not None:
            yield "ece", errors.ece
    for shot in shots_of(details):
        yield from ((f"the score with {shot.images} images per class", value) for value in (shot.mean, *shot.values))


def _parsed(adapter: TypeAdapter[T], value: object) -> T | None:
    try:
        return None if value is None else adapter.validate_python(value)
    except ValidationError:
        return None
