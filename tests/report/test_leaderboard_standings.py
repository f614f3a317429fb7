"""Bold, ranks, differences, groups, claims and the further formats; the paper's own figures as the measure."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from evalsuite.errors import UsageError
from evalsuite.records import MetricRecord, Result
from evalsuite.report.formats import to_html, to_json, to_latex
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.table import Leaderboard, Row
from evalsuite.results.library import Library
from evalsuite.results.numbers import MEASURED, Number, Numbers, Origin

PAPER = Library().choose(["clip-paper"])
PRINTED = Origin("published", "clip-paper", "paper")


@pytest.fixture(scope="module")
def probes() -> Leaderboard:
    return build_leaderboard(
        Numbers.of([], PAPER),
        protocols=["linear_probe"],
        baselines=["resnet/50", "bit-m", "efficientnet", "efficientnet-ns"],
        groups={"ocr": ["mnist", "hateful_memes", "rendered_sst2", "elsewhere"], "none": ["elsewhere"]},
        claims=True,
    )


def test_the_papers_best_probe_and_best_baseline(probes: Leaderboard) -> None:
    first = probes.rows[0]
    assert (first.model, round(100 * first.average, 1), first.wins) == ("clip/vit-l-14-336px", 85.1, 21)
    best = next(row for row in probes.rows if not row.model.startswith("clip/"))
    assert (best.model, round(100 * best.average, 1)) == ("efficientnet-ns/l2-800", 80.3)
    points = {name: round(100 * mean.value, 1) for name, mean in first.differences.items()}
    assert points == {"resnet/50": 15.1, "bit-m": 8.0, "efficientnet": 7.6, "efficientnet-ns": 4.7}
    assert first.rank == min(row.rank for row in probes.rows if row.rank is not None)


def test_the_papers_claims_are_computed(probes: Leaderboard) -> None:
    found = {verdict.claim: verdict for verdict in probes.claims}
    assert {verdict.origin for verdict in found.values()} == {"paper"}
    assert [round(v.value or 0, 1) for v in found.values()] == [4.7, 8.0, 7.6, 15.1, 21, 16]
    assert found["zero-shot-beats-resnet-50"].word == "confirmed, but not on average"
    assert "67.6 against 69.9" in found["zero-shot-beats-resnet-50"].evidence
    assert all(verdict.word.startswith("confirmed") for verdict in found.values())


def measured(model: str, protocol: str, value: float, tasks: list[str]) -> list[Result]:
    metric = MetricRecord(name="accuracy", value=value, n=1000)
    fields = {"status": "ok", "model_name": model, "fingerprint": "f", "metric": metric}
    return [Result.model_validate({**fields, "model": model, "task": task, "protocol": protocol}) for task in tasks]


def test_what_was_measured_never_changes_the_papers_verdicts(probes: Leaderboard) -> None:
    tasks = list(dict.fromkeys(number.task for number in PAPER))
    results = [
        *measured("clip/mine", "linear_probe", 0.99, tasks),
        *measured("efficientnet-ns/mine", "linear_probe", 0.5, tasks),
        *measured("resnet/50", "linear_probe", 0.99, tasks[1:]),  # no average over all tasks, so no answer
    ]
    board = build_leaderboard(Numbers.of(results, PAPER), models=["clip/*", "*/mine", "resnet/50"], claims=True)
    assert [verdict for verdict in board.claims if verdict.origin == "paper"] == list(probes.claims)
    mine = {verdict.claim: verdict for verdict in board.claims if verdict.origin == "measured"}
    assert set(mine) == {"ahead-of-noisy-student", "within-the-top-score"}
    ahead = mine["ahead-of-noisy-student"]
    assert (ahead.value, ahead.word) == (pytest.approx(49.0), "holds, with another figure")
    assert ahead.evidence.startswith("clip/mine against efficientnet-ns/mine: 27 of 27 tasks, 99.0 against 50.0")
    assert mine["within-the-top-score"].value == 27


def test_groups_average_the_tasks_of_the_table(probes: Leaderboard) -> None:
    assert probes.groups == {"ocr": ("mnist", "hateful_memes", "rendered_sst2")}
    scores = probes.rows[0].cells
    mean = sum(scores[task].value for task in ("mnist", "hateful_memes", "rendered_sst2")) / 3
    assert probes.rows[0].groups["ocr"].value == pytest.approx(mean)


def test_a_zero_shot_table_is_compared_with_a_probe_and_missing_tasks_are_marked() -> None:
    zero_shot = [number for number in PAPER if number.protocol == "zero_shot"]
    short = [number for number in zero_shot if (number.model, number.task) == ("clip/rn50", "mnist")]
    whole = [number for number in zero_shot if number.model == "clip/vit-b-32"]
    table = Numbers.of([], [*short, *whole])
    board = build_leaderboard(table, tasks=["mnist", "cifar10"], baselines=["resnet/50"])
    row = next(row for row in board.rows if len(row.cells) == 1)
    assert row.differences["resnet/50"].mark == " (1/2)" and row.rank is None
    assert any("resnet/50 (linear_probe, paper" in note for note in board.notes)
    with pytest.raises(UsageError, match=r"Did you mean .*bit-m"):
        build_leaderboard(Numbers.of([], PAPER), baselines=["bit-n"])


@pytest.mark.parametrize(
    ("value", "word"), [(0.647, "confirmed"), (0.646, "holds, with another figure"), (0.6, "does not hold")]
)
def test_a_claim_is_confirmed_in_the_decimals_that_are_printed(value: float, word: str) -> None:
    tasks = list(dict.fromkeys(number.task for number in PAPER))
    rows = (("clip/mine", value), ("efficientnet-ns/mine", 0.6))
    results = [result for model, own in rows for result in measured(model, "linear_probe", own, tasks)]
    found = {verdict.claim: verdict.word for verdict in build_leaderboard(Numbers.of(results), claims=True).claims}
    assert found["ahead-of-noisy-student"] == word


def test_a_family_is_as_good_as_its_model_with_values_for_most_tasks() -> None:
    results = [
        *measured("net/whole", "linear_probe", 0.5, ["mnist", "cifar10"]),
        *measured("net/short", "linear_probe", 0.9, ["mnist"]),
        *measured("mine/m", "linear_probe", 0.6, ["mnist", "cifar10"]),
    ]
    board = build_leaderboard(Numbers.of(results), baselines=["net"])
    row = next(row for row in board.rows if row.model == "mine/m")
    assert row.differences["net"].value == pytest.approx(0.1)


def number(task: str, value: float, **more: Any) -> Number:
    return Number(model="m", name="m", protocol="zero_shot", task=task, metric="accuracy", value=value, **more)


BOARD = Leaderboard(
    ("a_b", "c"),
    (
        Row(
            "m/x&y",
            "zero_shot",
            MEASURED,
            {"a_b": number("a_b", 0.5), "c": number("c", 0.6)},
            best=frozenset({"c"}),
            rank=1.0,
        ),
        Row("m/<z>", "zero_shot", PRINTED, {"a_b": number("a_b", 0.4)}),
    ),
    ("99.5 %: a note_",),
)
LATEX = r"""% needs \usepackage{booktabs}
\begin{tabular}{lllrrrrr}
\toprule
model & protocol & origin & a\_b & c & average & rank & wins \\
\midrule
m/x\&y & zero\_shot & measured & 50.0 & \textbf{60.0} & 55.0 & 1.0 & 1 \\
m/<z> & zero\_shot & paper & 40.0 & -- & 40.0 (1/2) & -- & 0 \\
\bottomrule
\end{tabular}

