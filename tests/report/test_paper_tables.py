"""The tables of the paper as `evalsuite table` shows them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from evalsuite.errors import UsageError
from evalsuite.records import MetricRecord, Result
from evalsuite.report.formats import FORMATS
from evalsuite.report.paper.tables import DATASET_FORMATS, dataset_table, score_table
from evalsuite.results.library import Library
from evalsuite.results.numbers import Number, Numbers
from tests.processes import WarmCli

LIBRARY = Library()
BEST = "clip/vit-l-14-336px"


def measured(protocol: str, task: str, value: float, **known: Any) -> list[Number]:
    result = Result(
        status="ok", model="m", model_name="m", task=task, protocol=protocol, fingerprint="f",
        metric=MetricRecord(name="accuracy", value=value, n=100), **known,
    )  # fmt: skip
    return list(Numbers.of([result]).numbers)


def test_table_9_says_which_sizes_and_classes_are_wrong() -> None:
    table = dataset_table(LIBRARY)
    rows = {row["task"]: row for row in table.rows}
    assert len(rows) == 27
    assert (rows["food101"]["classes_printed"], rows["food101"]["classes"]) == (102, 101)
    assert rows["food101"]["differs"] == "classes" and not rows["cifar10"]["differs"]
    assert {"classes", "train", "test"} == set(str(rows["fer2013"]["differs"]).split(", "))
    assert (rows["country211"]["train_printed"], rows["country211"]["train"]) == (43200, 42200)
    assert any(note.startswith("food101: ") and "101" in note for note in table.notes)


@pytest.mark.parametrize("name", FORMATS)
def test_table_9_has_the_formats_of_a_leaderboard(name: str) -> None:
    text = DATASET_FORMATS[name](dataset_table(LIBRARY))
    assert text.count("101") > 2 and "pets" in text and text.endswith("\n")
    if name == "csv":
        assert [row["task"] for row in csv.DictReader(io.StringIO(text))][:2] == ["food101", "cifar10"]
    if name == "json":
        assert len(json.loads(text)["rows"]) == 27


@pytest.mark.parametrize(("number", "rows", "word"), [("10", 66, "21 of 27"), ("11", 9, "16 of 27")])
def test_tables_10_and_11_are_the_papers_with_what_is_said_of_them(number: str, rows: int, word: str) -> None:
    protocol = {"10": "linear_probe", "11": "zero_shot"}[number]
    board = score_table(number, measured(protocol, "mnist", 0.5), LIBRARY)
    assert len([row for row in board.rows if row.origin.label == "paper"]) == rows
    assert len(board.tasks) == 27 and [row.model for row in board.rows if row.origin.kind == "measured"] == ["m"]
    assert any(word in verdict.evidence and verdict.word.startswith("confirmed") for verdict in board.claims)


def test_table_13_has_the_recalls_of_both_sides() -> None:
    mine = measured("retrieval", "flickr30k", 0.5, metrics={"text_recall_at_1": 0.4, "image_recall_at_10": 0.9})
    board = score_table("13", mine, LIBRARY)
    rows = {
        (row.model, row.protocol): {task: round(100 * cell.value, 1) for task, cell in row.cells.items()}
        for row in board.rows
    }
    best = rows[BEST, "retrieval"]
    assert best["flickr30k text R@1"] == 88.0 and best["coco_captions image R@10"] == 72.2
    assert len(best) == 12
    assert rows["m", "retrieval"] == {"flickr30k text R@1": 40.0, "flickr30k image R@10": 90.0}
    assert rows["uniter/large", "retrieval"]["flickr30k image R@1"] == 68.7
    assert rows["uniter/large", "fine_tuned"]["coco_captions text R@5"] == 88.6
    assert len(rows["villa/large", "fine_tuned"]) == len(rows["imagebert/base", "retrieval"]) == 6


def test_table_16_says_that_objectnet_differs_from_the_text() -> None:
    board = score_table("16", measured("zero_shot", "objectnet", 0.5), LIBRARY)
    assert {row.model for row in board.rows} >= {"m", BEST, "resnet/101"}
    (objectnet,) = [note for note in board.notes if "loses on ObjectNet" in note]
    assert "prints 3.8, its tables give 6.10: differs" in objectnet
    for text, value in (
        ("gains on ImageNet (", "9.20"),
        ("ImageNet-R", "4.70"),
        ("Sketch", "2.80"),
        ("ImageNet-A", "1.90"),
    ):
        (note,) = [note for note in board.notes if text in note and "(section 3.3)" in note]
        assert f"give {value}: agrees" in note


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(UsageError, match="There are: 9, 10, 11, 13, 16"):
        score_table("12", [], LIBRARY)
    with pytest.raises(UsageError, match="--origin both"):
        score_table("13", [], LIBRARY, printed=False)


def test_the_command_shows_and_writes_tables(cli: WarmCli) -> None:
    shown = cli("table", "16")
    assert shown.returncode == 0 and ": differs" in shown.stdout and "| resnet/101" in shown.stdout
    written = cli("table", "9", "--to", "nine.tex")
    assert written.returncode == 0 and "Wrote 27 rows" in written.stdout
    few = cli("table", "10", "-m", "resnet/50", "--format", "csv")
    assert few.stdout.splitlines()[1].startswith("resnet/50,linear_probe,paper,71.30,")
    assert "13  Retrieval" in cli("table").stdout
    assert cli("table", "7").returncode == 2
