"""Names from data in each format: none ends a row or a cell, is a formula or HTML, or does anything to a terminal.

The terminal, and every format for people, gets what `evalsuite.text.on_one_line` makes of a name; this is what each
format needs besides. HTML has `html.escape`, or jinja2.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalsuite.text import on_one_line, printable

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = "=+-@"
"""How a cell begins that a spreadsheet computes (OWASP, "CSV Injection"); blanks before it are passed over by some."""

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "–": "--",
}


def markdown_cell(text: str) -> str:
    """Return text as a cell of a GitHub table.

    >>> markdown_cell("a|b <b>c\\nd")
    'a\\\\|b \\\\<b>c d'
    """
    return markdown_line(re.sub(r"[\\|`]", lambda found: f"\\{found[0]}", text))


def markdown_line(text: str) -> str:
    """Return a sentence of ours, in which names may stand, as one line of Markdown without HTML; `<https://...>` stays.

    >>> markdown_line("<b>it</b> is at <https://example.org>")
    '\\\\<b>it\\\\</b> is at <https://example.org>'
    """
    return re.sub(r"<(?!https?://[^\s<>]+>)(?=[a-zA-Z/!?])", r"\\<", on_one_line(text))


def latex(text: str) -> str:
    """Return text for LaTeX."""
    return re.sub(r"[&%$#_{}\\~^–]", lambda match: _LATEX[match[0]], on_one_line(text))


def csv_cell(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula: an apostrophe is put before one.

    >>> csv_cell("=1+1"), csv_cell("ViT-B/32")
    ("'=1+1", 'ViT-B/32')
    """
    text = printable(text)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA and text.strip() else text


def frame_to_csv(frame: pd.DataFrame, *, raw: bool = False, **options: Any) -> str:
    """Return a table as comma-separated values; raw: without `csv_cell`."""
    if not raw:
        frame = frame.map(lambda cell: csv_cell(cell) if isinstance(cell, str) else cell)
        frame = frame.rename(columns=lambda name: csv_cell(str(name)))
    text: str = frame.to_csv(index=False, lineterminator="\n", **options)
    return text


def to_csv_text(columns: Sequence[str], records: Iterable[Mapping[str, Any]], raw: bool) -> str:
    """Return a CSV with a line for each record. raw: names as they are, also those like formulas."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow(
            {name: csv_cell(cell) if isinstance(cell, str) and not raw else cell for name, cell in record.items()}
        )
    return text.getvalue()


def to_json_text(value: Any) -> str:
    """Return indented JSON of which every character can be stored and shown; it reads back to the same value."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", _unicode_escape, text) + "\n"


def _unicode_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
