"""Several processes that do one run: on one store, or on a store each."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import evalsuite
from evalsuite.cli.merge import merge
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.processes import Started, Zygote
from tests.runner.test_kill import measured

SHARDS = 4


@dataclass(frozen=True)
class Setting:
    """Two tasks, two models, and the results of one process that did all of it."""

    zygote: Zygote
    folder: Path

    def start(self, out: str, *options: str, **environment: str) -> Started:
        """Begin a run."""
        store = self.folder / out
        arguments = [
            "run", "-m", "pocket,pixels", "-t", self.folder / "one" / "one.yaml", "-t", "digits",
            "--limit", "40", "--batch-size", "8",
            "-o", store / "results", "--cache-dir", store / "cache", *options,
        ]  # fmt: skip
        return self.zygote.start(arguments, self.zygote.environment(self.folder, environment), self.folder)

    def check_same_as_one(self, out: str) -> None:
        """See that a store has what one process that did everything has."""
        assert measured(self.folder / out) == measured(self.folder / "one-process")


@pytest.fixture(scope="module")
def setting(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("sharing")
    write_folder_task(folder / "one", name="one")
    found = Setting(zygote, folder)
    done = found.start("one-process").finish()
    assert done.returncode == 0, done.stderr
    assert len(measured(folder / "one-process")) > 8
    return found


def test_shards_on_one_store_give_what_one_process_gives(setting: Setting) -> None:
    processes = [setting.start("shards", "--shard", f"{number}/{SHARDS}") for number in range(1, SHARDS + 1)]
    ends = [process.finish() for process in processes]
    assert [end.returncode for end in ends] == [0] * SHARDS, [end.stderr for end in ends]
    setting.check_same_as_one("shards")
    jobs = Counter(line.partition(":")[0] for end in ends for line in end.stderr.splitlines() if " on " in line)
    assert len(jobs) == 4 and set(jobs.values()) == {1}


def test_slurm_array_is_a_run_in_shards(setting: Setting) -> None:
    for own in (7, 8):
        names = {"ID": own, "MIN": 7, "MAX": 8, "STEP": 1, "COUNT": 2}
        slurm = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}
        end = setting.start("slurm", **slurm).finish()
        assert end.returncode == 0, end.stderr
        assert f"Task {own - 6}/2 of a SLURM array" in end.stderr
    setting.check_same_as_one("slurm")


def test_processes_without_shards_take_what_no_other_has(setting: Setting) -> None:
    processes = [setting.start("free") for _ in range(3)]
    ends = [process.finish() for process in processes]
    assert [end.returncode for end in ends] == [0] * 3, [end.stderr for end in ends]
    setting.check_same_as_one("free")
    lines = [line for end in ends for line in end.stderr.splitlines() if line.startswith("[")]
    values = [line.split("] ")[1] for line in lines if "%" in line and "(stored)" not in line]
    computed = Counter(value.partition(":")[0] for value in values)
    assert len(computed) == 6 and set(computed.values()) == {1}


def test_job_of_a_stopped_process_is_left_or_waited_for(setting: Setting) -> None:
    first = setting.start("stopped")
    wait_for("pocket on", first)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        second = setting.start("stopped", "--no-wait").finish()
        assert second.returncode == 75, second.stderr
        assert f"left to others: process {first.pid} on " in second.stderr
        third = setting.start("stopped")
        wait_for(f"held by process {first.pid} on ", third)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.finish().returncode == 0
    assert third.finish().returncode == 0
    setting.check_same_as_one("stopped")


@pytest.mark.parametrize("seed", range(1))
def test_kills_in_every_shard_lose_nothing(setting: Setting, seed: int) -> None:
    draw = random.Random(seed)
    out = f"killed-{seed}"
    for number in range(1, SHARDS + 1):
        process = setting.start(out, "--shard", f"{number}/{SHARDS}")
        wait_for("\n" * draw.randrange(1, 5), process)
        os.kill(process.pid, signal.SIGKILL)
        process.finish()
    ends = [setting.start(out, "--shard", f"{number}/{SHARDS}").finish() for number in range(1, SHARDS + 1)]
    assert [end.returncode for end in ends] == [0] * SHARDS, [end.stderr for end in ends]
    setting.check_same_as_one(out)


def wait_for(text: str, process: Started) -> None:
    """Return when a process has told so much on stderr, or has ended."""
    told = ""
    while text not in told and not (text.isspace() and told.count("\n") >= len(text)):
        told = process.stderr.read_text() if process.stderr.exists() else ""
        if not lives(process):
            return
        os.sched_yield()


def entries(folder: Path) -> int:
    """Return how many files and folders lie below a folder that changes meanwhile."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def lives(process: Started) -> bool:
    """Say whether a process runs; one that has ended stays there until it is waited for."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_shards_on_stores_of_their_own_merge_to_what_one_process_gives(setting: Setting) -> None:
    names = [f"machine-{number}" for number in range(1, SHARDS + 1)]
    for number, name in enumerate(names, 1):
        end = setting.start(name, "--shard", f"{number}/{SHARDS}").finish()
        assert end.returncode == 0, end.stderr
    draw = random.Random(0)
    while True:  # kill the merge a bit later each time, until it has come to its end
        merge = ["merge", *names, "--to", "merged"]
        process = setting.zygote.start(merge, setting.zygote.environment(setting.folder), setting.folder)
        files = draw.randrange(3, 9) + entries(setting.folder / "merged")
        while entries(setting.folder / "merged") < files and lives(process):
            os.sched_yield()
        os.kill(process.pid, signal.SIGKILL)
        if process.finish().returncode == 0:
            break
    setting.check_same_as_one("merged")


def test_runs_next_to_removals_and_reports_give_what_one_process_gives(setting: Setting) -> None:
    store = setting.folder / "crowd"
    processes = [setting.start("crowd") for _ in range(4)]
    others = [
        ["cache", "rm", "--all", "--yes", "--cache-dir", store / "cache"],
        ["cache", "verify", "--cache-dir", store / "cache", "--offline"],
        ["report", "-o", store / "results", "--to", store / "report.html"],
    ]
    environment = setting.zygote.environment(setting.folder)
    for _ in range(3):
        for arguments in others:
            done = setting.zygote.run(arguments, environment, setting.folder)
            assert "Traceback" not in done.stderr, done.stderr
    ends = [process.finish() for process in processes]
    assert [end.returncode for end in ends] == [0] * 4, [end.stderr for end in ends]
    records = [
        {name: what for name, what in measured(setting.folder / out).items() if name.endswith(".json")}
        for out in ("crowd", "one-process")
    ]
    assert records[0] == records[1]


MODELS = ("a", "b", "c")
TASKS = {"one": ("red", "green"), "two": ("blue", "white", "black"), "three": ("red", "blue")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three tasks, and what one run gives of three models on all of them."""
    folder = tmp_path_factory.mktemp("whole")
    for size, (name, classes) in enumerate(TASKS.items(), 2):
        write_folder_task(folder / name, name=name, classes=classes, train=size, test=size, size=8)
    evaluate(folder, "one run", MODELS, TASKS, None)
    return folder


