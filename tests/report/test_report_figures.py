"""The figures of the report, held against the paper's tables as they are in the CSV files."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import pytest

from evalsuite.report.html.figures import cost_figures, zero_shot_figures
from evalsuite.report.html.plots import Bar, Point, difference_bars, scatter
from evalsuite.report.html.tables import heat_map, left_out
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.library import Library
from evalsuite.results.numbers import Numbers
from tests.report.conftest import Bench

FOLDER = Path(__file__).parents[2] / "results/published"
BEST = "clip/vit-l-14-336px"


def printed(table: str, model: str) -> dict[str, float]:
    """Return the row of a model as the CSV file has it, in percent."""
    with (FOLDER / f"clip_paper_{table}.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if model in row.values())
    return {task: float(value) for task, value in row.items() if re.fullmatch(r"[\d.]+", value)}


def test_figure_5_is_table_11_minus_table_10() -> None:
    board = build_leaderboard(Numbers.of([], Library().choose([BEST])), protocols=["zero_shot"])
    [figure] = zero_shot_figures(board, [])
    bars = {name: float(points) for name, points in re.findall(r"([a-z0-9_]+) ([+-]\d+\.\d)[;.]", str(figure.plot))}
    ours, base = printed("zero_shot", BEST), printed("linear_probe", "resnet/50")
    assert bars == {task: pytest.approx(value - base[task], abs=0.06) for task, value in ours.items()}
    assert len(bars) == 27 and list(bars.values()) == sorted(bars.values(), reverse=True)
    assert sum(value > base[task] for task, value in ours.items()) == 16 and "ahead on 16 of 27" in figure.caption
    assert (bars["stanford_cars"], bars["eurosat"]) == (28.9, -37.1)  # as figure 5 prints them


def test_figure_10_is_the_average_of_table_10_by_cost() -> None:
    """GFLOPs: ViT-B/32 at 224 pixels is known for 4.4 billion multiply-adds, two operations each."""
    board = build_leaderboard(Numbers.of([], Library().choose(["clip/*"])), protocols=["linear_probe"])
    [figure] = cost_figures(board).figures
    found = {
        name: (float(score), float(cost))
        for name, score, cost in re.findall(
            r"(clip/[\w-]+) \(published\) ([\d.]+) at (\d+\.?\d*) GFLOPs[;.]", str(figure.plot)
        )
    }
    for name, (score, _) in found.items():
        row = printed("linear_probe", name)
        assert len(row) == 27 and score == pytest.approx(math.fsum(row.values()) / 27, abs=0.051)
    assert found[BEST][0] == 85.1
    assert found["clip/vit-b-32"][1] == pytest.approx(8.8, rel=0.02)


def test_bars_are_as_long_as_their_values() -> None:
    drawn = str(difference_bars([Bar("a", 20.0), Bar("b", 5.0), Bar("c", -10.0)], "t"))
    boxes = [
        (float(x), float(w), kind)
        for x, w, kind in re.findall(r'<rect x="([\d.]+)" [^>]*?width="([\d.]+)" [^>]*class="(\w+)"', drawn)
    ]
    (first, long, _), (second, short, _), (third, behind, kind) = boxes
    assert long == pytest.approx(4 * short, abs=0.3) and long == pytest.approx(2 * behind, abs=0.2)
    assert first == second == pytest.approx(third + behind, abs=0.1) and kind == "behind"


def test_points_are_where_cost_and_score_say() -> None:
    """The axis is logarithmic: equal ratios are equal distances; higher scores are further up."""
    points = [Point("a/x", "a", 1, 10, False), Point("a/y", "a", 10, 20, True), Point("b/z", "b", 100, 30, False)]
    drawn = str(scatter(points, "t", ["a", "b"]))
    (x1, y1, one), (x2, y2, two), (x3, y3, three) = [
        (float(x), float(y), style)
        for x, y, style in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4.5" class="([^"]+)"', drawn)
    ]
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2) and y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert x1 < x2 and y1 > y2 and (one, two, three) == ("c0", "c0 hollow", "c1")


def test_names_in_the_plot_cover_neither_points_nor_names() -> None:
    points = [Point(f"family/model-{n}", "f", 1 + n / 5, 50 + n, False) for n in range(12)]
    drawn = str(scatter(points, "t", ["f"]))
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    names = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)" class="label name">([^<]+)', drawn)
    spans = []
    for x, y, anchor, name in names:
        length = 6.5 * len(name)
        start = float(x) - (length if anchor == "end" else 0)
        spans.append((start, start + length, float(y) - 4))
    assert 2 <= len(spans) < 12
    for number, (start, end, y) in enumerate(spans):
        assert not any(start < x < end and abs(y - height) < 9 for x, height in dots)
        assert not any(start < last and first < end and abs(y - other) < 11 for first, last, other in spans[:number])


def test_a_measured_model_is_told_from_its_published_row(bench: Bench) -> None:
    bench.add("clip/vit-b-32", "mnist", 0.3, model_info={"gflops": 8.8})
    table = Numbers.of(bench.read(), Library().choose(["clip/vit-b-32"]))
    board = build_leaderboard(table, protocols=["linear_probe"], groups={"digits": ["mnist"]})
    assert [row.origin.label for row, _ in heat_map(board).rows] == ["paper", "measured"]
    [figure] = cost_figures(board).figures
    assert str(figure.plot).count('class="c0 hollow"') == 1 == str(figure.plot).count('class="c0"')
    assert left_out(board.rows, board.rows) == ""
    assert left_out(board.rows, board.rows[:1]) == " 1 more row is in the leaderboard. Measured ones come first."