\par\smallskip
{\footnotesize 99.5 \%: a note\_\par}
"""


def test_golden_latex() -> None:
    assert to_latex(BOARD) == LATEX


LAB = Origin("imported", "lab", "imported:lab")
ODD = Leaderboard(
    ("a_b",),
    (Row("C:\\x~y^z {50%} #1 $5", "zero_shot", LAB, {"a_b": number("a_b", 0.5, partial=True)}, "ab", "01ab"),),
    ("vs x: ~10 % & more – “quoted” <tag> |pipe| C:\\path_to\\file ^2 {x}.",),
)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX is installed")
@pytest.mark.parametrize("name", ["small", "odd", "paper"])
def test_latex_compiles(tmp_path: Path, probes: Leaderboard, name: str) -> None:
    board = {"small": BOARD, "odd": ODD, "paper": probes}[name]
    text = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "board.tex").write_text(text + to_latex(board) + "\\end{document}\n", "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "board.tex"]
    finished = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, errors="replace")
    assert finished.returncode == 0, finished.stdout[-2000:]
    assert (tmp_path / "board.pdf").stat().st_size > 0


def test_html_is_escaped_and_json_has_nulls(probes: Leaderboard) -> None:
    page = to_html(BOARD)
    assert "m/&lt;z&gt;" in page and "<strong>60.0</strong>" in page and "http" not in page
    content = json.loads(to_json(BOARD))
    assert content["rows"][1]["scores"] == {"a_b": 40.0, "c": None}
    assert content["rows"][0]["best"] == ["c"]
    full = json.loads(to_json(probes))
    assert full["unit"] == "percent"
    cell = full["rows"][0]["cells"]["mnist"]
    assert (cell["value"], cell["n"], cell["unit"], cell["metric"]) == (
        pytest.approx(99.2),
        10_000,
        "percent",
        "accuracy",
    )
    assert 98.8 < cell["low"] < cell["value"] < cell["high"] < 99.5 and cell["level"] == 0.995
    assert content["rows"][1]["cells"].keys() == {"a_b"} and content["rows"][1]["cells"]["a_b"]["low"] is None
    assert full["rows"][0]["differences"]["bit-m"]["over"] == 27 and len(full["claims"]) == 6
