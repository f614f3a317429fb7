"""Divide the jobs of a run among processes that do not talk to each other.

Each process computes the same division from what the task files say, so it depends on nothing that is stored or on
the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evalsuite.errors import UsageError
from evalsuite.runner.job import ModelTaskJob

FORM = "write I/N, for example 2/8: the second of eight processes"


@dataclass(frozen=True)
class Shard:
    """Process `number` (from 1) of `count`."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Return the shard that `text` ("2/8") means; UsageError where it means none."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text}: {FORM}; the first is 1/N.")
    return Shard(int(found[1]), int(found[2]))


def slurm_shard(environment: Mapping[str, str]) -> str | None:
    """Return the place of this process in its SLURM array as "I/N", None outside of one.

    An array may begin anywhere and have a step (`--array=10-40:10`); one with gaps has no order that a member knows,
    and is a UsageError. The variables: https://slurm.schedmd.com/job_array.html
    """
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    if not all(environment.get(name, "").isdecimal() for name in names):
        return None
    own, count = (int(environment[name]) for name in names)
    if count == 1:
        return None

    def number(name: str, default: int) -> int:
        value = environment.get(f"SLURM_ARRAY_TASK_{name}", "")
        return int(value) if value.isdecimal() else default

    first = number("MIN", 0)
    step = max(number("STEP", 1), 1)
    place, rest = divmod(own - first, step)
    if rest or not 0 <= place < count or number("MAX", first + (count - 1) * step) != first + (count - 1) * step:
        raise UsageError(
            f"The SLURM array has gaps (task {own} of {count}), so this process cannot know its place in it. "
            f"Use --shard ({FORM}; 1/1 does all jobs), or an array without gaps such as --array=1-{count}."
        )
    return f"{place + 1}/{count}"


def jobs_of(shard: Shard, jobs: Sequence[ModelTaskJob]) -> list[ModelTaskJob]:
    """Return the jobs of one shard, in their order.

    A task costs its images once to decode and once per model to encode, so its models stay together, unless that is
    more than an even share. What is largest is dealt first, always to the shard that is done with it first. In which
    order models and tasks were given plays no part.
    """
    images = _images(jobs)
    of_task: dict[str, list[int]] = {}
    for index, job in enumerate(jobs):
        of_task.setdefault(job.task.task.name, []).append(index)
    share = sum(images[task] * (len(members) + 1) for task, members in of_task.items()) / shard.count
    hands = [
        (task, hand)
        for task, members in sorted(of_task.items(), key=lambda item: (-images[item[0]], item[0]))
        for hand in ([members] if images[task] * (len(members) + 1) <= share else _one_by_one(members, jobs))
    ]
    loads = [0.0] * min(shard.count, len(jobs))  # no more of them get anything
    tasks: list[set[str]] = [set() for _ in loads]
    mine: list[int] = []
    for task, hand in hands:
        done = [load + images[task] * (len(hand) + (task not in held)) for load, held in zip(loads, tasks, strict=True)]
        chosen = min(range(len(loads)), key=done.__getitem__)
        loads[chosen] = done[chosen]
        tasks[chosen].add(task)
        if chosen == shard.number - 1:
            mine.extend(hand)
    return [jobs[index] for index in sorted(mine)]


def _one_by_one(members: Sequence[int], jobs: Sequence[ModelTaskJob]) -> list[list[int]]:
    return [[index] for index in sorted(members, key=lambda index: (jobs[index].model.slug, jobs[index].model.name))]


def _images(jobs: Sequence[ModelTaskJob]) -> dict[str, float]:
    """Return task -> images its jobs read by its file; as many as the other tasks' where the file does not say."""
    known = {job.task.task.name: _declared(job) for job in jobs}
    usual = round(fmean([images for images in known.values() if images] or [1]))  # sums of whole numbers are exact
    return {task: float(images or usual) for task, images in known.items()}


def _declared(job: ModelTaskJob) -> int:
    sizes = job.task.task.sizes
    training = any(protocol.needs_training for protocol in job.protocols)
    found = [sizes.train, sizes.val, sizes.test] if training else [sizes.test]
    amounts = [max(size) if isinstance(size, list) else size or 0 for size in found]
    return sum(amount if job.options.limit is None else min(amount, job.options.limit) for amount in amounts)
