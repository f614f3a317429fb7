"""What tells a person how a run goes on, outside of a terminal: lines through `logging`, bars in a notebook.

The command line has reporters of its own, which say the same in the same words.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from evalsuite.errors import UsageError
from evalsuite.progress import BYTES
from evalsuite.records import Result, Timings
from evalsuite.registry import did_you_mean
from evalsuite.runner.base import Reporter
from evalsuite.text import printable

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0
"""How often a log gets a line while something long goes on."""

ReporterName = Literal["auto", "tqdm", "log", "none"]

_LOG = logging.getLogger("evalsuite.run")


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
            return bytes_text(int(count))
        return f"{count:,}" if isinstance(count, int) else f"{count:,.1f}"

    def state(self, done: int, total: int | None) -> str:
        """Return how much is done of how much: 120/899 images."""
        unit = "" if self.unit == BYTES else f" {self.unit}"
        return f"{self.amount(done)}/{'?' if total is None else self.amount(total)}{unit}"


def bytes_text(count: int) -> str:
    """Return a number of bytes in the largest unit that fits: 1.2 MB."""
    from rich.filesize import decimal

    return decimal(count)


class LineReporter(Reporter):
    """Lines for what begins, ends and goes wrong; `note` says where they go."""

    def __init__(self) -> None:
        self._jobs = 0
        self._finished = 0
        self._last_message = ""

    def start(self, jobs: int) -> None:
        """Remember how many jobs there are."""
        self._jobs = jobs
        self._finished = 0

    def job(self, model: str, task: str, protocols: Sequence[str]) -> None:
        """Say what is worked on."""
        self.note(f"{model} on {task}: {', '.join(protocols)}")

    def result(self, result: Result, stored: bool) -> None:
        """Say the result in a line."""
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


class SlowLineReporter(LineReporter):
    """A line now and then, with rate and time left; also one when a file begins to come."""

    def __init__(self) -> None:
        super().__init__()
        self._paces: dict[str, tuple[Pace, float]] = {}

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Say how it stands if the last line of this thing is some time ago."""
        now = time.monotonic()
        if what not in self._paces:
            self._paces[what] = (Pace(what, unit, done, now), now)
            if unit == BYTES:
                kept = f", {bytes_text(done)} are there already" if done else ""
                self.note(f"  {what}: {'?' if total is None else bytes_text(total)}{kept}")
            return
        pace, last = self._paces[what]
        if now - last >= SECONDS_BETWEEN_LINES and (rate := pace.rate(done)) > 0:
            self._paces[what] = (pace, now)
            left = "" if total is None else f", {(total - done) / rate:,.0f} s left"
            self.note(f"  {what}: {pace.state(done, total)}, {pace.amount(rate)}/s{left}")
        if total is not None and done >= total:
            del self._paces[what]


class LoggingReporter(SlowLineReporter):
    """Lines of the level INFO through the logger `evalsuite.run`."""

    def note(self, text: str) -> None:
        """Log a line."""
        _LOG.info("%s", printable(text))


class BarReporter(LineReporter):
    """A bar of tqdm for each thing that goes on, in a notebook as a widget where it can show them."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: dict[str, tqdm[Any]] = {}
        self._lock = threading.RLock()  # images are encoded by one thread while another fits

    def note(self, text: str) -> None:
        """Print a line above the bars: in a script to stderr, whose stdout may be data."""
        from tqdm.auto import tqdm

        with self._lock:
            tqdm.write(printable(text), file=sys.stdout if _in_notebook() else sys.stderr)

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Move a bar; it goes when everything is done."""
        from tqdm.auto import tqdm

        with self._lock:
            bar = self._bars.get(what)
            if bar is None:
                short, scaled = ("B", True) if unit == BYTES else (f" {unit}", False)
                bar = tqdm(
                    desc=printable(what), initial=done, total=total, unit=short, unit_scale=scaled, leave=False
                )  # fmt: skip
                self._bars[what] = bar
            bar.total = total
            bar.update(done - bar.n)
            if total is not None and done >= total:
                bar.close()
                del self._bars[what]

    def close(self) -> None:
        """Take the bars away that an error has left."""
        with self._lock:
            for bar in self._bars.values():
                bar.close()
            self._bars.clear()


def make_reporter(given: Reporter | ReporterName | None) -> Reporter:
    """Return the reporter that is called so, or the one given; UsageError for another name.

    auto: bars in a notebook, silence elsewhere. None: silence.
    """
    if isinstance(given, Reporter):
        return given
    known = {"tqdm": BarReporter, "log": LoggingReporter, "none": Reporter}
    name = ("tqdm" if _in_notebook() else "none") if given == "auto" else given or "none"
    if name not in known:
        names = ["auto", *known]
        raise UsageError(f"reporter={given!r}: choose {', '.join(names)}.{did_you_mean(str(given), names)}")
    return known[name]()


def _in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook, as tqdm does."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
