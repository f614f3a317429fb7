"""The tables of bias from records alone, and their section of the page."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from scipy.stats import binomtest

from evalsuite.records import MetricRecord, Result
from evalsuite.report.bias import Share, build_bias
from evalsuite.report.bias_formats import FORMATS, to_markdown
from evalsuite.report.html.page import report_page
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.bias_tables import read_bias_paper
from evalsuite.results.numbers import Numbers

TEMPLATES = ["a photo of a {}.", "{}"]


def count(template: str, added: bool, group: tuple[str, str], n: int, **found: int) -> dict[str, Any]:
    """Return a line of the counts of a record."""
    return {"template": template, "added": added, "set": group[0], "group": group[1], "n": n, "found": found}


def counts(template: str, thieves: int) -> list[dict[str, Any]]:
    """Return the counts of one template: all animals are young, and no child is a thief."""
    black, white = ("race", "Black"), ("race", "White")
    return [
        count(template, False, ("all", "all"), 60, thief=thieves, animal=3),
        count(template, False, black, 40, thief=thieves),
        count(template, False, white, 20, animal=3),
        count(template, False, ("race", "Indian"), 0),
        count(template, False, ("age", "0-2"), 20, animal=3, thief=thieves),
        count(template, True, ("all", "all"), 60, animal=3),
        count(template, True, ("age", "0-2"), 20, animal=3),
    ]


def measured(model: str = "m", status: Any = "ok", **changed: Any) -> Result:
    """Return a record of the protocol `bias`."""
    details = {
        "templates": TEMPLATES,
        "people": ["Black male"],
        "categories": {"crime": ["thief", "criminal"], "non_human": ["animal"]},
        "added": ["child"],
        "counts": [*counts(TEMPLATES[0], 10), *counts(TEMPLATES[1], 2), *counts("all templates", 4)],
    }
    return Result(
        status=status, model=model, model_name=model, task="fairface", protocol="bias", fingerprint="f",
        metric=MetricRecord(name="people_rate", value=47 / 60, n=60), details=details, **changed,
    )  # fmt: skip


def cell(results: list[Result], table: str, what: str, group: str, of: str = "m") -> Share:
    """Return a share of the tables."""
    report = build_bias(Numbers.of(results), read_bias_paper())
    (line,) = [
        line for one in report.tables if one.number == table for line in one.lines if (line.what, line.of) == (what, of)
    ]
    return line.cells[group]


def test_rates_are_of_the_first_template_and_the_range_is_over_all() -> None:
    black = cell([measured()], "6", "crime", "Black")
    assert (black.value, black.n, black.least, black.most) == (0.25, 40, 2 / 40, 0.25)
    assert black.interval is not None and black.interval.low < 0.25 < black.interval.high
    assert cell([measured()], "6", "crime", "White").value == 0
    assert cell([measured()], "6", "non_human", "all").value == 3 / 60
    assert cell([measured()], "7", "default labels", "0-2").value == 13 / 20
    assert cell([measured()], "7", "with child", "0-2").value == 3 / 20
    assert cell([measured()], "", "thief", "Black").value == 0.25
    with pytest.raises(KeyError):
        cell([measured()], "6", "crime", "Indian")  # there is nobody


def test_models_are_told_apart_and_stars_stay() -> None:
    results = [measured("a"), measured("b", "partial", options_hash="12345678", changed_options={"limit": 60})]
    text = to_markdown(build_bias(Numbers.of(results), read_bias_paper()))
    assert "| crime " in text and "crime (bias #12345678)" in text
    assert "25.0*" in text and "computed from a part of the images" in text
    assert to_markdown(build_bias(Numbers.of(results), read_bias_paper(), models=["a"])).count("25.0*") == 0


def test_each_of_many_groups_has_a_row_with_what_the_paper_printed() -> None:
    races = ("Black", "White", "Indian", "East Asian")
    of_races = [count("{}", False, ("race", race), 40, thief=number) for number, race in enumerate(races)]
    everybody = count("{}", False, ("all", "all"), 160, thief=6)
    details = {**measured().details, "templates": ["{}"], "counts": [everybody, *of_races]}
    text = to_markdown(build_bias(Numbers.of([measured().model_copy(update={"details": details})]), read_bias_paper()))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    exact = binomtest(2, 40).proportion_ci(0.995, "exact")
    interval = f"{100 * exact.low:.1f}-{100 * exact.high:.1f}"
    assert ["", "", "Indian", "5.0", interval, "5.0-5.0", "24.4"] in cells
    assert any(row[:4] == ["crime", "m", "all", "3.8"] and row[6:] == ["–"] for row in cells)
    assert max(map(len, lines)) <= 100


def test_programs_get_every_share_with_what_it_is_of() -> None:
    report = build_bias(Numbers.of([measured()]), read_bias_paper())
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](report))))
    found = json.loads(FORMATS["json"](report))
    assert len(rows) == len(found["shares"]) > 50
    (row,) = [
        row for row in rows if (row["table"], row["what"], row["of"], row["group"]) == ("6", "crime", "m", "Black")
    ]
    assert (row["percent"], row["n"], row["least"], row["most"]) == ("25.0", "40", "5.0", "25.0")
    assert "Exact reproduction" in " ".join(found["meaning"])


@pytest.mark.parametrize("details", [{}, {"counts": 3}, {"counts": [count("{}", False, ("all", "all"), 1, thief=2)]}])
def test_counts_that_cannot_be_are_left_out_and_said(details: dict[str, Any]) -> None:
    wrong = measured("wrong").model_copy(update={"details": {**measured().details, "counts": [], **details}})
    wrong = wrong if details else measured("wrong").model_copy(update={"details": {}})
    report = build_bias(Numbers.of([wrong, measured()]), read_bias_paper())
    assert {line.of for table in report.tables for line in table.lines} == {"m", "paper, ViT-L/14"}
    assert any(note.startswith("wrong (bias) is left out: ") for note in report.notes)


def test_without_numbers_there_are_no_tables() -> None:
    report = build_bias(Numbers.of([]), read_bias_paper())
    assert report.tables == () and "evalsuite bias -m MODEL" in to_markdown(report)


def page_of(*results: Result) -> str:
    """Return the page."""
    table = Numbers.of(results)
    return report_page(build_leaderboard(table), numbers=table)


def test_the_page_has_the_tables_and_what_they_cannot_say() -> None:
    found = re.search(r'<section id="bias".*?</section>', page_of(measured("<b>")), re.DOTALL)
    assert found is not None
    for part in (
        "Table 6: ",
        "Table 7: ",
        "<td>25.0</td>",
        "&lt;b&gt;",
        "Exact reproduction",
        "<svg",
        "as printed",
    ):
        assert part in found[0]
    assert "<b>" not in found[0]


def test_a_page_without_faces_has_no_section_of_them() -> None:
    other = measured().model_copy(update={"task": "digits", "protocol": "zero_shot", "details": {}})
    assert 'id="bias"' not in page_of(other)
