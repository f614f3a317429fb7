"""One thread that works a little ahead: the images of the next task while a probe of this one is fitted."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from evalsuite.threads import use_threads

T = TypeVar("T")
Piece = TypeVar("Piece")

GRACE = 1.0
"""Seconds that the thread has to come to a good place to end (between two batches) before it is interrupted."""


LOOK = 5.0
"""Seconds after which one who waits looks whether the thread still runs: without any memory left it may just end."""


class EndedError(BaseException):
    """Nobody waits any more for what the thread does; no fault of a job, so no `except Exception` sees it."""


class Ahead(Generic[Piece]):
    """Pieces of work that a thread makes in order, at most `most` more than were taken.

    The thread owns what is not made for two threads, the models: whoever takes pieces lets it do work on
    them by `ask`. pieces: called in the thread, with this object. A context: its end is the end of the thread.
    """

    def __init__(self, pieces: Callable[[Ahead[Piece]], Iterator[Piece]], most: int) -> None:
        self._pieces = pieces
        self._most = most
        self._change = threading.Condition()
        self._ready: deque[Piece] = deque()
        self._asked: deque[Callable[[], None]] = deque()
        self._idle = False  # the taker waits for a piece
        self._closing = self._ending = self._finished = False
        self._failure: BaseException | None = None
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="evalsuite-ahead")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(GRACE)
        if self._thread.is_alive() and not self._ending and self._thread.ident is not None:
            # It is far from a good place: hashing a large file, downloading. This is how Ctrl-C would come to it.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(EndedError))
        self._thread.join()

    def __iter__(self) -> Iterator[Piece]:
        """Yield the pieces; what went wrong in the thread is raised in its place."""
        while True:
            with self._change:
                self._idle = True
                self._change.notify_all()
                while not self._change.wait_for(lambda: self._ready or self._finished, LOOK):
                    self._check_alive()
                self._idle = False
                if not self._ready:
                    break
                piece = self._ready.popleft()
                self._change.notify_all()
            yield piece
        if self._failure is not None:
            raise self._failure

    def ask(self, work: Callable[[], T]) -> T:
        """Let the thread do `work` as soon as it is between two batches, and return the result."""
        if threading.current_thread() is self._thread:
            return work()
        future: Future[T] = Future()
        with self._change:
            self._asked.append(lambda: _do(work, future))
            self._change.notify_all()
        while not wait([future], LOOK).done:
            self._check_alive()
        return future.result()

    def _check_alive(self) -> None:
        if not self._thread.is_alive():
            raise MemoryError("the thread that encodes has ended without a word")

    def pause(self) -> None:
        """Do what was asked for; called by the thread in places where it may also end."""
        if self._closing:
            self._ending = True
            raise EndedError
        while self._asked:
            self._asked.popleft()()

    def wait(self, seconds: float) -> None:
        """Let time pass in the thread, in which it does what it is asked for."""
        self.pause()
        with self._change:
            self._change.wait(seconds)
        self.pause()

    def wait_until_used(self) -> None:
        """Wait in the thread until all that it made was taken and used."""
        self._wait_for(lambda: not self._ready and self._idle)

    def _wait_for(self, reached: Callable[[], bool]) -> None:
        while True:
            self.pause()
            with self._change:
                if self._change.wait_for(lambda: reached() or self._closing or bool(self._asked)) and reached():
                    return

    def _run(self) -> None:
        try:
            try:
                use_threads(self._threads)  # the number is each thread's own
                for piece in self._pieces(self):
                    with self._change:
                        self._ready.append(piece)
                        self._change.notify_all()
                    self._wait_for(lambda: len(self._ready) < self._most)
            except EndedError:
                return
            except BaseException as error:  # noqa: BLE001 - raised again where the pieces are taken
                self._failure = error
            with self._change:
                self._finished = True
                self._change.notify_all()
            self._wait_for(lambda: False)  # the last pieces may ask
        except EndedError:
            return


def _do(work: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(work())
    except EndedError:
        future.cancel()
        raise
    except BaseException as error:  # noqa: BLE001 - it belongs to the one who asked
        future.set_exception(error)
