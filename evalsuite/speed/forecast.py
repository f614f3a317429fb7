"""How long the jobs of a plan will take, where the speed of their models was measured on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from evalsuite.options import RunOptions
from evalsuite.protocols import EvaluationProtocol
from evalsuite.protocols.few_shot import FewShot
from evalsuite.protocols.linear_probe import LinearProbe
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.models import ModelSession
from evalsuite.runner.passes import BATCH_SIZES
from evalsuite.runner.plan import PlannedJob
from evalsuite.speed.estimate import Fit, Reading, Work, expected, fit, prompts
from evalsuite.speed.record import Speed, find


def forecast(
    jobs: Sequence[ModelTaskJob], lines: Sequence[PlannedJob], options: RunOptions, cache_dir: Path
) -> tuple[list[float | None], list[str]]:
    """Return the seconds of each line of the plan of some jobs, and the models with work whose speed is not known.

    None: there is nothing to do, or how much, or how fast, is not known.
    """
    seconds: list[float | None] = []
    unmeasured: dict[str, None] = {}
    speeds: dict[ModelSession, Speed | None] = {}
    for job in jobs:
        works = work_left(job, lines[len(seconds) : len(seconds) + len(job.protocols)])
        if any(works) and job.model not in speeds:
            speeds[job.model] = find(job.model, cache_dir)
        speed = speeds.get(job.model)
        reading = Reading(options.batch_size or BATCH_SIZES[job.model.device.type], options.decoder)
        if speed is None and any(works):
            unmeasured[job.model.name] = None
        seconds += [expected(speed, work, reading).total if speed and work else None for work in works]
    return seconds, list(unmeasured)


def work_left(job: ModelTaskJob, lines: Sequence[PlannedJob]) -> list[Work | None]:
    """Return, for each planned protocol of a job, what it asks for; None where there is nothing to do or to know.

    Protocols share images: those that an earlier line has are not counted again.
    """
    works: list[Work | None] = []
    counted = 0
    for protocol, line in zip(job.protocols, lines, strict=True):
        if line.state != "to do" or line.images is None:
            works.append(None)
            continue
        texts = prompts(protocol.prompted(job.task.task)) if protocol.needs_text else 0
        works.append(Work(max(0, line.images - counted), texts, tuple(_fits(job, protocol))))
        counted = max(counted, line.images)
    return works


def _fits(job: ModelTaskJob, protocol: EvaluationProtocol) -> Iterator[Fit]:
    """Yield the probes that a protocol fits."""
    if not isinstance(protocol, LinearProbe | FewShot):
        return
    classes = len(job.task.task.class_list)
    for fold in job.task.folds(training=True):
        if isinstance(protocol, LinearProbe):
            val = 0 if fold.val is None else len(fold.val)
            yield fit(len(fold.train), val, classes, refit=job.task.task.refit)
        else:
            rows = [min(images * classes, len(fold.train)) for images in protocol.options.images]
            yield from [Fit(count, count, classes) for count in rows for _ in range(protocol.options.seeds)]
