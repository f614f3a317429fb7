"""The leaderboard: rows, columns, averages, marks and notes, and its two formats."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import pytest

from evalsuite.errors import UsageError
from evalsuite.records import ErrorRecord, MetricRecord, Provenance, Result
from evalsuite.report.formats import to_csv, to_markdown
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.table import Leaderboard
from evalsuite.results.library import Library
from evalsuite.results.numbers import Number, Numbers, Origin
from evalsuite.results.store import hash8


def make(model: str, task: str, value: float | None, status: str = "ok", **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "status": status,
        "model": model,
        "model_name": model.upper(),
        "task": task,
        "protocol": "zero_shot",
        "fingerprint": "inputs",
        "run_key": f"weights of {model}",
        "metric": None if value is None else MetricRecord(name="accuracy", value=value, n=100),
    }
    if status in ("error", "not_applicable"):
        fields["error"] = ErrorRecord(kind="DataMissingError", message="no images\nin the folder")
    return Result(**(fields | changes))


def paper(model: str, scores: dict[str, float], protocol: str = "zero_shot") -> list[Number]:
    origin, source = Origin("published", "s", "paper"), "A 2020, table 1"
    where: dict[str, Any] = {"model": model, "name": model, "protocol": protocol, "origin": origin, "source": source}
    return [Number(**where, task=task, value=value, metric="accuracy") for task, value in scores.items()]


def board_of(results: Sequence[Result], published: Sequence[Number] = (), **options: Any) -> Leaderboard:
    return build_leaderboard(Numbers.of(results, published), **options)


def averages(board: Leaderboard) -> list[tuple[str, str, float, int]]:
    return [(row.title, row.origin.label, round(100 * row.average, 6), len(row.cells)) for row in board.rows]


SUMMARY = ("average_rank", "wins", "first_place", "last_place", "unit")

GOLDEN = """\
| model   | protocol     | origin   |   cifar10 |   mnist |      average | place | rank | wins |
|---------|--------------|----------|-----------|---------|--------------|-------|------|------|
| m/good  | zero_shot    | measured |  **90.0** | **80.2** |        85.1 | 1–3 | 1.5 | 2 |
| m/good  | linear_probe | measured |      70.0 | **91.0** |        80.5 | 1–3 | 1.5 | 1 |
| p/row   | zero_shot    | paper    |      60.0 |    70.0 |         65.0 | 1–3 | 3.0 | 0 |
| m/some  | zero_shot    | measured |         – |   99.0* | 99.0* (1/2)  | – | – | 0 |