def evaluate(folder: Path, machine: str, models: Sequence[str], tasks: Iterable[str], shard: str | None) -> None:
    """Do a run, or a part of one, on a machine of its own."""
    given = [CountingModel(fingerprint=model) for model in models]
    for model in given:
        model.info = model.info.model_copy(update={"slug": model.info.fingerprint})
    evalsuite.evaluate(
        given,
        [folder / task / f"{task}.yaml" for task in tasks],
        output=folder / machine / "results",
        cache_dir=folder / machine / "cache",
        batch_size=4,
        reporter="none",
        shard=shard,
        log_samples=True,
    )


def contents(folder: Path, models: Sequence[str], tasks: Iterable[str]) -> dict[str, object]:
    """Return records without times, and the bytes of samples and features, of these models on these tasks."""
    found: dict[str, object] = {}
    for path in sorted((folder / "results").rglob("[!.]*.json")):
        record = json.loads(path.read_text())
        if record["model_fingerprint"] in models and record["task"] in tasks:
            name = f"{path.parent.name}/{path.name}"
            record["provenance"].pop("created")
            found[name] = {key: value for key, value in record.items() if key not in ("timings", "digest")}
            found[f"samples of {name}"] = path.with_name(record["samples"]).read_bytes()
    for path in sorted((folder / "cache").rglob("*.npy")):
        _, pool, model = path.parents[:3]
        described = json.loads((model / "model.json").read_text())
        if described["info"]["fingerprint"] in models and pool.name.partition(".")[0] in tasks:
            found[f"{model.name}/{pool.name}/{path.name}"] = path.read_bytes()
    return found


@settings(max_examples=6, phases=[Phase.generate])
@given(data=st.data())
def test_any_run_in_shards_merges_to_what_one_run_gives(whole: Path, data: st.DataObject) -> None:
    models = data.draw(st.lists(st.sampled_from(MODELS), unique=True, min_size=1))
    tasks = data.draw(st.lists(st.sampled_from(list(TASKS)), unique=True, min_size=1))
    count = data.draw(st.integers(1, 4))
    shards = data.draw(st.permutations([*range(1, count + 1), data.draw(st.integers(1, count))]))  # one of them twice
    with TemporaryDirectory(dir=whole) as place:
        machines = [f"{Path(place).name}/{number}" for number in range(len(shards))]
        for machine, shard in zip(machines, shards, strict=True):
            ordered = data.draw(st.permutations(models)), data.draw(st.permutations(tasks))
            evaluate(whole, machine, *ordered, f"{shard}/{count}")
        cut = data.draw(st.integers(0, len(machines)))
        for part in (machines[:cut], machines[cut:], machines):
            folders = [str(whole / machine) for machine in part if (whole / machine).is_dir()]
            assert not folders or merge.main([*folders, "--to", f"{place}/all"], standalone_mode=False) == 0
        assert contents(Path(place) / "all", models, tasks) == contents(whole / "one run", models, tasks)
