"""Show what a run does: a moving line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from evalsuite.records import Result
from evalsuite.runner.base import Reporter

SECONDS_BETWEEN_LINES = 15.0
"""How often a log gets a line while something long goes on."""


class ConsoleReporter(Reporter):
    """Common to both: lines for what begins, ends and goes wrong."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._jobs = 0
        self._finished = 0
        self._last_message = ""

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
        self.console.print(text, markup=False)

    def start(self, jobs: int) -> None:
        """Remember how many jobs there are."""
        self._jobs = jobs

    def job(self, model: str, task: str, protocols: Sequence[str]) -> None:
        """Say what is worked on."""
        self.note(f"{model} on {task}: {', '.join(protocols)}")

    def result(self, result: Result, stored: bool) -> None:
        """Print the result in a line."""
        self._finished += 1
        head = f"[{self._finished}/{self._jobs}] {result.model} {result.task} {result.protocol}:"
        if result.metric is not None:
            took = "stored" if stored else f"{result.timings.total:.1f} s"
            self.note(f"{head} {result.metric.name} {100 * result.metric.value:.2f} % ({took})")
        else:
            message = result.error.message if result.error else ""
            shown = "as above" if message == self._last_message else message
            self._last_message = message
            self.note(f"{head} {result.status.replace('_', ' ')}: {shown}")
        for warning in result.warnings if not stored else ():
            self.note(f"  warning: {warning}")


class TerminalReporter(ConsoleReporter):
    """A progress bar with rate and time left."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._bar: tuple[str, TaskID] | None = None
        self._since = 0.0

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """Move the bar."""
        self._progress.start()
        if self._bar is None or self._bar[0] != what:
            self._end_bar()
            self._bar = (what, self._progress.add_task(what, total=total, rate=""))
            self._since = time.monotonic()
        elapsed = time.monotonic() - self._since
        rate = f"{done / elapsed:,.1f} {unit}/s" if done and elapsed > 0 else ""
        self._progress.update(self._bar[1], completed=done, total=total, rate=rate)
        if done >= total:
            self._end_bar()

    def close(self) -> None:
        """Take the bar away."""
        self._end_bar()
        self._progress.stop()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._progress.remove_task(self._bar[1])
            self._bar = None


class LogReporter(ConsoleReporter):
    """A line now and then, with rate and time left."""

    def __init__(self) -> None:
        super().__init__()
        self._what = ""
        self._since = 0.0
        self._last = 0.0

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """Print a line if the last one is some time ago."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._since, self._last = what, now, now
        if now - self._last < SECONDS_BETWEEN_LINES or not done:
            return
        self._last = now
        rate = done / (now - self._since)
        self.note(f"  {what}: {done:,}/{total:,} {unit}, {rate:,.1f}/s, {(total - done) / rate:,.0f} s left")


def make_reporter() -> ConsoleReporter:
    """Return the reporter that suits where stderr goes."""
    return TerminalReporter() if sys.stderr.isatty() else LogReporter()
