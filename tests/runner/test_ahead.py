"""The images of the next task are encoded while a probe of this one is fitted; several models share one pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from evalsuite.api import load_task
from evalsuite.data.place import DataPlace
from evalsuite.executors.local import LocalExecutor
from evalsuite.features.store import PoolFeatures
from evalsuite.options import RunOptions
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome, ProtocolInput
from evalsuite.runner import ahead
from evalsuite.runner import rounds as rounds_module
from evalsuite.runner.ahead import Ahead
from evalsuite.runner.base import Reporter
from evalsuite.runner.job import ModelTaskJob
from evalsuite.runner.loop import make_jobs, run_jobs
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel

CPU = torch.device("cpu")


class Own(EvaluationProtocol):
    """Does what a test wants while it runs."""

    name = "own"
    prefix = "own"
    version = 1
    layer = "penultimate"

    def __init__(self, work: Callable[[ProtocolInput], None]) -> None:
        super().__init__()
        self._work = work

    def splits(self, folds: Sequence[Any]) -> list[Any]:
        return [fold.test for fold in folds]

    def run(self, given: ProtocolInput) -> Outcome:
        self._work(given)
        found = [given.read(fold.test, self.layer) for fold in given.folds]
        scores = [FoldScores(item.features.numpy(), item.labels, item.ids) for item in found]
        return Outcome(folds=scores, sizes={"test": len(found[0].ids)})


class Watched(CountingModel):
    """Tells when it has encoded so many images, and of which thread."""

    def __init__(self, name: str = "watched", tell_at: int = 10**9) -> None:
        super().__init__(fingerprint=name)
        self.info = self.info.model_copy(update={"slug": name, "name": name})
        self.tell_at = tell_at
        self.reached = threading.Event()
        self.threads: set[str] = set()

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        found = super().encode_images(batch)
        if self.encoded >= self.tell_at:
            self.reached.set()
        return found

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        self.threads.add(threading.current_thread().name)
        return super().encode_texts(texts)


@pytest.fixture
def tasks(tmp_path: Path) -> list[Path]:
    """Two tasks with nine test images each."""
    return [write_folder_task(tmp_path / name, name=name) for name in ("one", "two")]


def jobs_for(
    models: Sequence[CountingModel],
    tasks: Sequence[Path],
    work: Callable[[ProtocolInput], None],
    folder: Path,
    out: str = "out",
) -> tuple[list[ModelTaskJob], RunOptions]:
    options = RunOptions(output=folder / out / "results", batch_size=2, workers=0)
    place = DataPlace(cache_dir=folder / out / "cache")
    specs = [load_task(task) for task in tasks]
    executor = LocalExecutor([CPU], ["fp32"])
    return make_jobs(models, specs, [Own(work)], options, place, executor, Reporter()), options


def run(models: Sequence[CountingModel], tasks: Sequence[Path], work: Callable[[ProtocolInput], None], folder: Path):  # type: ignore[no-untyped-def]
    jobs, options = jobs_for(models, tasks, work, folder)
    return run_jobs(jobs, options, Reporter())


def test_next_task_is_encoded_while_a_protocol_runs(tasks: list[Path], tmp_path: Path) -> None:
    model = Watched(tell_at=18)
    seen: list[bool] = []

    def wait_for_the_other_task(given: ProtocolInput) -> None:
        seen.append(model.reached.wait(60))

    results = run([model], tasks, wait_for_the_other_task, tmp_path)
    assert seen == [True, True]
    assert [(result.task, result.status) for result in results] == [("one", "ok"), ("two", "ok")]


def test_models_are_used_by_one_thread_which_is_not_that_of_the_protocol(tasks: list[Path], tmp_path: Path) -> None:
    model = Watched()
    found: list[Any] = []

    def embed(given: ProtocolInput) -> None:
        found.append(given.embed_texts([f"a red square of {given.task.name}"]))

    results = run([model], tasks, embed, tmp_path)
    assert [result.status for result in results] == ["ok", "ok"], results[0].error
    assert len(found) == 2 and len(model.threads) == 1 and threading.current_thread().name not in model.threads


def test_interruption_of_a_protocol_ends_the_pass_and_keeps_its_batches(tasks: list[Path], tmp_path: Path) -> None:
    model = Watched(tell_at=12)

    def interrupt(given: ProtocolInput) -> None:
        assert model.reached.wait(60)
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run([model], tasks, interrupt, tmp_path)
    assert threading.active_count() == before
    encoded = model.encoded
    assert encoded >= 12
    stored = [PoolFeatures(path.parent) for path in (tmp_path / "out" / "cache").rglob("pool.json")]
    assert sum(map(len, stored)) >= encoded - 8  # what was on its way
    run([model], tasks, lambda given: None, tmp_path)
    assert model.encoded <= 18 + 8
    assert sum(len(PoolFeatures(store.folder)) for store in stored) == 18


def test_results_of_several_models_are_those_of_one_after_the_other(tasks: list[Path], tmp_path: Path) -> None:
    names = ("a", "b", "c")
    together = run([Watched(name) for name in names], tasks, lambda given: None, tmp_path / "together")
    alone = [run([Watched(name)], tasks, lambda given: None, tmp_path / name) for name in names]
    assert [(r.model, r.task, r.metric) for r in together] == [(r.model, r.task, r.metric) for rs in alone for r in rs]


def test_models_that_do_not_fit_together_go_in_rounds(
    tasks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [Watched(name) for name in ("a", "b", "c")]
    for model in models:
        model.info = model.info.model_copy(update={"parameters": 100})
    jobs, options = jobs_for(models, tasks, lambda given: None, tmp_path)
    sessions = list(dict.fromkeys(job.model for job in jobs))
    monkeypatch.setattr(rounds_module, "available_memory", lambda: 1700)
    assert [[session.slug for session in found] for found in rounds_module.rounds(sessions)] == [["a", "b"], ["c"]]
    results = run_jobs(jobs, options, Reporter())
    assert [(result.model, result.task) for result in results] == [(n, t) for n in "abc" for t in ("one", "two")]


def test_model_that_does_not_fit_next_to_the_others_comes_later(tasks: list[Path], tmp_path: Path) -> None:
    small, large = Watched("small"), Watched("large")
    encoding = CountingModel.encode_images

    def needs_all_memory(batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        if small.encoded < 18:  # the other one is still at work
            raise torch.OutOfMemoryError
        return encoding(large, batch)

    large.encode_images = needs_all_memory  # type: ignore[method-assign]
    results = run([large, small], tasks, lambda given: None, tmp_path)
    assert [(result.model, result.status) for result in results] == [("large", "ok")] * 2 + [("small", "ok")] * 2
    assert large.encoded == 18


def test_result_that_cannot_be_stored_stops_no_other(tasks: list[Path], tmp_path: Path) -> None:
    models = [Watched(name) for name in ("a", "b")]
    jobs, options = jobs_for(models, tasks[:1], lambda given: None, tmp_path)
    blocked = jobs[0].store.path("a", jobs[0].model.identify().run_key, "one", "own").parent
    blocked.parent.mkdir(parents=True)
    blocked.write_text("no folder")
    first, second = run_jobs(jobs, options, Reporter())
    assert (first.status, second.status) == ("error", "ok")
    assert first.error is not None and str(blocked) in first.error.message
    again, _ = run(models, tasks[:1], lambda given: None, tmp_path)
    assert again.status == "error"
    blocked.unlink()
    assert [result.status for result in run(models, tasks[:1], lambda given: None, tmp_path)] == ["ok", "ok"]


def test_lock_of_another_run_on_the_features_is_waited_for(tasks: list[Path], tmp_path: Path) -> None:
    model = Watched()
    jobs, options = jobs_for([model], tasks, lambda given: None, tmp_path)
    pool = jobs[0].task.splits(jobs[0].protocols[0])[0].pool
    held = jobs[0].features(pool).lock()
    held.acquire()

    class Freeing(Reporter):
        """Lets go of the lock when the other task is done."""

        def result(self, result: Any, stored: bool) -> None:
            if result.task == "two":
                held.release()

    for job in jobs:
        job.reporter = Freeing()
    results = run_jobs(jobs, options, Freeing())
    assert [(result.task, result.status) for result in results] == [("one", "ok"), ("two", "ok")]


def test_a_thread_that_ended_without_a_word_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "LOOK", 0.01)
    monkeypatch.setattr(Ahead, "_run", lambda self: None)  # as where there is no memory to begin with it
    with Ahead(lambda found: iter([1]), 1) as pieces, pytest.raises(MemoryError):
        list(pieces)
    with Ahead(lambda found: iter([1]), 1) as pieces, pytest.raises(MemoryError):
        pieces.ask(lambda: 1)
