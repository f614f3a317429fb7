"""All models on all tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from evalsuite.data.place import DataPlace
from evalsuite.errors import DataMissingError, EvalsuiteError
from evalsuite.locks import TELL_AFTER, HeldError
from evalsuite.models.base import ImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.options import RunOptions
from evalsuite.protocols import EvaluationProtocol
from evalsuite.records import Result
from evalsuite.results.store import ResultStore
from evalsuite.runner.ahead import Ahead
from evalsuite.runner.base import Executor, Reporter
from evalsuite.runner.fingerprints import variant
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.models import ModelSession
from evalsuite.runner.passes import make_passes
from evalsuite.runner.rounds import out_of_memory, rounds
from evalsuite.runner.tasks import TaskSession
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import counted

SECONDS_BETWEEN_LOOKS = 0.5
"""How often a run that has nothing else to do looks whether another process has finished."""

Step = Callable[[], None]


def make_jobs(
    models: Sequence[ResolvedModel | ImageModel],
    tasks: Sequence[TaskSpec],
    protocols: Sequence[EvaluationProtocol],
    options: RunOptions,
    place: DataPlace,
    executor: Executor,
    reporter: Reporter,
) -> list[ModelTaskJob]:
    """Return the jobs of a run, in the order of their results: a model's tasks after one another."""
    store = ResultStore(options.output.absolute(), reporter.note)  # models may change the working directory
    sessions = [TaskSession(task, options, place) for task in tasks]
    given = [ModelSession(model, place, executor, variant(options), options.layer, options.cache) for model in models]
    return [ModelTaskJob(session, task, protocols, options, store, reporter) for session in given for task in sessions]


def run_jobs(jobs: Sequence[ModelTaskJob], options: RunOptions, reporter: Reporter) -> list[Result]:
    """Run jobs and return all results, stored ones included, in the order of the jobs.

    The images of a task are decoded once for all models that fit the device together (`rounds`), those of the next
    task while the protocols of this one run. A job that another process works on is left for later, and then waited
    for, or with `no_wait` left out (its `held` says who has it). With `skip_missing`, tasks whose data is not there are
    noted and left out.
    """
    reporter.start(sum(len(job.protocols) for job in jobs))
    run = _Run(jobs, options, reporter)
    ahead = 1 + max((len(job.protocols) for job in jobs), default=0)  # the protocols of one task, and its end
    try:
        with Ahead(run.steps, ahead) as steps:
            for step in steps:
                step()
    finally:
        for job in jobs:
            job.finish()
        for session in dict.fromkeys(job.model for job in jobs):
            session.close()
            session.executor.close()
    return [result for job in jobs for result in job.results]


