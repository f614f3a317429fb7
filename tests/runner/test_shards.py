"""How the jobs of a run are divided."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError
from evalsuite.executors.local import LocalExecutor
from evalsuite.models.names import resolve
from evalsuite.options import RunOptions
from evalsuite.protocols import make_protocols
from evalsuite.runner.base import Reporter
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.loop import make_jobs
from evalsuite.runner.shards import Shard, jobs_of, parse_shard, slurm_shard
from evalsuite.tasks import TaskIndex


@pytest.fixture
def jobs(tmp_path: Path) -> list[ModelTaskJob]:
    """Three models on all tasks of the paper."""
    import torch

    specs = TaskIndex().select(["all"])
    executor = LocalExecutor([torch.device("cpu")], "fp32")
    models = [resolve(name) for name in ("pixels", "pocket", "ViT-B/32")]
    options, place = RunOptions(output=tmp_path), DataPlace(cache_dir=tmp_path)
    return make_jobs(models, specs, make_protocols(["linear_probe"], {}, {}), options, place, executor, Reporter())


def names(jobs: list[ModelTaskJob]) -> list[tuple[str, str]]:
    return [(job.model.slug, job.task.task.name) for job in jobs]


@pytest.mark.parametrize("count", [1, 2, 8, 200])
def test_every_job_is_in_one_shard_in_its_order(jobs: list[ModelTaskJob], count: int) -> None:
    shards = [jobs_of(Shard(number, count), jobs) for number in range(1, count + 1)]
    assert Counter(name for shard in shards for name in names(shard)) == Counter(names(jobs))
    for shard in shards:
        assert shard == [job for job in jobs if job in shard]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data())
def test_shards_of_any_run_are_disjoint_and_all_of_it_in_whatever_order_it_is_given(
    jobs: list[ModelTaskJob], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(jobs), unique_by=id, min_size=1))
    count = data.draw(st.integers(1, 40))
    shards = [jobs_of(Shard(number, count), chosen) for number in range(1, count + 1)]
    assert Counter(name for shard in shards for name in names(shard)) == Counter(names(chosen))
    other = data.draw(st.permutations(chosen))
    assert [set(names(jobs_of(Shard(number, count), other))) for number in range(1, count + 1)] == [
        set(names(shard)) for shard in shards
    ]


def test_more_shards_than_memory_has_room_for_leave_most_of_them_empty(jobs: list[ModelTaskJob]) -> None:
    most = 999_999_999
    few = [jobs_of(Shard(number, most), jobs) for number in (*range(1, len(jobs) + 1), most)]
    assert Counter(name for shard in few for name in names(shard)) == Counter(names(jobs)) and few[-1] == []


def test_shards_cost_about_the_same_and_keep_tasks_together(jobs: list[ModelTaskJob]) -> None:
    jobs = [job for job in jobs if job.task.task.name not in ("imagenet", "kinetics700")]  # as large as all others
    shards = [jobs_of(Shard(number, 4), jobs) for number in range(1, 5)]
    images = {job.task.task.name: sum_of(job) for job in jobs}
    loads = [
        sum(images[task] for _, task in names(shard)) + sum(images[task] for task in {task for _, task in names(shard)})
        for shard in shards
    ]
    assert max(loads) <= 1.1 * min(loads)
    decoded = sum(len({task for _, task in names(shard)}) for shard in shards)
    assert decoded <= 1.2 * len(images)


def sum_of(job: ModelTaskJob) -> int:
    sizes = job.task.task.sizes
    amounts = (sizes.train, sizes.val, sizes.test)
    return sum(max(size) if isinstance(size, list) else size or 0 for size in amounts)


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "a/b", "1/0", "-1/3", ""])
def test_shards_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--shard .*I/N"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("own", "low", "high", "step", "count", "place"),
    [
        (0, 0, 7, 1, 8, "1/8"),
        (8, 1, 8, 1, 8, "8/8"),
        (30, 10, 40, 10, 4, "3/4"),
        (17, 17, 18, None, 2, "1/2"),
        (5, 5, 5, 1, 1, None),
    ],
)
def test_place_in_a_slurm_array(own: int, low: int, high: int, step: int | None, count: int, place: str | None) -> None:
    environment = {"ID": own, "MIN": low, "MAX": high, "STEP": step, "COUNT": count}
    given = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in environment.items() if value is not None}
    assert slurm_shard(given) == place
    assert slurm_shard({}) is None


def test_slurm_array_with_gaps_is_refused_with_a_way_out() -> None:
    values = {"ID": 7, "MIN": 1, "MAX": 7, "STEP": 1, "COUNT": 3}  # --array=1,3,7
    with pytest.raises(UsageError, match=r"gaps.*--shard.*--array=1-3"):
        slurm_shard({f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()})
