"""Show what a download does: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from evalsuite.data.place import Silent

SECONDS_BETWEEN_LINES = 15.0
"""How often a log gets a line while a file comes."""


class LogDownloadReporter(Silent):
    """A line for what begins and ends, and now and then with bytes, speed and time left."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._what = ""
        self._begin = (0.0, 0)  # when the file began to come, and with how many bytes
        self._last = 0.0

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

    def progress(self, what: str, done: int, total: int | None, unit: str = "") -> None:
        """Print a line when a file begins to come, and if the last one is some time ago."""
        now = time.monotonic()
        size = "?" if total is None else decimal(total)
        if what != self._what:
            self._what, self._begin, self._last = what, (now, done), now
            kept = f", {decimal(done)} are there already" if done else ""
            self.note(f"  {what}: {size}{kept}")
        elif now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            rate = (done - self._begin[1]) / (now - self._begin[0])
            left = f", {(total - done) / rate:,.0f} s left" if total and rate > 0 else ""
            self.note(f"  {what}: {decimal(done)} of {size}, {decimal(int(rate))}/s{left}")


class TerminalDownloadReporter(LogDownloadReporter):
    """A bar with bytes, speed and time left."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._bar: tuple[str, TaskID] | None = None

    def note(self, text: str) -> None:
        """Take the bar of the last file away and print a line."""
        self.close()
        super().note(text)

    def progress(self, what: str, done: int, total: int | None, unit: str = "") -> None:
        """Move the bar."""
        if self._bar is None or self._bar[0] != what:
            self.close()
            self._progress.start()
            self._bar = (what, self._progress.add_task(what, completed=done, total=total))
        self._progress.update(self._bar[1], completed=done, total=total)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._progress.remove_task(self._bar[1])
            self._bar = None
        self._progress.stop()


def make_download_reporter() -> LogDownloadReporter:
    """Return the reporter that suits where stderr goes."""
    return TerminalDownloadReporter() if sys.stderr.isatty() else LogDownloadReporter()
