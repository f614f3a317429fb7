"""Numbers of one column that are of other data: the leaderboard and the page say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evalsuite
from evalsuite.records import DataRecord, MetricRecord, Result
from evalsuite.report.editions import edition_notes, editions
from evalsuite.report.html.page import report_page
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.paper.figures import draw, material_of
from evalsuite.report.robustness import build_robustness
from evalsuite.report.table import Leaderboard
from evalsuite.results.library import Library
from evalsuite.results.numbers import Number, Numbers, Origin
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.report.conftest import info_of

OTHER_IMAGES = "the rows are not of the same images"


def make(model: str, n: int = 24, content: str = "a" * 64, **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "status": "ok",
        "model": model,
        "model_name": model,
        "task": "birds",
        "protocol": "linear_probe",
        "fingerprint": "f",
        "run_key": model,
        "metric": MetricRecord(name="accuracy", value=0.5, n=n),
        "data": DataRecord(source="s", content=content),
    }
    return Result(**(fields | changes))


def board_of(*results: Result) -> Leaderboard:
    return build_leaderboard(Numbers.of(results), include_partial=True)


def notes_of(*results: Result) -> list[str]:
    return [note for note in board_of(*results).notes if OTHER_IMAGES in note]


def test_two_editions_in_one_column_are_named_with_their_rows() -> None:
    results = (make("m/new"), make("m/also"), make("m/old", 12, "b" * 64))
    (note,) = notes_of(*results)
    assert note.startswith("birds: ")
    assert "12 test samples, data bbbbbbbb: m/old (linear_probe, measured)" in note
    assert "24 test samples, data aaaaaaaa: m/" in note and "m/new" in note and "m/also" in note
    assert report_page(board_of(*results)).count(OTHER_IMAGES) == 2  # at the task, and among the notes


def test_other_bytes_of_as_many_samples_are_another_edition() -> None:
    (note,) = notes_of(make("m/new"), make("m/old", content="b" * 64))
    assert "aaaaaaaa: m/new" in note and "bbbbbbbb: m/old" in note


def test_other_sizes_of_the_test_split_are_noticed_across_protocols() -> None:
    (note,) = notes_of(make("m/a"), make("m/a", 12, "c" * 64, protocol="zero_shot"))
    assert "12 test samples: m/a (zero_shot, measured); 24 test samples: m/a (linear_probe, measured)" in note


def test_folds_and_seeds_of_the_same_test_images_are_one_edition() -> None:
    seeds = MetricRecord(name="accuracy", value=0.5, n=72, folds=[0.5, 0.5, 0.5])
    assert not notes_of(make("m/a"), make("m/a", protocol="few_shot", metric=seeds))


@pytest.mark.parametrize(
    "other",
    [
        make("m/b"),
        make("m/a", content="b" * 64, protocol="zero_shot"),  # it reads no training images
        make("m/b", content=""),  # nobody knows
        make("m/b", data=None),
        make("m/b", 6, "b" * 64, status="partial"),  # has its own mark
        make("m/b", content="b" * 64, options_hash="1234"),  # other options may take other images
        make("m/b", 6, "b" * 64, task="other"),
    ],
)
def test_where_nothing_is_known_to_differ_nothing_is_said(other: Result) -> None:
    assert notes_of(make("m/a"), other) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (make("m/b", data=DataRecord(source="s", content="a" * 64, labels="2" * 64)), "the same labels"),
        (make("m/b", metric=MetricRecord(name="roc_auc", value=0.5, n=24)), "the same metric"),
        (make("m/b", 12, data=DataRecord(source="s", labels="2" * 64)), "the same images and labels"),
    ],
)
def test_other_labels_and_metrics_are_noticed_wherever_numbers_stand_next_to_each_other(
    other: Result, said: str
) -> None:
    own = make("m/a", data=DataRecord(source="s", content="a" * 64, labels="1" * 64))
    (note,) = (note for note in board_of(own, other).notes if said in note)
    assert "m/a (linear_probe, measured)" in note and "m/b (linear_probe, measured)" in note
    numbers = Numbers.of([own, other]).numbers
    assert edition_notes(numbers) == [note]
    material = material_of(numbers, ["birds"])
    assert [editions(material.rows, task) for task in material.tasks] == [note]


def test_a_figure_and_a_table_of_robustness_say_so() -> None:
    known = [make(m, n, model_info=info_of(m, gflops=1.0)) for m, n in (("m/a", 9), ("m/b", 8))]
    drawn = draw("20", material_of(Numbers.of(known).numbers, ["birds"]), Library())
    assert any(OTHER_IMAGES in note for note in drawn.notes)
    shifted = Numbers.of([make(m, n, task=t) for m, n in (("m/a", 9), ("m/b", 8)) for t in ("imagenet", "imagenet_v2")])
    notes = build_robustness(shifted, (), baselines=["m/a"]).notes
    assert sum(OTHER_IMAGES in note for note in notes) == 2


def test_published_numbers_have_notes_of_their_own() -> None:
    origin = Origin("published", "s", "paper")
    where: dict[str, Any] = {"model": "p/row", "name": "p", "protocol": "linear_probe", "origin": origin}
    number = Number(**where, task="birds", value=0.5, metric="accuracy", n=30)
    assert OTHER_IMAGES not in " ".join(build_leaderboard(Numbers.of([make("m/a")], [number])).notes)


def test_runs_on_the_same_images_with_other_labels_are_told_apart(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "data", test=2)
    images = sorted(path.relative_to(tmp_path / "data").as_posix() for path in tmp_path.rglob("test/*/*.png"))
    task.write_text(
        "title: shapes\nclasses: [red, green, blue]\nprompts: {templates: ['{}']}\nsizes: {train: 6, test: 6}\n"
        "sources: [{kind: table, path: ., pools: {train: test.csv, test: test.csv}}]\n"
        "split_fidelity: {level: convention, why: For a test.}\n"
    )
    found: list[Result] = []
    for number, turned in enumerate((False, False, True)):
        labels = [image.split("/")[1] for image in images]
        labels[:2] = labels[4:] if turned else labels[:2]
        rows = (f"{image},{label}" for image, label in zip(images, labels, strict=True))
        (tmp_path / "data" / "test.csv").write_text("\n".join(["image,label", *rows]) + "\n")
        model = CountingModel(fingerprint=f"model {number}")
        places = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
        found += evalsuite.evaluate([model], str(task), "zero_shot", **places)
    assert [result.status for result in found] == ["ok"] * 3
    assert len({result.data.content for result in found if result.data}) == 1
    (note,) = edition_notes(Numbers.of(found).numbers)
    assert "not of the same labels" in note and note.count("labels ") == 2
