"""The sections of the report that are there only where there are numbers for them."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from evalsuite.records import MetricRecord, Result
from evalsuite.report.html.page import report_page
from evalsuite.report.html.sections.base import Section, drawn
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.numbers import Numbers
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


def test_without_numbers_for_it_there_is_no_section() -> None:
    page = page_of(measured("zero_shot", 0.6), measured("linear_probe", 0.9))
    assert section(page, "leaderboard") and not section(page, "few-shot") and "#few-shot" not in page