- average: unweighted mean over the 2 tasks of the table, each in percent of its own metric; \
(k/n) marks an average over the k tasks the row has, and such rows come last.
- place: the places a row may have by its average; rows that cannot be told apart share some \
(at 5 % for the whole table, Holm; sample by sample where both logged them, else by intervals).
- bold: the best score of its task, or not below the 99.5 % interval of that score; wins counts them.
- rank: mean rank over the tasks, among the rows that have a whole value for each.
- paper: A 2020, table 1.
- *: a partial result, computed from a part of the samples.
- error: m/some, zero_shot, cifar10: DataMissingError: no images in the folder
- not applicable: m/blind, zero_shot, cifar10, mnist: no images in the folder
"""


def test_golden_markdown() -> None:
    results = [
        make("m/some", "mnist", 0.99, "partial"),
        make("m/some", "cifar10", None, "error"),
        make("m/blind", "mnist", None, "not_applicable"),
        make("m/blind", "cifar10", None, "not_applicable"),
        make("m/good", "mnist", 0.802),
        make("m/good", "cifar10", 0.9),
        make("m/good", "mnist", 0.91, protocol="linear_probe"),
        make("m/good", "cifar10", 0.7, protocol="linear_probe"),
    ]
    printed = paper("p/row", {"cifar10": 0.6, "mnist": 0.7, "imagenet": 0.5})
    found = to_markdown(board_of(results, printed, include_partial=True))

    def squeeze(text: str) -> str:  # how many spaces and dashes pad a column is tabulate's business
        return "\n".join(
            "|".join(cell.strip().strip("-:") for cell in line.split("|")) if line.startswith("|") else line
            for line in text.splitlines()
        )

    assert squeeze(found) == squeeze(GOLDEN)


def test_complete_rows_come_first_and_short_averages_are_marked() -> None:
    results = [make("a", task, 0.5) for task in ("t1", "t2", "t3")]
    results += [make("b", "t1", 0.9), make("b", "t2", 0.9), make("c", "t1", 0.99)]
    board = board_of(results)
    assert averages(board) == [("a", "measured", 50, 3), ("b", "measured", 90, 2), ("c", "measured", 99, 1)]
    text = to_markdown(board)
    assert "90.0 (2/3)" in text and "(3/3)" not in text
    assert "over the 3 tasks" in text


def test_measured_and_published_rows_of_one_name_stay_apart() -> None:
    board = board_of([make("resnet/50", "t1", 0.5)], paper("resnet/50", {"t1": 0.6, "t2": 0.1}))
    assert averages(board) == [("resnet/50", "paper", 60, 1), ("resnet/50", "measured", 50, 1)]
    assert board.tasks == ("t1",)


def test_published_rows_follow_the_tasks_and_protocols_that_were_measured() -> None:
    rows = Library().choose(["all"])
    board = board_of([make("a", "mnist", 0.5), make("a", "cifar10", 0.5), make("a", "digits", 0.5)], rows)
    assert board.tasks == ("cifar10", "mnist", "digits")
    assert {row.protocol for row in board.rows} == {"zero_shot"}
    assert len(board.rows) == 10
    chosen = board_of([make("a", "mnist", 0.5)], rows, protocols=["linear_probe"])
    assert len(chosen.rows) == 66 and len(chosen.tasks) == 27
    assert chosen.rows[0].model == "clip/vit-l-14-336px"
    assert 100 * chosen.rows[0].average == pytest.approx(85.0556, abs=1e-3)


def test_published_rows_of_other_tasks_bring_their_own() -> None:
    rows = Library().choose(["resnet/50"])
    widened = board_of([make("a", "digits", 0.5, protocol="linear_probe")], rows)
    assert widened.tasks[0] == "digits" and len(widened.tasks) == 28
    assert {row.model: len(row.cells) for row in widened.rows} == {"resnet/50": 27, "a": 1}
    assert "--tasks digits leaves them out" in " ".join(widened.notes)
    alone = board_of([make("a", "digits", 0.5, protocol="linear_probe")], rows, tasks=["digits"])
    assert alone.tasks == ("digits",) and len(alone.rows) == 1
    assert "Not shown: 1 published row; they are of other tasks" in " ".join(alone.notes)
    other = board_of([make("a", "digits", 0.5, protocol="knn")], rows)
    assert other.tasks == ("digits",)
    assert "Not shown: 1 published row; they are of another protocol: --protocol linear_probe" in " ".join(other.notes)


def test_models_of_one_name_and_other_weights_are_separate_rows() -> None:
    results = [make("a", "t1", 0.5, run_key="old"), make("a", "t2", 0.9, run_key="new")]
    board = board_of([*results, make("b", "t1", 0.1)])
    assert {row.title for row in board.rows} == {f"a @{hash8('old')}", f"a @{hash8('new')}", "b"}
    assert all(len(row.cells) == 1 for row in board.rows)
    assert any(note.startswith("@: one name, different weights") for note in board.notes)
    unknown = make("b", "t2", None, "error", run_key="")
    assert {row.model for row in board_of([make("b", "t1", 0.1), unknown]).rows} == {"b"}


def test_other_options_are_a_row_of_their_own_and_are_named() -> None:
    results = [
        make("a", "t1", 0.5, options={"refit": True, "seed": 0}),
        make(
            "a",
            "t1",
            0.6,
            options={"refit": False, "seed": 0},
            changed_options={"refit": False},
            options_hash="0123456789abcdef",
        ),
    ]
    board = board_of(results)
    assert [(row.labels[1], row.average) for row in board.rows] == [("zero_shot #01234567", 0.6), ("zero_shot", 0.5)]
    assert "zero_shot #01234567: other options than the default (refit=False)." in board.notes


def test_partial_results_are_left_out_unless_asked_for() -> None:
    results = [make("a", "t1", 0.5), make("a", "t2", 0.7, "partial")]
    board = board_of(results)
    assert board.tasks == ("t1",)
    assert any(note.startswith("Left out: 1 partial result;") for note in board.notes)
    shown = board_of(results, include_partial=True)
    assert averages(shown) == [("a", "measured", 60, 2)]
    assert "70.0*" in to_markdown(shown) and "60.0*" in to_markdown(shown)
    more = [*results, make("b", "t1", 0.375), make("b", "t2", 0.25)]
    text = to_markdown(board_of(more, include_partial=True, groups={"tag": ["t2"]}, baselines=["b"]))
    assert "+28.7*" in text and text.count("70.0*") == 2 and "25.0*" not in text
    complete = board_of([*results, make("a", "t2", 0.8)], include_partial=True)
    assert averages(complete) == [("a", "measured", 65, 2)]


def test_of_repeated_values_the_newest_is_shown_and_errors_stay_visible() -> None:
    old, new = (Provenance(created=f"2026-01-0{day}T00:00:00+00:00") for day in (1, 2))
    results = [
        make("a", "t1", 0.9, provenance=new),
        make("a", "t1", 0.1, provenance=old),
        make("a", "t1", None, "error"),
    ]
    board = board_of(results)
    assert averages(board) == [("a", "measured", 90, 1)]
    assert any("newest is shown" in note for note in board.notes)
    assert any("t1 (another run's value is shown): DataMissingError" in note for note in board.notes)


def test_a_value_that_is_no_number_is_an_error_and_not_a_cell() -> None:
    board = board_of([make("a", "t1", math.nan), make("b", "t1", 0.5)])
    assert averages(board) == [("b", "measured", 50, 1)]
    assert any(note.startswith("error: a, zero_shot, t1: the record has no finite value") for note in board.notes)


def test_filters_take_names_and_patterns_and_refuse_typing_errors() -> None:
    results = [make(model, task, 0.5) for model in ("clip/a", "clip/b", "resnet/50") for task in ("mnist", "cifar10")]
    board = board_of(results, models=["clip/*"], tasks=["mnist", "cifar*"])
    assert [row.model for row in board.rows] == ["clip/a", "clip/b"]
    assert board.tasks == ("mnist", "cifar10")
    assert [row.model for row in board_of(results, models=["RESNET/50"]).rows] == ["resnet/50"]
    with pytest.raises(UsageError, match=r"task 'mnits'\. Did you mean mnist"):
        board_of(results, tasks=["mnits"])
    with pytest.raises(UsageError, match=r"clip/a, clip/b, resnet/50, z/0, z/1, .* and 43 more"):
        board_of([make(f"z/{number}", "mnist", 0.5) for number in range(70)] + results, models=["vit/*"])
    with pytest.raises(UsageError, match="model 'vit/\\*'"):
        board_of(results, models=["vit/*"])
    with pytest.raises(UsageError, match=r"protocol 'zeroshot'\. Did you mean zero_shot"):
        board_of(results, protocols=["zeroshot"])


def test_models_chooses_among_published_rows_too() -> None:
    results = [make("clip/a", "mnist", 0.5), make("mine/b", "mnist", 0.6)]
    rows = [number for number in Library().choose(["clip/rn50", "resnet/50"]) if number.protocol == "zero_shot"]
    board = board_of(results, rows, models=["clip/*"])
    assert [(row.model, row.origin.label) for row in board.rows] == [("clip/rn50", "paper"), ("clip/a", "measured")]
    as_printed = board_of([], Library().choose(["clip-paper"]), models=["RN50x64"], tasks=["mnist"])
    assert {row.model for row in as_printed.rows} == {"clip/rn50x64"} and len(as_printed.rows) == 2
    alone = board_of(results, rows, models=["mine/*"])
    assert averages(alone) == [("mine/b", "measured", 60, 1)]
    assert "Not shown: 1 published row; --models leaves them out: add clip/rn50 to it" in " ".join(alone.notes)
    ahead = board_of(results, rows, models=["mine/b"], baselines=["clip/rn50"])
    assert ahead.rows[0].differences["clip/rn50"].value == pytest.approx(0.6 - 0.666)


def test_csv_and_frame_have_full_values_and_empty_cells() -> None:
    results = [make("a", "t1", 2 / 3), make("a", "t2", 0.5, "partial"), make("b|c", "t1", 1.0)]
    board = board_of(results, include_partial=True)
    rows = list(csv.reader(io.StringIO(to_csv(board))))
    assert rows == [
        [*["model", "protocol", "origin", "t1", "t2", "average", "average_over", "partial"], *SUMMARY],
        ["a", "zero_shot", "measured", "66.67", "50.00", "58.33", "2", "t2", "", "0", "", "", "percent"],
        ["b|c", "zero_shot", "measured", "100.00", "", "100.00", "1", "", "", "1", "", "", "percent"],
    ]
    frame = board.to_frame()
    assert frame.loc[0, "t1"] == pytest.approx(200 / 3)
    assert frame["t2"].isna().tolist() == [False, True]
    assert "b\\|c" in to_markdown(board)


def test_an_empty_table_has_columns_and_says_so() -> None:
    board = board_of([make("a", "t1", None, "error")])
    assert board.rows == () and board.to_frame().empty
    assert to_markdown(board).startswith("There is no value to show.")
    assert "no images in the folder" in to_markdown(board)
    assert to_csv(board) == f"model,protocol,origin,average,average_over,partial,{','.join(SUMMARY)}\n"
