"""Effective robustness: the line, its baselines, and the paper's own numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from evalsuite.errors import SpecError, UsageError
from evalsuite.report.robustness import Robustness, build_robustness, fit_line
from evalsuite.report.robustness_formats import FORMATS
from evalsuite.results.numbers import Number, Numbers
from evalsuite.results.shift import read_shift_tables

TABLES = read_shift_tables()


def measured(model: str, scores: Mapping[str, float], *, partial: bool = False) -> list[Number]:
    """Return numbers of zero-shot."""
    return [
        Number(
            model=model, name=model, protocol="zero_shot", task=task, metric="accuracy", value=value, partial=partial
        )
        for task, value in scores.items()
    ]


def effective(table: Robustness, model: str, protocol: str) -> dict[str, float]:
    """Return task -> effective robustness of a row in points."""
    (row,) = (row for row in table.rows if row.labels[:2] == (model, protocol))
    return {task: 100 * cell.effective for task, cell in row.cells.items() if cell.effective is not None}


def test_the_line_is_the_least_squares_fit_of_logits() -> None:
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.55, 0.9, 30)
    shifted = expit(1.3 * logit(reference) - 0.9 + rng.normal(0, 0.1, 30))
    line = fit_line(list(zip(reference.tolist(), shifted.tolist(), strict=True)))
    slope, intercept = np.polyfit(logit(reference), logit(shifted), 1)
    assert line is not None and line.points == 30
    assert (line.slope, line.intercept) == (pytest.approx(slope), pytest.approx(intercept))
    assert line.predict(0.7) == pytest.approx(float(expit(slope * logit(0.7) + intercept)))
    assert fit_line([(0.7, 0.5), (0.7, 0.6)]) is None and fit_line([]) is None
    edge = fit_line([(0.0, 0.0), (1.0, 1.0)])
    assert edge is not None and edge.predict(0.5) == pytest.approx(0.5)


def test_zero_shot_clip_is_as_far_ahead_as_figure_13_says() -> None:
    table = build_robustness(Numbers(), TABLES)
    found = effective(table, "clip/vit-l-14-336px", "zero_shot")
    # At the accuracy of ResNet-101, whose differences figure 13 prints; the line is drawn through two others, too.
    printed = {"imagenet_v2": 5.8, "imagenet_a": 74.4, "imagenet_r": 51.2, "objectnet": 39.7, "imagenet_sketch": 35.0}
    assert found.keys() == printed.keys()
    assert all(abs(found[task] - points) < 6 for task, points in printed.items())
    probe = effective(table, "clip/vit-l-14-336px", "linear_probe")
    assert all(probe[task] < found[task] for task in printed)
    baselines = {row.labels[0] for row in table.rows if row.is_baseline}
    assert baselines == {"resnet/101", "efficientnet-ns/l2", "fixresnext/101-32x48d-v2"}
    text = FORMATS["markdown"](table)
    assert "88.9 (+" in text and all(name in text for name in ("Baselines: ", *baselines, "table 16", "Taori"))


def test_a_model_on_the_line_of_its_baselines_has_none() -> None:
    reference = {"a": 0.6, "b": 0.7, "c": 0.8, "mine": 0.75, "far": 0.95}
    numbers = [
        number
        for model, value in reference.items()
        for number in measured(model, {"cifar10": value, "cifar10_1": float(expit(logit(value) - 0.5))})
    ]
    better = measured("better", {"cifar10": 0.75, "cifar10_1": float(expit(logit(0.75) - 0.5)) + 0.05})
    table = build_robustness(Numbers((*numbers, *better)), TABLES, baselines=["a", "b", "c"], tasks=["cifar10_1"])
    assert table.tasks == {"cifar10_1": "cifar10"} and table.lines["cifar10_1"].points == 3
    assert effective(table, "mine", "zero_shot")["cifar10_1"] == pytest.approx(0, abs=1e-9)
    assert effective(table, "better", "zero_shot")["cifar10_1"] == pytest.approx(5)
    beyond = {row.labels[0]: row.cells["cifar10_1"].beyond for row in table.rows}
    assert beyond == {"a": False, "b": False, "c": False, "mine": False, "better": False, "far": True}
    assert "(~" in FORMATS["markdown"](table) and any(note.startswith("~:") for note in table.notes)
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))
    assert {row["model"]: row["baseline"] for row in rows}["a"] == "True"
    found = json.loads(FORMATS["json"](table))
    assert found["lines"]["cifar10_1"]["slope"] == pytest.approx(1) and len(found["rows"]) == len(rows) == 6


def test_baselines_are_of_the_protocols_that_are_shown() -> None:
    scores = {"a": 0.6, "b": 0.8}
    numbers = [
        number
        for model, value in scores.items()
        for number in measured(model, {"cifar10": value, "cifar10_1": value - 0.1})
    ]
    probes = [replace(number, protocol="linear_probe", value=number.value / 2) for number in numbers]
    table = Numbers((*numbers, *probes))
    shown = build_robustness(table, [], baselines=["a", "b"], protocols=["zero_shot"])
    assert shown.lines["cifar10_1"] == fit_line([(0.6, 0.5), (0.8, 0.8 - 0.1)])
    assert build_robustness(table, [], baselines=["a", "b"]).lines["cifar10_1"].points == 4


def test_what_is_lacking_is_said() -> None:
    numbers = measured("mine", {"cifar10": 0.75, "cifar10_1": 0.7}, partial=True)
    nothing = build_robustness(Numbers(tuple(numbers)), [])
    assert nothing.rows == () and "There is no model" in FORMATS["markdown"](nothing)
    table = build_robustness(Numbers(tuple(numbers)), [], include_partial=True)
    assert any("cifar10_1: no line; it takes two baselines" in note for note in table.notes)
    assert "70.0* |" in FORMATS["markdown"](table) and any(note.startswith("*:") for note in table.notes)
    with pytest.raises(UsageError, match="--baseline resent: nothing"):
        build_robustness(Numbers(tuple(numbers)), TABLES, baselines=["resent"])


def test_baselines_whose_accuracy_falls_are_told() -> None:
    table = build_robustness(Numbers(), TABLES, baselines=["efficientnet-ns", "fixresnext"])
    (note,) = (note for note in table.notes if note.startswith("imagenet_r:"))
    assert "which falls" in note and table.lines["imagenet_r"].slope < 0


def test_a_row_of_another_length_is_refused(tmp_path: Path) -> None:
    text = "name: t\norigin: o\ncitation: c\nunits: percent\ntasks: [imagenet]\n"
    (tmp_path / "t.yaml").write_text(text + "rows: [{slug: a/b, model: B, protocol: p, where: w, scores: [1, 2]}]\n")
    with pytest.raises(SpecError, match=r"t\.yaml: each row needs 1 scores"):
        read_shift_tables(tmp_path)
