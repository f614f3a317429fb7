"""Show what a run or a download does: a moving line on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from evalsuite.cli.arguments import volume
from evalsuite.records import Result
from evalsuite.runner.reporters import LineReporter, Pace, SlowLineReporter
from evalsuite.text import on_one_line, printable


class ConsoleReporter(LineReporter):
    """Common to both: lines for what begins, ends and goes wrong. console: stderr where none is given."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""

    def note(self, text: str) -> None:
        """Print a line."""
        self.console.print(printable(text), markup=False)


class TerminalReporter(ConsoleReporter):
    """A bar with rate and time left for each thing that goes on."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._shown: dict[str, TaskID] = {}
        self._paces: dict[str, Pace] = {}
        self._lock = threading.RLock()  # images are encoded by one thread while another fits

    def note(self, text: str) -> None:
        """Take the bars away and print a line; work that goes on brings its bar back."""
        with self._lock:
            self.close()
            super().note(text)

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Move a bar; it goes when everything is done."""
        with self._lock:
            if what not in self._shown:
                self._bars.start()
                self._shown[what] = self._bars.add_task(on_one_line(what), state="", rate="")
            pace = self._paces.setdefault(what, Pace(what, unit, done, time.monotonic()))
            rate = pace.rate(done)
            shown = f"{pace.amount(rate)}/s" if rate > 0 else ""
            bar = self._shown[what]
            self._bars.update(bar, completed=done, total=total, state=pace.state(done, total), rate=shown)
            if total is not None and done >= total:
                self._bars.remove_task(bar)
                del self._shown[what], self._paces[what]
                if not self._shown:
                    self._bars.stop()

    def close(self) -> None:
        """Take the bars away."""
        with self._lock:
            self._bars.stop()
            for bar in self._shown.values():
                self._bars.remove_task(bar)
            self._shown.clear()


class LogReporter(ConsoleReporter, SlowLineReporter):
    """A line now and then, for a file or a pipe."""


class QuietReporter(ConsoleReporter):
    """Nothing but what goes wrong."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def result(self, result: Result, stored: bool) -> None:
        """Print an error, or what is doubtful about a new result, in a line."""
        problems = [result.error.message] if result.error else []
        for problem in problems + ([] if stored else result.warnings):
            super().note(f"{result.model} {result.task} {result.protocol}: {problem}")


def make_reporter() -> ConsoleReporter:
    """Return the reporter that suits where stderr goes and what `--quiet` says."""
    if volume() == "quiet":
        return QuietReporter()
    return TerminalReporter() if sys.stderr.isatty() else LogReporter()
