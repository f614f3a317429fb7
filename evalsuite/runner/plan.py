"""What a run would do, without loading a model or decoding an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalsuite.errors import EvalsuiteError
from evalsuite.features.freshness import missing_rows
from evalsuite.protocols import EvaluationProtocol
from evalsuite.protocols.base import unsuited
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.tasks import rows_by_pool

WEIGHTS_ELSEWHERE = "the weights are not on this machine yet"


@dataclass(frozen=True)
class PlannedJob:
    """One line of the plan.

    state: `stored`, `to do`, `not applicable` or `blocked`. images: how many must be encoded for this job,
    of how many it reads; None where that is not known before the weights or the data are there.
    """

    model: str
    task: str
    protocol: str
    state: str
    images: int | None = None
    total: int | None = None
    note: str = ""


def plan(jobs: Sequence[ModelTaskJob]) -> list[PlannedJob]:
    """Return a line for each job."""
    return [_planned(job, protocol) for job in jobs for protocol in job.protocols]


def _planned(job: ModelTaskJob, protocol: EvaluationProtocol) -> PlannedJob:
    model, task = job.model.slug, job.task.task.name
    try:
        if (reason := unsuited(protocol, job.task.task)) is not None:
            return PlannedJob(model, task, protocol.label, "not applicable", note=reason)
        if protocol.needs_text and job.model.known_text() is False:
            return PlannedJob(model, task, protocol.label, "not applicable", note="no text encoder")
        total = sum(len(rows) for rows in rows_by_pool(job.task.to_encode(protocol)).values())
        if job.model.known() is None:
            unknown = "known only after its code has run" if job.model.is_code else WEIGHTS_ELSEWHERE
            return PlannedJob(model, task, protocol.label, "to do", None, total, unknown)
        if not job.options.overwrite and job.stored(protocol, look_only=True) is not None:
            return PlannedJob(model, task, protocol.label, "stored", 0, total)
        return PlannedJob(model, task, protocol.label, "to do", _images(job, protocol), total)
    except EvalsuiteError as error:
        return PlannedJob(model, task, protocol.label, "blocked", note=str(error).splitlines()[0])


def _images(job: ModelTaskJob, protocol: EvaluationProtocol) -> int:
    return sum(
        len(missing_rows(job.task.pool(name), rows, job.features(name), verify=job.options.verify)[0])
        for name, rows in rows_by_pool(job.task.to_encode(protocol)).items()
    )
