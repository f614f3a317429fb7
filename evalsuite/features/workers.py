"""Processes that decode: they write samples into shared memory and send no more than what they are."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import EvalsuiteError, JobError, UsageError
from evalsuite.features.arena import SHAREABLE, Arena, Form, Layout
from evalsuite.features.samples import Samples, Unreadable

CHUNK = 32
"""Samples that a process is asked for at a time, at most: several fill one batch, and few messages are sent."""

LAST_CHUNK = 8
"""The same at the end of a pass, where processes with less to do would wait for the others."""

SEEN_FIRST = 4
"""Samples per process that are looked at to learn what form samples have."""

IGNORED = ("SIGINT", "SIGHUP", "SIGUSR1")
"""Signals that a terminal or SLURM sends to every process of a run; the one that started the others answers."""


@dataclass(frozen=True)
class Filled:
    """What a process did with a chunk: under 4,096 bytes, which a pipe takes whole or not at all, whoever dies.

    digests: the sha256 of each sample. forms: of images that are not as the layout says, by place in the chunk and
    preprocessing; None: there is no room for it, and the memory was not written. faults: of preprocessings that failed,
    the first of each. seconds: that it took.
    """

    digests: Sequence[bytes]
    unreadable: dict[int, Unreadable]
    forms: dict[tuple[int, int], Form | None]
    faults: dict[int, EvalsuiteError]
    seconds: float


@dataclass
class _Context:
    """The context of multiprocessing that starts the processes, and remembers them for their exit codes."""

    context: Any
    started: list[Any] = field(default_factory=list)

    def Process(self, *arguments: Any, **keywords: Any) -> Any:  # noqa: N802 - the name that an executor calls
        process = self.context.Process(*arguments, **keywords)
        self.started.append(process)
        return process

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)


class Workers:
    """Processes that read samples of one pool into one arena."""

    def __init__(self, pool: str, given: Samples | bytes, count: int) -> None:
        self._pool = pool
        context: Any = _Context(multiprocessing.get_context(start_method()))
        self._started: list[Any] = context.started
        with ExitStack() as stack, self._starting():
            self.arena = Arena()
            stack.callback(self.arena.close)
            sent = given if isinstance(given, Samples) else _sent(given, stack)
            self._executor = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(sent, self.arena))
            self._memory = stack.pop_all()

    def look(self, rows: Sequence[int]) -> list[tuple[Form | None, ...]]:
        """Return the forms of samples, of each preprocessing that does not fail; of those that cannot be read none."""
        with self._failures():
            with self._starting():
                looks = self._executor.map(_look, rows, chunksize=SEEN_FIRST)
            return [forms for forms in looks if forms is not None]

    def fill(self, layout: Layout, slot: int, start: int, rows: Sequence[int]) -> Future[Filled]:
        """Begin to read a chunk into a slot, from its sample `start` on."""
        with self._failures(), self._starting():
            return self._executor.submit(_fill, layout, slot, start, rows)

    def result(self, future: Future[Filled]) -> Filled:
        """Wait for a chunk; JobError where a process has died."""
        with self._failures():
            return future.result()

    def close(self) -> None:
        """End the processes; each finishes the sample that it is at."""
        self.arena.stop()
        with suppress(RuntimeError):  # the executor's own thread was not started
            self._executor.shutdown(wait=True, cancel_futures=True)
        for process in self._started:
            if process.is_alive():  # so it is one of those that were started before one could not be
                process.kill()
                process.join()
        self._memory.close()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Say what to do where the system gives no more processes, threads, descriptors or semaphores."""
        try:
            yield
        except BrokenProcessPool:
            raise
        except (OSError, EOFError, RuntimeError) as error:  # at the end of its file: the server that forks
            raise JobError(
                f"Processes that decode images of the pool {self._pool!r} cannot be started ({error}): use fewer "
                "--workers, or --workers 0, which decodes in this process."
            ) from error

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool as error:
            self._executor.shutdown(wait=True)
            # The others were told to end when the first had died.
            codes = {process.exitcode for process in self._started} - {None}
            code = next(iter(codes - {0, -signal.SIGTERM}), 0 if 0 in codes else -signal.SIGTERM)
            raise JobError(f"A process that decoded images of the pool {self._pool!r} {_death(code)}") from error


