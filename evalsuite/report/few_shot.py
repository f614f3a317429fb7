"""How many labelled images per class match zero-shot: the paper's figure 7, from the numbers of three protocols."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from evalsuite.results.numbers import ModelKey, Number, newest

FEW_SHOT, ZERO_SHOT, PROBE = "few_shot", "zero_shot", "linear_probe"


@dataclass(frozen=True)
class Curve:
    """Scores of probes by images per class, both rising from left to right or nearly so.

    points: (images per class, score); the last may be the probe on all images. target: what zero-shot gets.
    """

    task: str
    points: tuple[tuple[float, float], ...]
    target: float

    @property
    def images(self) -> float:
        """Images per class that match the target, by interpolation on a logarithmic scale (paper, figure 7).

        0 where the first point is above it, infinity where none reaches it.
        """
        if self.points[0][1] > self.target:
            return 0.0
        for (few, low), (many, high) in pairwise(self.points):
            if low <= self.target <= high:
                share = (self.target - low) / (high - low) if high > low else 0.0
                return math.exp(math.log(few) + share * (math.log(many) - math.log(few)))
        return math.inf

    def __str__(self) -> str:
        """Say it in words: 4.2 on mnist."""
        if self.images == 0:
            return f"fewer than {self.points[0][0]:g} on {self.task}"
        if math.isinf(self.images):
            return f"more than {self.points[-1][0]:,.0f} on {self.task}"
        return f"{self.images:,.1f} on {self.task}"


def curves(numbers: Iterable[Number]) -> dict[ModelKey, list[Curve]]:
    """Return the curves of each measured model, for the tasks that have few-shot and zero-shot results.

    With options that are not the default there is no curve. The linear probe, where it is there, is the last point.
    """
    found: dict[tuple[ModelKey, str], dict[str, Number]] = defaultdict(dict)
    for number in newest((one for one in numbers if one.is_measured and one.options is None), include_partial=False):
        found[number.model_key, number.task][number.protocol] = number
    result: dict[ModelKey, list[Curve]] = defaultdict(list)
    for (model, task), of in sorted(found.items()):
        if FEW_SHOT in of and ZERO_SHOT in of and (points := _points(of[FEW_SHOT], of.get(PROBE))):
            result[model].append(Curve(task, points, of[ZERO_SHOT].value))
    return dict(result)


def matching_notes(numbers: Sequence[Number]) -> list[str]:
    """Say for each model how many images per class match its zero-shot classifier."""
    return [
        f"{model.slug}: as good as zero-shot is a probe on so many images per class: {'; '.join(map(str, of))} "
        "(interpolated on a logarithmic scale, as in the paper's figure 7)."
        for model, of in curves(numbers).items()
    ]


def _points(few: Number, probe: Number | None) -> tuple[tuple[float, float], ...]:
    details = few.record.details if few.record else {}
    shots = details.get("shots")
    listed = shots if isinstance(shots, list) else []
    points = [(float(shot["images"]), float(shot["mean"])) for shot in listed]  # type: ignore[index,call-overload,arg-type]
    full = details.get("full")
    if probe is not None and isinstance(full, float) and points and full > points[-1][0]:
        points.append((full, probe.value))
    return tuple(points)
