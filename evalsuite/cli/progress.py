"""Show what a run or a download does: a moving line on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from evalsuite.cli.arguments import volume
from evalsuite.progress import BYTES
from evalsuite.records import Result, Timings
from evalsuite.runner.base import Reporter
from evalsuite.text import on_one_line, printable

SECONDS_BETWEEN_LINES = 15.0
"""How often a log gets a line while something long goes on."""


@dataclass
class Pace:
    """How fast one thing advances; what was there when it began took no time."""

    what: str
    unit: str
    begun_with: int
    begun: float

    def rate(self, done: int) -> float:
        """Return how much was done per second so far; 0 if nothing was."""
        elapsed = time.monotonic() - self.begun
        return (done - self.begun_with) / elapsed if elapsed > 0 else 0.0

    def amount(self, count: float) -> str:
        """Return a number of these units: 1.2 MB, or 1,797."""
        if self.unit == BYTES:
            return decimal(int(count))
        return f"{count:,}" if isinstance(count, int) else f"{count:,.1f}"

    def state(self, done: int, total: int | None) -> str:
        """Return how much is done of how much: 120/899 images."""
        unit = "" if self.unit == BYTES else f" {self.unit}"
        return f"{self.amount(done)}/{'?' if total is None else self.amount(total)}{unit}"


class ConsoleReporter(Reporter):
    """Common to both: lines for what begins, ends and goes wrong. console: stderr where none is given."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
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
        self.console.print(printable(text), markup=False)

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
            took = "stored" if stored else _took(result.timings)
            self.note(f"{head} {result.metric.name} {100 * result.metric.value:.2f} % ({took})")
        else:
            message = result.error.message if result.error else ""
            shown = "as above" if message == self._last_message else message
            self._last_message = message
            self.note(f"{head} {result.status.replace('_', ' ')}: {shown}")
        for warning in result.warnings if not stored else ():
            self.note(f"  warning: {warning}")


def _took(timings: Timings) -> str:
    """Say how long a job took and, where it encoded images, how fast and how busy the device was."""
    if timings.image_pass is None or timings.images_per_second is None:
        return f"{timings.total:.1f} s"
    busy = min(timings.image_pass.device_busy, 1.0)
    return f"{timings.total:.1f} s; {timings.images_per_second:,.0f} images/s, the device busy {busy:.0%}"


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


class LogReporter(ConsoleReporter):
    """A line now and then, with rate and time left; also one when a file begins to come."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._paces: dict[str, tuple[Pace, float]] = {}

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Print a line if the last one of this thing is some time ago."""
        now = time.monotonic()
        if what not in self._paces:
            self._paces[what] = (Pace(what, unit, done, now), now)
            if unit == BYTES:
                kept = f", {decimal(done)} are there already" if done else ""
                self.note(f"  {what}: {'?' if total is None else decimal(total)}{kept}")
            return
        pace, last = self._paces[what]
        if now - last >= SECONDS_BETWEEN_LINES and (rate := pace.rate(done)) > 0:
            self._paces[what] = (pace, now)
            left = "" if total is None else f", {(total - done) / rate:,.0f} s left"
            self.note(f"  {what}: {pace.state(done, total)}, {pace.amount(rate)}/s{left}")
        if total is not None and done >= total:
            del self._paces[what]


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
