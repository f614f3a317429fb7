"""What a run and a download show while they work, by a clock that the test moves."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from evalsuite.cli.progress import LogReporter, TerminalReporter
from evalsuite.progress import BYTES


class Clock:
    """A clock that stands still until it is told to go on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("time.monotonic", found)
    return found


def test_a_log_gets_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LogReporter()
    for done in range(0, 1301, 100):  # 20 images per second
        reporter.progress("digits/test", done, 2000, "images")
        clock.now += 5
    assert capsys.readouterr().err.splitlines() == [
        "  digits/test: 300/2,000 images, 20.0/s, 85 s left",
        "  digits/test: 600/2,000 images, 20.0/s, 70 s left",
        "  digits/test: 900/2,000 images, 20.0/s, 55 s left",
        "  digits/test: 1,200/2,000 images, 20.0/s, 40 s left",
    ]


def test_a_log_says_when_a_file_begins_to_come_and_what_is_there(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = LogReporter()
    reporter.progress("a.tar", 0, 3_000_000, BYTES)
    reporter.progress("b.tar", 2_000_000, 9_000_000, BYTES)
    clock.now += 20
    reporter.progress("b.tar", 4_000_000, 9_000_000, BYTES)
    reporter.progress("c.tar", 0, None, BYTES)
    clock.now += 20
    reporter.progress("c.tar", 4_000_000, None, BYTES)
    assert capsys.readouterr().err.splitlines() == [
        "  a.tar: 3.0 MB",
        "  b.tar: 9.0 MB, 2.0 MB are there already",
        "  b.tar: 4.0 MB/9.0 MB, 100.0 kB/s, 50 s left",  # what was there before took no time
        "  c.tar: ?",
        "  c.tar: 4.0 MB/?, 200.0 kB/s",
    ]


def test_a_terminal_shows_a_bar_and_takes_it_away(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    with TerminalReporter(Console(file=screen, force_terminal=True, width=120)) as reporter:
        reporter.progress("digits/test", 0, 899, "images")
        clock.now += 2
        reporter.progress("digits/test", 100, 899, "images")
        reporter.note("half of it is done")
        clock.now += 2
        reporter.progress("a.tar", 1_000_000, None, BYTES)
    shown = screen.getvalue()
    assert "digits/test" in shown and "100/899 images" in shown and "50.0/s" in shown
    assert "half of it is done\n" in shown
    assert "1.0 MB/?" in shown
    last = shown.rpartition("1.0 MB/?")[2]
    assert "\x1b[2K" in last and "\x1b[?25h" in last  # the line is erased, the cursor is back


def test_the_reporter_suits_where_stderr_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    from evalsuite.cli.progress import make_reporter

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(make_reporter(), TerminalReporter)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert isinstance(make_reporter(), LogReporter)
