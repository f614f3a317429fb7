"""How many labelled images per class match zero-shot: the paper's figure 7, from the numbers of three protocols."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from evalsuite.results.details import Shot, shots_of
from evalsuite.results.numbers import ModelKey, Number, newest

FEW_SHOT, ZERO_SHOT, PROBE = "few_shot", "zero_shot", "linear_probe"


@dataclass(frozen=True)
class Curve:
    """Scores of probes by images per class, both rising from left to right or nearly so.

    points: (images per class, score); the last may be the probe on all images. target: what zero-shot gets, None where
    that is not known. spreads: the standard deviation over draws of images, for the points of few images. partial: one
    of its numbers is of a part of the samples.
    """

    task: str
    points: tuple[tuple[float, float], ...]
    target: float | None
    spreads: tuple[float, ...] = ()
    partial: bool = False

    @property
    def images(self) -> float | None:
        """Images per class that match the target, by interpolation on a logarithmic scale (paper, figure 7).

        0 where the first point is above it, infinity where none reaches it, None where there is no target.
        """
        if self.target is None:
            return None
        if self.points[0][1] > self.target:
            return 0.0
        for (few, low), (many, high) in pairwise(self.points):
            if low <= self.target <= high:
                share = (self.target - low) / (high - low) if high > low else 0.0
                return math.exp(math.log(few) + share * (math.log(many) - math.log(few)))
        return math.inf

    @property
    def matching(self) -> str:
        """The images that match in words: 4.2, fewer than 1; nothing where there is no target."""
        images = self.images
        if images is None:
            return ""
        if images == 0:
            return f"fewer than {self.points[0][0]:g}"
        return f"more than {self.points[-1][0]:,.0f}" if math.isinf(images) else f"{images:,.1f}"

    def __str__(self) -> str:
        """Say it in words: 4.2 on mnist."""
        return f"{self.matching} on {self.task}"


def curves(numbers: Iterable[Number], *, include_partial: bool = False) -> dict[ModelKey, list[Curve]]:
    """Return the curves of each measured model, for the tasks that have a few-shot result.

    With options that are not the default there is no curve. The linear probe, where it is there, is the last point.
    """
    found: dict[tuple[ModelKey, str], dict[str, Number]] = defaultdict(dict)
    measured = (one for one in numbers if one.is_measured and one.options is None)
    for number in newest(measured, include_partial=include_partial):
        found[number.model_key, number.task][number.protocol] = number
    result: dict[ModelKey, list[Curve]] = defaultdict(list)
    for (model, task), of in sorted(found.items()):
        if FEW_SHOT in of and (points := _points(of[FEW_SHOT], of.get(PROBE))):
            target = of[ZERO_SHOT].value if ZERO_SHOT in of else None
            partial = any(of[name].partial for name in (FEW_SHOT, ZERO_SHOT, PROBE) if name in of)
            result[model].append(Curve(task, points, target, _spreads(of[FEW_SHOT]), partial))
    return dict(result)


def matching_notes(numbers: Sequence[Number]) -> list[str]:
    """Say for each model how many images per class match its zero-shot classifier."""
    said = {
        model: "; ".join(str(curve) for curve in of if curve.target is not None)
        for model, of in curves(numbers).items()
    }
    return [
        f"{model.slug}: as good as zero-shot is a probe on so many images per class: {text} "
        "(interpolated on a logarithmic scale, as in the paper's figure 7)."
        for model, text in said.items()
        if text
    ]


def _shots(few: Number) -> list[Shot]:
    return shots_of(few.record.details) if few.record else []


def _spreads(few: Number) -> tuple[float, ...]:
    return tuple(shot.std for shot in _shots(few))


def _points(few: Number, probe: Number | None) -> tuple[tuple[float, float], ...]:
    points = [(float(shot.images), shot.mean) for shot in _shots(few)]
    full = few.record.details.get("full") if few.record else None
    if probe is not None and isinstance(full, float) and points and full > points[-1][0]:
        points.append((full, probe.value))
    return tuple(points)