class _Run:
    """What the thread that works ahead does: it makes the passes, and steps for the one who runs the protocols."""

    def __init__(self, jobs: Sequence[ModelTaskJob], options: RunOptions, reporter: Reporter) -> None:
        self._jobs = jobs
        self._options = options
        self._reporter = reporter
        self._skipped: set[tuple[str, bool]] = set()
        self._too_large: list[ModelSession] = []

    def steps(self, ahead: Ahead[Step]) -> Iterator[Step]:
        """Yield the steps of all jobs."""
        waiting = rounds(list(dict.fromkeys(job.model for job in self._jobs)))
        while waiting:
            models = waiting.pop(0)
            for group in self._groups(models):
                yield from self._again(ahead)
                yield from self._steps_of([job for job in group if job.model not in self._too_large], ahead)
            waiting[:0] = [[model] for model in self._too_large]
            self._too_large.clear()
            if waiting:
                ahead.wait_until_used()
                yield from self._again(ahead)
                ahead.wait_until_used()
                for model in models:
                    model.unload()
        yield from self._come_back(ahead)

    def _groups(self, models: Sequence[ModelSession]) -> Iterator[list[ModelTaskJob]]:
        """Yield the jobs of a round, those of one task together."""
        of_task: dict[TaskSession, list[ModelTaskJob]] = {}
        for job in self._jobs:
            if job.model in models:
                of_task.setdefault(job.task, []).append(job)
        for group in of_task.values():
            if self._options.skip_missing:
                for job in group:
                    job.protocols = [
                        item for item in job.protocols if not _is_missing(job, item, self._skipped, self._reporter)
                    ]
            yield group

    def _again(self, ahead: Ahead[Step]) -> Iterator[Step]:
        """Yield the steps of jobs that were done at a precision too narrow for their model."""
        models = [model for model in dict.fromkeys(job.model for job in self._jobs) if model.too_narrow is not None]
        if not models:
            return
        ahead.wait_until_used()
        for model in models:
            what, tried = f"The model {model.name!r} {model.too_narrow}", model.precision
            model.fall_back(what)
            now = model.precision
            self._reporter.note(f"Warning: {what} That was at {tried}; {now} is used for it from now on.")
        for job in self._jobs:
            if job.again:
                yield from self._steps_of([job], ahead)

    def _come_back(self, ahead: Ahead[Step]) -> Iterator[Step]:
        """Yield the steps of jobs that were left, when nothing else is to be done; wait for other processes."""
        ahead.wait_until_used()
        while any(job.again for job in self._jobs):
            yield from self._again(ahead)
            ahead.wait_until_used()  # what this process itself holds is free then
        held = [job for job in self._jobs if job.held is not None]
        begun = time.monotonic()
        told: set[str] = set()
        while held:
            for job in held:
                yield from self._again(ahead)
                yield from self._steps_of([job], ahead)
            still = [job for job in held if job.held is not None]
            if self._options.no_wait:
                return
            if len(still) == len(held):
                if time.monotonic() - begun >= TELL_AFTER:
                    self._tell(still, told)
                ahead.wait(SECONDS_BETWEEN_LOOKS)
            else:
                begun = time.monotonic()
            held = still

    def _steps_of(self, jobs: Sequence[ModelTaskJob], ahead: Ahead[Step]) -> Iterator[Step]:
        """Yield the steps of jobs that are of one task."""
        pending = {}
        for number, job in enumerate(jobs):
            with suppress(HeldError):
                pending[number] = job.begin()
                if pending[number]:
                    self._reporter.job(job.model.slug, job.task.task.name, [item.label for item in pending[number]])
        for protocol in dict.fromkeys(item for items in pending.values() for item in items):
            wanting = [jobs[number] for number, items in pending.items() if protocol in items]
            passes = make_passes(wanting, protocol, ahead.pause)
            ready = []
            for job, found in zip(wanting, passes, strict=True):
                if isinstance(found, HeldError):
                    job.held = found
                elif len(wanting) > 1 and out_of_memory(found):
                    self._make_room(job.model, wanting)
                else:
                    ready.append(partial(job.evaluate, protocol, found, ahead.ask))
            yield partial(_all, ready)
        yield partial(_all, [jobs[number].finish for number in pending])

    def _make_room(self, model: ModelSession, jobs: Sequence[ModelTaskJob]) -> None:
        """Leave a model that does not fit the device next to the others for a round of its own."""
        self._too_large.append(model)
        model.unload()
        others = counted(len(jobs) - 1, "other model")
        self._reporter.note(f"{model.slug} does not fit the memory of {model.device} next to {others}: it comes later.")

    def _tell(self, held: Sequence[ModelTaskJob], told: set[str]) -> None:
        """Say for whom this process waits, once for each."""
        for job in held:
            owner = str(job.held.owner if job.held else None)
            if owner not in told:
                told.add(owner)
                work = f"{job.model.slug} on {job.task.task.name}"
                self._reporter.note(f"Waiting for {work}, held by {owner} (--no-wait leaves it to others).")


def _all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()


def _is_missing(
    job: ModelTaskJob, protocol: EvaluationProtocol, skipped: set[tuple[str, bool]], reporter: Reporter
) -> bool:
    """Say whether data that a protocol reads is not there, and note it once per task."""
    try:
        job.task.to_encode(protocol)
    except DataMissingError as error:
        name = job.task.task.name
        if (name, protocol.needs_training) not in skipped:
            skipped.add((name, protocol.needs_training))
            reporter.note(f"Skipped {protocol.name} of {name}: {error}")
        return True
    except EvalsuiteError:  # another fault than missing data: the job records it
        return False
    return False
