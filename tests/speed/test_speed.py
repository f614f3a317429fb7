"""How long a run will take: from rates that are measured once per machine, and sizes in the task files."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from evalsuite.cli import evalsuite
from evalsuite.features.verifying import damaged_notes
from evalsuite.speed import measure
from evalsuite.speed.estimate import Expected, Fit, Reading, Work, bottleneck, expected, work_of
from evalsuite.speed.record import Machine, Speed, find, keep, this_machine
from evalsuite.tasks import TaskIndex


def speed(*, decode: float, encode: float, copied: float | None, processors: int = 2) -> Speed:
    """A speed with round numbers: 10 texts and 1e6 operations per second, 100 features."""
    machine = Machine(name="box", device="cpu" if copied is None else "GPU", devices=1, processors=processors)
    return Speed(
        model="m", run_key="k", precision="fp32", machine=machine, decode={"pillow": decode, "torchvision": 3 * decode},
        encode={16: encode / 2, 256: encode}, copied=copied, texts=10.0, probe=1e6, dim=100,
    )  # fmt: skip


def test_a_gpu_overlaps_what_a_cpu_does_one_after_the_other() -> None:
    on_cpu, on_gpu = (speed(decode=100.0, encode=300.0, copied=copied) for copied in (None, 5_000.0))
    images = Work(images=600)
    assert expected(on_gpu, images, Reading(256)).images == pytest.approx(600 / 200)  # 2 processors decode 100 each
    assert expected(on_cpu, images, Reading(256)).images == pytest.approx(600 / 200 + 600 / 300)
    assert expected(on_gpu, images, Reading(8)).images == pytest.approx(600 / 150)  # the nearest batch size
    assert expected(on_gpu, images, Reading(256, "torchvision")).images == pytest.approx(600 / 300)
    assert bottleneck(on_gpu, Reading(256)).startswith("decoding: 200 images/s")
    slow_copies, processors = speed(decode=100.0, encode=300.0, copied=9.0), 8
    assert bottleneck(slow_copies, Reading(256)).startswith("copies to the device: 9 images/s")
    more = speed(decode=100.0, encode=300.0, copied=5_000.0, processors=processors)
    assert bottleneck(more, Reading(256)).startswith("the model: 300 images/s")


def test_a_speed_is_that_of_its_model_and_machine_and_as_it_was_written(tmp_path: Path) -> None:
    session = SimpleNamespace(
        known=lambda: SimpleNamespace(run_key="k"), device=torch.device("cpu"), devices=1, name="m"
    )
    here = this_machine(session)  # type: ignore[arg-type]
    mine = speed(decode=100.0, encode=300.0, copied=None).model_copy(update={"machine": here})
    path = keep(mine, tmp_path)
    other = keep(mine.model_copy(update={"run_key": "other", "probe": 7.0}), tmp_path)
    assert find(session, tmp_path) == mine and not list(damaged_notes(tmp_path))  # type: ignore[arg-type]
    whole = path.read_text()
    for damaged in (other.read_text(), whole.replace("300", "900"), whole[:-60]):
        path.write_text(damaged)
        assert find(session, tmp_path) is None and len(list(damaged_notes(tmp_path))) == 1  # type: ignore[arg-type]


def test_texts_and_fits_take_their_time() -> None:
    work = Work(texts=50, fits=(Fit(searched=9, refitted=10, classes=2), Fit(searched=9, refitted=10, classes=2)))
    found = expected(speed(decode=1.0, encode=1.0, copied=None), work, Reading(256))
    # 500 passes of the search and 60 of the last fit, 4 x rows x features x classes operations each
    assert found == Expected(images=0.0, texts=5.0, probe=pytest.approx(2 * 4 * (500 * 9 + 60 * 10) * 100 * 2 / 1e6))


def test_every_task_of_the_paper_says_how_much_work_it_is() -> None:
    tasks = {task.name: task for task in TaskIndex().select(["all"])}
    works = {name: work_of(task, zero_shot=True, probe=True) for name, task in tasks.items()}
    assert len(works) == 27 and all(works.values())
    mnist, voc, ucf, resisc = (works[name] for name in ("mnist", "voc2007", "ucf101", "resisc45"))
    assert mnist == Work(70_000, 10, (Fit(54_000, 60_000, 10),))
    assert voc is not None and voc.images == 2_501 + 2_510 + 4_952 and voc.fits == (Fit(2_501, 5_011, 20),)
    assert ucf is not None and ucf.images == 13_320 and [it.refitted for it in ucf.fits] == [9_537, 9_586, 9_624]
    assert resisc is not None and resisc.fits[0].searched == resisc.fits[0].refitted  # refit: train
    zero_shot = work_of(tasks["imagenet"], zero_shot=True, probe=False)
    assert zero_shot is not None and zero_shot.images == 50_000 and not zero_shot.fits
    assert zero_shot.texts == 80 * sum(len(item.names) for item in tasks["imagenet"].class_list)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure for no longer than one try."""
    for name, value in {"SECONDS": 0.0, "TEXTS": 2, "PROBE_ROWS": 100, "PROBE_ITERATIONS": 2}.items():
        monkeypatch.setattr(measure, name, value)


def plan(tmp_path: Path, model: str = "pixels", *more: str) -> str:
    """Return what a dry run of a model on the digits prints."""
    stores = ["--cache-dir", str(tmp_path / "cache"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(evalsuite, ["run", "-m", model, "-t", "digits", "--dry-run", *stores, *more])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("model", ["pixels", "pocket"])
def test_a_dry_run_shows_the_estimate_of_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    assert f"evalsuite speed -m {model}" in plan(tmp_path, model)
    done = CliRunner().invoke(evalsuite, ["speed", "-m", model, "-t", "digits", "--cache-dir", str(tmp_path / "cache")])
    assert done.exit_code == 0, done.output
    for part in ("decoding", "encoding", "probe", "bottleneck"):
        assert re.search(rf"^  {part} ", done.output, re.MULTILINE)
    (row,) = [line for line in done.output.splitlines() if line.startswith("digits")]
    whole = re.split(r"  +", row)[-1]
    assert f"; expected: {whole}." in plan(tmp_path, model)
    lines = plan(tmp_path, model, "--protocol", "knn,few_shot").splitlines()
    (few_shot,) = [re.split(r"  +", line.strip())[-1] for line in lines if "few_shot" in line]
    assert few_shot.endswith(" s") and few_shot != "0.0 s"  # fits alone: the images are of the line before
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "another machine")
        assert "; expected" not in plan(tmp_path, model)
    (file,) = (tmp_path / "cache" / "speed").iterdir()
    file.write_text('{"written": "by another version"}')
    assert "; expected" not in plan(tmp_path, model)


def test_a_wrong_name_or_device_is_refused_before_any_work(tmp_path: Path) -> None:
    for wrong in (["-m", "no-such-model"], ["--device", "cuda:99"], ["-t", "no-such-task"]):
        done = CliRunner().invoke(evalsuite, ["speed", *wrong, "--cache-dir", str(tmp_path)])
        assert done.exit_code != 0 and "images/s" not in done.output
