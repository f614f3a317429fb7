"""The sections of the report that are there only where there are numbers for them."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from evalsuite.records import MetricRecord, Result
from evalsuite.report.html.page import report_page
from evalsuite.report.html.sections.base import Section, drawn
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.robustness import build_robustness
from evalsuite.results.numbers import Numbers
from evalsuite.results.shift import read_shift_tables
from evalsuite.tasks import TaskIndex

SHOTS = [
    {"images": k, "mean": mean, "std": 0.02, "values": [mean], "lambdas": [[1.0]]} for k, mean in ((1, 0.5), (4, 0.7))
]


def measured(protocol: str, value: float, model: str = "m", task: str = "digits", **details: Any) -> Result:
    return Result(
        status="ok", model=model, model_name=model, task=task, protocol=protocol, fingerprint="f",
        metric=MetricRecord(name="accuracy", value=value, n=100), details=details,
    )  # fmt: skip


def page_of(*results: Result) -> str:
    table = Numbers.of(results)
    return report_page(build_leaderboard(table), numbers=table)


def section(page: str, name: str) -> str:
    """Return a section of the page as it is written, or nothing."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    return found[0] if found else ""


def test_a_section_without_content_is_not_there() -> None:
    full = Section("full", "Full", lambda numbers, index: Markup("<p>{}</p>").format(len(numbers.numbers)))
    empty = Section("empty", "Empty", lambda numbers, index: None)
    found = drawn([empty, full], Numbers.of([measured("knn", 0.5)]), TaskIndex())
    assert [(one.name, one.title, one.content) for one in found] == [("full", "Full", "<p>1</p>")]


def test_few_shot_curves_and_the_images_that_match_zero_shot() -> None:
    few = measured("few_shot", 0.7, shots=SHOTS, full=64.0)
    page = page_of(few, measured("zero_shot", 0.6), measured("linear_probe", 0.9))
    found = section(page, "few-shot")
    assert "m: 50.0 at 1, 70.0 at 4, 90.0 at 64, zero-shot 60.0" in found
    assert "<td>2.0</td>" in found  # half of the way from 1 to 4 on a logarithmic scale
    assert '<a href="#few-shot">' in page


def test_a_model_without_texts_has_a_curve_and_nothing_to_match() -> None:
    found = section(page_of(measured("few_shot", 0.7, "<b>", shots=SHOTS, full=64.0)), "few-shot")
    assert "&lt;b&gt;: 50.0 at 1, 70.0 at 4." in found and "<b>" not in found
    assert "match zero-shot" not in found


def calibration(before: float, after: float | None) -> dict[str, Any]:
    errors = [{"ece": one, "nll": 1.0, "brier": 0.5} if one is not None else None for one in (before, after)]
    return {
        "calibration": {"bins": 15, "validation": 9, "before": errors[0], "after": errors[1], "temperatures": [2.0]}
    }


def test_calibration_before_and_after_a_temperature() -> None:
    table = Numbers.of([
        measured("linear_probe", 0.9, **calibration(0.10, 0.02)),
        measured("linear_probe", 0.8, task="mnist", **calibration(0.20, 0.04)),
        measured("zero_shot", 0.6, **calibration(0.30, None)),
    ])  # fmt: skip
    found = section(report_page(build_leaderboard(table), numbers=table), "calibration")
    assert "m, linear_probe 15.0 → 3.0; m, zero_shot 30.0." in found
    assert "<td>10.0 → 2.0</td><td>20.0 → 4.0</td>" in found and "<td>30.0</td>" in found


def test_shift_has_the_effective_robustness_of_what_was_measured() -> None:
    named = {"linear_probe": (0.862, 0.77), "zero_shot": (0.7, 0.69)}
    results = [
        measured(protocol, value, task=task)
        for protocol, values in named.items()
        for task, value in zip(("imagenet", "imagenet_v2"), values, strict=True)
    ]
    found = section(page_of(*results), "shift")
    assert "m (zero_shot, measured) 69.0 at 70.0" in found
    effective = {
        f"{row.labels[1]}": row.cells["imagenet_v2"].effective
        for row in build_robustness(Numbers.of(results), read_shift_tables()).rows
        if row.labels[0] == "m"
    }
    for protocol, points in effective.items():
        assert points is not None and f"{100 * points:+.1f})" in found, protocol


def test_without_numbers_for_it_there_is_no_section() -> None:
    page = page_of(measured("zero_shot", 0.6), measured("linear_probe", 0.9))
    assert section(page, "leaderboard")
    for name in ("few-shot", "calibration", "shift"):
        assert not section(page, name) and f"#{name}" not in page