def start_method() -> str:
    """Return how processes are started. Asking multiprocessing itself would settle it for the caller's program."""
    return multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]


def check_guarded() -> None:
    """Raise UsageError in a process that has yet to begin: it runs the script of the one that has started it.

    That one holds what a second run of the script would wait for.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "Each process that decodes images begins by running this script again. Put what the script does under "
            '`if __name__ == "__main__":`, or give workers=0, which decodes in this process.'
        )


def handed_over(samples: Samples) -> Samples | bytes | None:
    """Return what processes are given: the samples where they are forked, else pickled once for all of them.

    None where they cannot be sent (a preprocessing with a lambda, or one that was typed in a notebook), nor the memory,
    or where this process may start no others. That is no fault: this process decodes then.
    """
    if not SHAREABLE or multiprocessing.current_process().daemon:
        return None
    if start_method() == "fork":
        return samples
    try:
        content = pickle.dumps(samples)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return content if hasattr(sys.modules["__main__"], "__file__") or b"__main__" not in content else None


def _sent(content: bytes, stack: ExitStack) -> Arena:
    """Return memory that holds what processes are given.

    It does not go through a pipe of multiprocessing, which would wait for ever for a process that dies as it starts.
    """
    memory = Arena()
    stack.callback(memory.close)
    memory.reserve(len(content))
    memory.memory()[:] = content
    return memory


def _death(code: int) -> str:
    kept = "What was encoded is kept."
    if code >= 0:
        return f"ended with the exit code {code}; what it said is above. {kept}"
    name = signal.Signals(-code).name
    remedies = {
        "SIGKILL": "which is what the system does when memory runs out: use fewer --workers or a smaller --batch-size",
        "SIGBUS": "there is no memory left for the images: use fewer --workers or a smaller --batch-size",
        "SIGSEGV": "a library crashed: --workers 0 decodes in this process and shows at which image",
    }
    return f"was ended by {name}; {remedies.get(name, 'run the same command again')}. {kept}"


@dataclass
class _Here:
    """What a decoding process works on."""

    samples: Samples
    arena: Arena


_HERE: list[_Here] = []


def _begin(given: Samples | Arena, arena: Arena) -> None:
    """Make this process ready; it ends with the one that started it, however that ends."""
    for name in IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # a collection would touch, and so copy, the memory that a forked process shares
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    _HERE[:] = [_Here(pickle.loads(given.memory()) if isinstance(given, Arena) else given, arena)]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _look(row: int) -> tuple[Form | None, ...] | None:
    sample = _HERE[0].samples.read(row)
    if isinstance(sample, Unreadable):
        return None
    return tuple(None if isinstance(image, EvalsuiteError) else Form.of(image) for image in sample.images)


def _fill(layout: Layout, slot: int, start: int, rows: Sequence[int]) -> Filled:
    since = time.perf_counter()
    samples, memory = _HERE[0].samples, _HERE[0].arena.memory()
    digests: list[bytes] = []
    unreadable: dict[int, Unreadable] = {}
    forms: dict[tuple[int, int], Form | None] = {}
    faults: dict[int, EvalsuiteError] = {}
    for place, row in enumerate(rows):
        if memory[0]:
            break
        sample = samples.read(row)
        if isinstance(sample, Unreadable):
            unreadable[place] = sample
            digests.append(b"")
            continue
        digests.append(sample.digest)
        for number, image in enumerate(sample.images):
            if isinstance(image, EvalsuiteError):
                faults.setdefault(number, image)
                continue
            offset = layout.start(slot, number, start + place)
            form = _write(image, memory, offset, layout.forms[number].room)
            if form != layout.forms[number]:
                forms[place, number] = form
    return Filled(digests, unreadable, forms, faults, time.perf_counter() - since)


def _write(image: NDArray[Any], memory: Any, offset: int, room: int) -> Form | None:
    """Write an image to its place and return its form; None where it does not fit there."""
    if image.nbytes > room or offset % image.itemsize:
        return None
    np.ndarray(image.shape, image.dtype, memory, offset)[...] = image
    return Form(image.shape, image.dtype.str, room)
