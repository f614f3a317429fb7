"""All models on all tasks."""

from __future__ import annotations

from collections.abc import Sequence

from evalsuite.errors import DataMissingError, EvalsuiteError
from evalsuite.models.base import ImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.protocols import PROTOCOLS, EvaluationProtocol
from evalsuite.protocols.linear_probe import REFIT_SHARE, LinearProbe, ProbeOptions
from evalsuite.records import Result
from evalsuite.results.store import ResultStore
from evalsuite.runner.job import Jobs
from evalsuite.runner.models import ModelSession
from evalsuite.runner.settings import Executor, Reporter, RunSettings
from evalsuite.runner.tasks import TaskSession
from evalsuite.tasks.spec import TaskSpec


def make_jobs(
    models: Sequence[ResolvedModel | ImageModel],
    tasks: Sequence[TaskSpec],
    protocols: Sequence[str],
    settings: RunSettings,
    executor: Executor,
    reporter: Reporter,
) -> list[Jobs]:
    """Return the jobs of a run, a model's tasks after one another."""
    store = ResultStore(settings.output)
    chosen: list[EvaluationProtocol] = [_protocol(name, settings) for name in protocols]
    sessions = [TaskSession(task, settings, reporter) for task in tasks]
    return [
        Jobs(session, task, chosen, settings, store, reporter)
        for session in (ModelSession(model, settings, executor) for model in models)
        for task in sessions
    ]


def _protocol(name: str, settings: RunSettings) -> EvaluationProtocol:
    kind = PROTOCOLS.get(name)
    if not issubclass(kind, LinearProbe):
        return kind()
    tolerance = settings.probe_tolerance
    return kind(
        ProbeOptions(
            grid=settings.probe_grid,
            tolerance=tolerance,
            refit_tolerance=tolerance * REFIT_SHARE,
        )
    )


def run_jobs(jobs: Sequence[Jobs], settings: RunSettings, reporter: Reporter) -> list[Result]:
    """Run jobs one after the other and return all results, stored ones included.

    With `skip_missing`, tasks whose data is not there are noted and left out.
    """
    reporter.start(sum(len(job.protocols) for job in jobs))
    results: list[Result] = []
    skipped: set[tuple[str, bool]] = set()
    for job in jobs:
        if settings.skip_missing:
            job.protocols = [item for item in job.protocols if not _is_missing(job, item, skipped, reporter)]
        results.extend(job.run())
    return results


def _is_missing(job: Jobs, protocol: EvaluationProtocol, skipped: set[tuple[str, bool]], reporter: Reporter) -> bool:
    """Say whether data that a protocol reads is not there, and note it once a task."""
    try:
        job.task.require(training=protocol.needs_training)
    except DataMissingError as error:
        name = job.task.task.name
        if (name, protocol.needs_training) not in skipped:
            skipped.add((name, protocol.needs_training))
            reporter.note(f"Skipped {protocol.name} of {name}: {error}")
        return True
    except EvalsuiteError:  # another fault than missing data: the job records it
        return False
    return False
