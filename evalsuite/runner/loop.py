"""All models on all tasks."""

from __future__ import annotations

from collections.abc import Sequence

from evalsuite.data.place import DataPlace
from evalsuite.errors import DataMissingError, EvalsuiteError
from evalsuite.models.base import ImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.options import RunOptions
from evalsuite.protocols import EvaluationProtocol
from evalsuite.records import Result
from evalsuite.results.store import ResultStore
from evalsuite.runner.base import Executor, Reporter
from evalsuite.runner.fingerprints import variant
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.models import ModelSession
from evalsuite.runner.tasks import TaskSession
from evalsuite.tasks.spec import TaskSpec


def make_jobs(
    models: Sequence[ResolvedModel | ImageModel],
    tasks: Sequence[TaskSpec],
    protocols: Sequence[EvaluationProtocol],
    options: RunOptions,
    place: DataPlace,
    executor: Executor,
    reporter: Reporter,
) -> list[ModelTaskJob]:
    """Return the jobs of a run, a model's tasks after one another."""
    store = ResultStore(options.output)
    sessions = [TaskSession(task, options, place) for task in tasks]
    return [
        ModelTaskJob(session, task, protocols, options, store, reporter)
        for session in (ModelSession(model, place, executor, variant(options)) for model in models)
        for task in sessions
    ]


def run_jobs(jobs: Sequence[ModelTaskJob], options: RunOptions, reporter: Reporter) -> list[Result]:
    """Run jobs one after the other and return all results, stored ones included.

    With `skip_missing`, tasks whose data is not there are noted and left out.
    """
    reporter.start(sum(len(job.protocols) for job in jobs))
    results: list[Result] = []
    skipped: set[tuple[str, bool]] = set()
    try:
        for job in jobs:
            if options.skip_missing:
                job.protocols = [item for item in job.protocols if not _is_missing(job, item, skipped, reporter)]
            results.extend(job.run())
    finally:
        for session in dict.fromkeys(job.model for job in jobs):
            session.close()
            session.executor.close()
    return results


def _is_missing(
    job: ModelTaskJob, protocol: EvaluationProtocol, skipped: set[tuple[str, bool]], reporter: Reporter
) -> bool:
    """Say whether data that a protocol reads is not there, and note it once per task."""
    try:
        job.task.splits(protocol)
    except DataMissingError as error:
        name = job.task.task.name
        if (name, protocol.needs_training) not in skipped:
            skipped.add((name, protocol.needs_training))
            reporter.note(f"Skipped {protocol.name} of {name}: {error}")
        return True
    except EvalsuiteError:  # another fault than missing data: the job records it
        return False
    return False
