"""Names from data in each format: columns stay, nothing is computed, rendered or obeyed."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest

from evalsuite.report.escaping import csv_cell, frame_to_csv, latex, markdown_cell, to_json_text
from evalsuite.text import on_one_line, printable

HOSTILE = "a|b\\|c\n=1+1\x1b[2J\u202e<script>&_$\ud800"


def test_printable_text_shows_what_would_be_obeyed() -> None:
    assert printable(HOSTILE) == "a|b\\|c\n=1+1\\x1b[2J\\u202e<script>&_$\\ud800"
    assert printable("\x9b31m\x7f\x00\r") == "\\x9b31m\\x7f\\x00\\x0d"
    assert (
        printable("e\u0301 \U0001f468\u200d\U0001f469 \u05e9\u05dc")
        == "e\u0301 \U0001f468\u200d\U0001f469 \u05e9\u05dc"
    )
    assert on_one_line("a\r\nb\tc") == "a b c"


@pytest.mark.parametrize(
    "url",
    ["https://me:mine@example.org/a", "http://mine@example.org", "https://example.org/?a=1&X-Amz-Signature=mine&b=2"],
)
def test_a_password_is_not_printed(url: str) -> None:
    shown = printable(f"{url} cannot be reached")
    assert "mine" not in shown and "***" in shown and "example.org" in shown


def test_a_markdown_cell_is_one_cell_without_html() -> None:
    cell = markdown_cell(HOSTILE)
    assert cell.count("|") == cell.count("\\|") and "\n" not in cell and "\\<script" in cell


def test_latex_is_text() -> None:
    assert latex("a & b_c\n\\input{x}") == r"a \& b\_c \textbackslash{}input\{x\}"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@A1", "\t=1", " =1", "\r=1"])
def test_a_cell_of_a_csv_is_no_formula(cell: str) -> None:
    assert csv_cell(cell)[0] in "'\\"


def test_a_table_as_csv() -> None:
    frame = pd.DataFrame({"=model": ["=1+1", "ViT-B/32", None], "value": [-1.5, 2.0, 3.0]})
    text = frame_to_csv(frame)
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["'=model", "value"], ["'=1+1", "-1.5"], ["ViT-B/32", "2.0"], ["", "3.0"]]
    assert frame_to_csv(frame, raw=True).startswith("=model,value\n=1+1,")


def test_json_reads_back_and_can_be_stored() -> None:
    text = to_json_text({HOSTILE: [HOSTILE, "\x9b\u2028"]})
    assert json.loads(text) == {HOSTILE: [HOSTILE, "\x9b\u2028"]}
    assert text.encode() and "\x9b" not in text and "\u202e" not in text
