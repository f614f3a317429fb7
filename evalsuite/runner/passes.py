"""The image passes that a protocol needs: of one model, or of several over the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from evalsuite.features.extraction import Member, PassOptions, PassReport, ensure_together
from evalsuite.options import RunOptions
from evalsuite.protocols import EvaluationProtocol
from evalsuite.runner.ahead import EndedError
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.models import ModelSession
from evalsuite.runner.tasks import rows_by_pool
from evalsuite.text import counted

BATCH_SIZES = {"cpu": 64, "cuda": 256}
"""Images per batch for `auto`: enough to keep the device busy; on a GPU a batch that does not fit is halved."""

Passes = Mapping[str, PassReport]
"""Pool -> what its pass did."""


def reading(options: RunOptions, model: ModelSession) -> PassOptions:
    """Return how a run reads the images for a model."""
    kind = model.device.type
    return PassOptions(
        options.batch_size or BATCH_SIZES[kind], options.workers, kind, options.verify, options.decoder, model.devices
    )


def make_passes(
    jobs: Sequence[ModelTaskJob], protocol: EvaluationProtocol, pause: Callable[[], None]
) -> list[Passes | Exception]:
    """Encode what the models of these jobs, all of one task, lack for a protocol; a fault is that of one model.

    pause: called between two batches.
    """
    task = jobs[0].task
    done: list[dict[str, PassReport]] = [{} for _ in jobs]
    faults: dict[int, Exception] = {}
    for name, rows in rows_by_pool(task.to_encode(protocol)).items():
        members: dict[int, Member] = {}
        for number, job in enumerate(jobs):
            try:
                if number not in faults:
                    members[number] = job.member(name)
            except Exception as error:  # noqa: BLE001 - one broken job must not take the others with it
                faults[number] = error
        reports = _one_pass([jobs[number] for number in members], name, rows, list(members.values()), pause)
        for number, report in zip(members, reports, strict=True):
            if isinstance(report, Exception):
                faults[number] = report
            else:
                done[number][name] = report
    return [faults.get(number, reports) for number, reports in enumerate(done)]


def _one_pass(
    jobs: Sequence[ModelTaskJob],
    pool: str,
    rows: Sequence[int],
    members: Sequence[Member],
    pause: Callable[[], None],
) -> Sequence[PassReport | Exception]:
    if not jobs:
        return []
    task, options, reporter = jobs[0].task, jobs[0].options, jobs[0].reporter
    models = jobs[0].model.slug if len(jobs) == 1 else counted(len(jobs), "model")

    def on_images(images: int, total: int) -> None:
        reporter.progress(f"{models} {task.task.name}/{pool}", images, total, "images")
        pause()

    try:
        return ensure_together(
            task.pool(pool),
            rows,
            members,
            reading(options, jobs[0].model),
            max_unreadable=task.task.max_unreadable,
            on_images=on_images,
        )
    except Exception as error:  # noqa: BLE001 - a fault of the data, for all models
        return [error] * len(jobs)
    except (EndedError, KeyboardInterrupt):
        _tell_what_is_kept(jobs, pool, rows, members)
        raise


def _tell_what_is_kept(jobs: Sequence[ModelTaskJob], pool: str, rows: Sequence[int], members: Sequence[Member]) -> None:
    """Say how much of a pass that is ended is in the store."""
    ids = jobs[0].task.pool(pool).ids
    for job, member in zip(jobs, members, strict=True):
        with suppress(OSError):
            member.store.reload()
            kept = sum(ids[row] in member.store for row in rows)
            what = f"{kept:,} of {counted(len(rows), 'image')} of {job.task.task.name}/{pool}"
            job.reporter.note(f"{job.model.slug}: {what} are encoded and kept.")
