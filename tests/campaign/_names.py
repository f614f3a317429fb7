"""Records whose names are hostile, and what every format must keep of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evalsuite.results.store import ResultStore

NAMES: Mapping[str, str] = {
    "escape": "a\x1b[2J\x1b]0;title\x07b",
    "csi": "a\x9b31mb",
    "carriage return": "good\rbad",
    "newline": "a\nb",
    "windows newline": "a\r\nb",
    "tab": "a\tb",
    "vertical": "a\x0b\x0cb",
    "delete": "a\x7fb",
    "null": "a\x00b",
    "backspace": "abc\x08\x08xy",
    "bell": "a\x07",
    "pipe": "a|b||c",
    "pipe at the end": "a|",
    "backslash": "a\\",
    "backslash pipe": "a\\|b",
    "formula": "=1+1",
    "plus": "+1+1",
    "minus": "-1+1",
    "at": "@SUM(A1)",
    "call": "=cmd|' /C calc'!A0",
    "blank formula": " =1+1",
    "tab formula": "\t=1+1",
    "html": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)',
    "style": "</style><script>1</script>",
    "markdown link": "[a](javascript:alert(1))",
    "markdown code": "`a`",
    "markdown bold": "**a**_b_",
    "heading": "# a",
    "latex": "\\input{/etc/passwd}",
    "latex math": "$x^2$ & 5% #1 {~}",
    "jinja": "{{ 7*7 }}{% raw %}",
    "format": "{0.__class__}",
    "rich": "[bold red]a[/]",
    "ansi c": "\\x1b[31m",
    "bidi": "\u202egnp.exe",
    "isolate": "\u2066a\u2069",
    "joined": "a\u200db",
    "line separator": "a\u2028b\u2029c",
    "next line": "a\x85b",
    "byte order": "\ufeffa",
    "combining": "e\u0301" * 30,
    "wide": "\u6f22\u5b57" * 20,
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "right to left": "\u05e9\u05dc\u05d5\u05dd",
    "long": "x" * 2_000,
    "blank": " ",
    "dots": "..",
    "slashes": "../../etc/passwd",
    "quotes": "a\"b'c",
    "comma": "a,b;c",
    "url": "http://me:secret@example.org/?token=abc",
}
"""What a name does -> the name."""

FORMATS = ("terminal", "markdown", "csv", "json", "latex", "html")


def write_records(folder: Path, name: str) -> None:
    """Write two records, of which one has a hostile model, task and warning."""
    for model, task in ((name, "digits"), ("clip/good", name)):
        record = {
            "schema_version": 1, "status": "ok", "model": model, "model_name": model, "task": task,
            "protocol": "linear_probe", "fingerprint": "f", "model_fingerprint": "m", "run_key": "m",
            "metric": {"name": "accuracy", "value": 0.5, "n": 100}, "warnings": [f"Look at {name}"],
        }  # fmt: skip
        path = ResultStore(folder).path(model, "m", task, "linear_probe")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))


def wrong(kind: str, text: str) -> str:
    """Say what a format has lost; "" if nothing."""
    return CHECKS[kind](text) if kind in CHECKS else ""


def _markdown(text: str) -> str:
    text = text[text.find("|") :]  # before it: what was said on stderr
    rows = [line for line in text.splitlines() if line.startswith("|")]
    counts = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}
    if len(counts) > 1:
        return f"rows of {counts} columns"
    return "HTML in Markdown" if re.search(r"(?<!\\)<[a-zA-Z/!]", text) else ""


def _latex(text: str) -> str:
    text = text[text.find("% needs") :]  # before it: what was said on stderr
    rows = [line for line in text.splitlines() if line.endswith("\\\\")]
    counts = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
    if len(counts) > 1:
        return f"rows of {counts} columns"
    return "a command of LaTeX" if "\\input{" in text else ""


def _csv(text: str) -> str:
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    table = [row for row in rows if len(row) == len(rows[0])]
    if len(table) < 2:
        return f"rows of {[len(row) for row in rows]} cells"
    formulas = [
        cell for row in table for cell in row if cell.strip()[:1] in ("=", "+", "-", "@") and not _is_number(cell)
    ]
    return f"the formula {formulas[0]!r}" if formulas else ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _json(text: str) -> str:
    start = text.find("{")
    try:
        json.JSONDecoder().raw_decode(text[start:])
    except ValueError as error:
        return str(error)
    return ""


def _html(text: str) -> str:
    for bad in ("<script>alert", "<img src=x", "<script>1"):
        if bad in text:
            return f"{bad} is not escaped"
    return ""


CHECKS: Mapping[str, Callable[[str], str]] = {
    "markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json, "html": _html,
}  # fmt: skip


def commands(results: Path) -> Mapping[str, tuple[str, list[Any]]]:
    """Return what shows records: its name -> the format it writes, and the arguments."""
    shown = {name: (name, ["leaderboard", "-o", results, "--format", name]) for name in FORMATS}
    return {
        **shown,
        "export": ("csv", ["export", "csv", "-o", results]),
        "compare": ("markdown", ["compare", "-o", results, "--reproduce"]),
        "report": ("html", ["report", "-o", results, "--to", "page.html"]),
        "raw": ("", ["export", "csv", "--raw", "-o", results, "--to", "raw.csv"]),
    }
