"""Markdown as a person reads it on a terminal: tables that fit, headings, lists and words without their marks."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import groupby

from evalsuite.columns import Column, as_table, facts

_RULE = re.compile(r":?-+:?")


def readable(text: str, width: int) -> str:
    """Return Markdown, as this project writes it, for a terminal that is `width` wide."""
    parts = []
    for is_table, lines in groupby(text.splitlines(), lambda line: line.startswith("|")):
        block = list(lines)
        parts.append(_table(block, width) if is_table else _prose("\n".join(block), width))
    return "\n\n".join(part for part in parts if part)


def _table(lines: list[str], width: int) -> str:
    header, rule, *rows = map(list, map(_cells, lines))
    right = [mark.endswith(":") for mark in rule]
    if not any(header):  # a list of facts: no heading
        return facts(((name, " ".join(values)) for name, *values in rows), width)
    is_word = [not side for side in right]
    columns = [Column(name, side, wraps) for name, side, wraps in zip(header, right, is_word, strict=True)]
    return as_table(columns, rows, width)


def _cells(line: str) -> Iterator[str]:
    for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")):
        plain = cell.strip()
        yield plain if _RULE.fullmatch(plain) else _plain(plain)


def _plain(cell: str) -> str:
    """Return a cell without the marks of bold, code and links, and without escapes."""
    unmarked = re.sub(r"\*\*(.+?)\*\*|`(.+?)`|<(https?:[^>]+)>", lambda found: next(filter(None, found.groups())), cell)
    return re.sub(r"\\([\\`*_{}\[\]()#+.!|<>~-])", r"\1", re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", unmarked))


def _prose(text: str, width: int) -> str:
    from rich.console import Console
    from rich.markdown import Markdown

    if not text.strip():
        return ""
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(Markdown(text))
    return "\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines())
