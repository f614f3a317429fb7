"""Pages of the report for tests in a browser, and a browser that must not complain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from evalsuite.report.html.page import report_page
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.table import Leaderboard
from evalsuite.results.library import Library
from evalsuite.results.numbers import Numbers
from evalsuite.tasks import TaskIndex
from tests.report.browser import Browser, find_chromium
from tests.report.conftest import Bench

PROGRAM = find_chromium()
IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="needs Chromium: apt-get install chromium"),
]
GROUPS = ("general", "fine-grained", "digits", "ocr", "satellite")
DESKTOP = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
ROWS = "[...document.querySelectorAll('#board tbody tr')].filter(row => !row.hidden)"
HEADINGS = "[...document.querySelectorAll('#board thead tr:nth-child(2) th')]"
MODELS = f"{ROWS}.map(row => row.querySelector('.model')?.textContent ?? 'difference')"


def board_of(bench: Bench | None, published: Sequence[str], tasks: Sequence[str] = ()) -> Leaderboard:
    """Return the board that `evalsuite report --include-partial` shows."""
    index = TaskIndex()
    table = Numbers.of(bench.read() if bench else [], Library().choose(published))
    groups = {tag: index.expand(f"tag:{tag}") for tag in GROUPS}
    return build_leaderboard(table, tasks=tasks, groups=groups, include_partial=True, tell=lambda hint: None)


def write_page(folder: Path, board: Leaderboard) -> Path:
    """Write the page of a board and return where."""
    target = folder / "page.html"
    target.write_text(report_page(board, folder=folder), encoding="utf-8")
    return target


def quiet_browser(folder: Path) -> Iterator[Callable[[], Browser]]:
    """Yield what returns one browser, after which nothing may have complained or asked for anything but files."""
    assert PROGRAM is not None
    with Browser(PROGRAM, folder / "profile") as opened:
        yield lambda: opened
        complaints = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        assert [event for name in complaints for event in opened.happened(name)] == []
        urls = [event["request"]["url"] for event in opened.happened("Network.requestWillBeSent")]
        assert urls and all(url.startswith(("file:", "data:", "blob:")) for url in urls), urls
