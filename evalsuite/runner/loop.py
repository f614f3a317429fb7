"""All models on all tasks."""

from __future__ import annotations

from collections.abc import Sequence

from evalsuite.errors import DataMissingError
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
    sessions = [TaskSession(task, settings) for task in tasks]
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
            solver=settings.probe_solver,
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
    skipped: dict[str, str] = {}
    for job in jobs:
        name = job.task.task.name
        if settings.skip_missing and name not in skipped:
            try:
                job.task.open()
            except DataMissingError as error:
                skipped[name] = str(error)
                reporter.note(f"Skipped {name}: {error}")
        if name not in skipped:
            results.extend(job.run())
    return results
