"""From sample rows to batches of preprocessed images, decoded in this process or in several."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import torch

from evalsuite.data.base import Pool
from evalsuite.errors import DataError, EvalsuiteError
from evalsuite.features.arena import FEWEST_SLOTS, Form, Layout, aligned, fitting
from evalsuite.features.blocks import Stamp
from evalsuite.features.samples import Sample, Samples, Unreadable, stamps_with
from evalsuite.features.workers import CHUNK, LAST_CHUNK, SEEN_FIRST, Filled, Workers, handed_over
from evalsuite.models.base import Preprocess
from evalsuite.models.preprocessing import Finish, understood
from evalsuite.options import DecoderName
from evalsuite.processors import processors
from evalsuite.text import counted
from evalsuite.threads import Threads

WORKERS_PAY_FROM = 2_000
"""Samples below which starting worker processes takes longer than decoding in this one."""

MOST_WORKERS = 16
"""More decoding processes than this seldom make one GPU faster, and each takes memory."""

_LOG = logging.getLogger(__name__)


def _nothing() -> None:
    """Release memory that is the batch's own."""


@dataclass(frozen=True)
class Batch:
    """Images of one shape, and what they are.

    images: (n, channels, height, width) on the CPU, float32 or uint8; it may be a view of memory that is used again
    after `release`, which the consumer calls once, from any thread, when the images have been copied away.
    finish: what makes float32 of uint8 images, to be called on the device; None: they are as the model reads them.
    seconds: what reading, decoding and preprocessing took; of samples with several preprocessings, once.
    """

    images: torch.Tensor
    rows: list[int]
    stamps: list[Stamp]
    finish: Finish | None = None
    release: Callable[[], None] = _nothing
    seconds: float = 0.0


def _raised(number: int, fault: EvalsuiteError) -> None:
    raise fault


def read_batches(
    pool: Pool,
    rows: Sequence[int],
    preprocesses: Sequence[Preprocess],
    *,
    batch_size: int,
    workers: int,
    on_unreadable: Callable[[Unreadable], None],
    ahead: int = 2,
    decoder: DecoderName = "pillow",
    register: Callable[[torch.Tensor], object] = lambda memory: None,
    on_fault: Callable[[int, EvalsuiteError], object] = _raised,
) -> Iterator[tuple[list[Batch], ...]]:
    """Yield the samples at `rows` in order, `batch_size` at a time, decoded once and preprocessed in each way.

    What is yielded has one list of batches per preprocessing: one batch, or one per shape where images of several
    shapes come out of it (only models without a fixed input size see them); none where no sample could be read.
    ahead: batches that the consumer holds at a time before it releases one; where it holds more, they are copies.
    register: is given the memory that all batches are views of, before the first. on_fault: told the number of a
    preprocessing that fails, which gives no batch there, and how; by default, that is raised.
    Raises JobError where a worker dies, or where there is no memory for two batches.
    """
    samples = Samples(pool, preprocesses, decoder)
    finishes = [recipe.finish if recipe else None for recipe in map(understood, preprocesses)]
    given = handed_over(samples) if workers else None
    if given is None:
        threads = Threads(min(torch.get_num_threads(), MOST_WORKERS))
        for start in range(0, len(rows), batch_size):
            yield _read_here(samples, rows[start : start + batch_size], finishes, on_unreadable, on_fault, threads)
        return
    count = min(workers, -(-len(rows) // CHUNK))
    processes = Workers(pool.name, given, count)
    try:
        prefetch = _Prefetch(samples, processes, rows, batch_size, finishes, on_unreadable, on_fault, register)
        yield from prefetch.batches(count, ahead)
    finally:
        processes.close()


def _read_here(
    samples: Samples,
    rows: Sequence[int],
    finishes: Sequence[Finish | None],
    on_unreadable: Callable[[Unreadable], None],
    on_fault: Callable[[int, EvalsuiteError], object],
    threads: Threads,
) -> tuple[list[Batch], ...]:
    found: list[tuple[int, Sample]] = []
    since = time.perf_counter()
    places = [int(row) for row in rows]
    for row, sample in zip(places, samples.read_each(places, threads), strict=True):
        if isinstance(sample, Unreadable):
            on_unreadable(sample)
        else:
            found.append((row, sample))
    stamps = stamps_with(samples.pool, [row for row, _ in found], [sample.digest.hex() for _, sample in found])
    zipped = list(zip(found, stamps, strict=True))
    parts: list[list[Batch]] = []
    for number, finish in enumerate(finishes):
        try:
            # `from_numpy` takes no array whose rows run backwards, nor one that may not be written.
            images = [_Image(row, stamp, torch.tensor(sample.image(number))) for (row, sample), stamp in zipped]
        except EvalsuiteError as error:
            on_fault(number, error)
            images = []
        parts.append(_by_shape(images, finish))
    return _timed(parts, time.perf_counter() - since)


def _timed(parts: Sequence[list[Batch]], seconds: float) -> tuple[list[Batch], ...]:
    """Note in the first batch what all of them took."""
    batches = next(filter(None, parts), None)
    if batches is not None:
        batches[0] = replace(batches[0], seconds=seconds)
    return tuple(parts)


@dataclass(frozen=True)
class _Image:
    """One sample in one preprocessing."""

    row: int
    stamp: Stamp
    pixels: torch.Tensor


def _by_shape(images: Sequence[_Image], finish: Finish | None) -> list[Batch]:
    """Return batches of one shape each, in memory of their own."""
    groups: dict[torch.Size, list[_Image]] = {}
    for image in images:
        groups.setdefault(image.pixels.shape, []).append(image)
    return [_stacked(group, finish) for group in groups.values()]


def _stacked(group: Sequence[_Image], finish: Finish | None) -> Batch:
    pixels = [image.pixels for image in group]
    rows, stamps = [image.row for image in group], [image.stamp for image in group]
    if finish is None or all(image.dtype == torch.uint8 for image in pixels):
        return Batch(torch.stack(pixels), rows, stamps, finish)
    # An image that is not 8-bit (a 16-bit PNG, say) came whole out of its preprocessing.
    whole = [finish(image) if image.dtype == torch.uint8 else image for image in pixels]
    return Batch(torch.stack(whole), rows, stamps)


def worker_count(asked: int | None, samples: int, device: str) -> int:
    """Return how many worker processes to start; none asked for: by the device, the processors and the work.

    device: its type. A model on the CPU needs the processors itself: one in four decodes for it.
    """
    if asked is not None:
        return asked
    if samples < WORKERS_PAY_FROM:
        return 0
    return processors() // 4 if device == "cpu" else min(processors(), MOST_WORKERS)


class _Slot:
    """A part of the arena. It is free again when every batch that is a view of it has been released."""

    def __init__(self, number: int, free: deque[int]) -> None:
        self._number = number
        self._free = free
        self._lock = threading.Lock()
        self._held = 1  # by whoever makes the batches

    def hold(self) -> Callable[[], None]:
        """Count one more user, and return what it calls in the end."""
        with self._lock:
            self._held += 1
        return self.release

    def release(self) -> None:
        """Count one user less."""
        with self._lock:
            self._held -= 1
            if self._held == 0:
                self._free.append(self._number)


@dataclass(frozen=True)
class _Flight:
    """A batch that is being read into a slot: its rows, and its chunks by their first place in it."""

    slot: int
    rows: Sequence[int]
    chunks: Mapping[int, Future[Filled]]


@dataclass
class _Prefetch:
    """Reads batches ahead into the arena, as many as it has slots for."""

    samples: Samples
    processes: Workers
    rows: Sequence[int]
    batch_size: int
    finishes: Sequence[Finish | None]
    on_unreadable: Callable[[Unreadable], None]
    on_fault: Callable[[int, EvalsuiteError], object]
    register: Callable[[torch.Tensor], object]

    def batches(self, workers: int, ahead: int) -> Iterator[tuple[list[Batch], ...]]:
        """Yield batches in order. The memory is taken when the first samples have told what form they have."""
        layout = self._layout(workers, ahead)
        self.processes.arena.reserve(layout.size)
        memory = torch.frombuffer(self.processes.arena.memory(), dtype=torch.uint8)
        self.register(memory)
        free: deque[int] = deque(range(layout.slots))
        flights: deque[_Flight] = deque()
        starts = deque(range(0, len(self.rows), self.batch_size))
        while starts or flights:
            while starts and free:
                flights.append(self._begin(layout, free.popleft(), starts.popleft(), workers))
            flight = flights.popleft()
            # One slot at least must come back without the consumer, or nobody would ever read again.
            last = layout.slots - len(free) - len(flights) > min(ahead, layout.slots - 1)
            slot = _Slot(flight.slot, free)
            found = self._land(layout, memory, flight, slot, copies=last)
            slot.release()
            yield found

    def _layout(self, workers: int, ahead: int) -> Layout:
        """Choose how many batches are read ahead: two chunks per process, and what the consumer holds."""
        step = max(1, len(self.rows) // (SEEN_FIRST * workers))
        seen = self.processes.look([int(row) for row in self.rows[::step]][: SEEN_FIRST * workers])
        forms = [_common([looked[number] for looked in seen]) for number in range(len(self.finishes))]
        rows = min(self.batch_size, len(self.rows))
        wanted = max(FEWEST_SLOTS, min(-(-2 * workers * CHUNK // rows) + 1 + ahead, -(-len(self.rows) // rows)))
        layout = fitting(Layout(tuple(forms), rows), wanted)
        if layout.slots < wanted:
            _LOG.warning(
                "There is memory for %s of %s ahead of the model, not for %d: decoding may wait for it.",
                counted(layout.slots, "batch"),
                counted(rows, "image"),
                wanted,
            )
        return layout

    def _begin(self, layout: Layout, slot: int, begin: int, workers: int) -> _Flight:
        rows = [int(row) for row in self.rows[begin : begin + self.batch_size]]
        chunks: dict[int, Future[Filled]] = {}
        start = 0
        while start < len(rows):
            left = len(self.rows) - begin - start
            end = start + min(max(left // (4 * workers), LAST_CHUNK), CHUNK)
            chunks[start] = self.processes.fill(layout, slot, start, rows[start:end])
            start = end
        return _Flight(slot, rows, chunks)

    def _land(
        self, layout: Layout, memory: torch.Tensor, flight: _Flight, slot: _Slot, *, copies: bool
    ) -> tuple[list[Batch], ...]:
        """Wait for a batch, and return it as a view of its slot where all images of it are as the layout says."""
        filled = {start: self.processes.result(future) for start, future in flight.chunks.items()}
        digests = [digest.hex() for chunk in filled.values() for digest in chunk.digests]
        unreadable = {start + at: what for start, chunk in filled.items() for at, what in chunk.unreadable.items()}
        odd = {(start + at, k): form for start, chunk in filled.items() for (at, k), form in chunk.forms.items()}
        for place in sorted(unreadable):
            self.on_unreadable(unreadable[place])
        faults = {number: fault for chunk in reversed(filled.values()) for number, fault in chunk.faults.items()}
        readable = [place for place in range(len(flight.rows)) if place not in unreadable]
        rows = [flight.rows[place] for place in readable]
        stamps = stamps_with(self.samples.pool, rows, [digests[place] for place in readable])
        parts: list[list[Batch]] = []
        for number, finish in enumerate(self.finishes):
            if number in faults:
                self.on_fault(number, faults[number])
                parts.append([])
                continue
            if unreadable or any(k == number for _, k in odd):
                images = [
                    _Image(row, stamp, self._image(layout, memory, flight, place, number, odd))
                    for row, stamp, place in zip(rows, stamps, readable, strict=True)
                ]
                parts.append(_by_shape(images, finish))
                continue
            start = layout.start(flight.slot, number)
            block = _seen(memory, start, len(rows), layout.forms[number])
            if copies or not block.is_contiguous():
                own = block.clone(memory_format=torch.contiguous_format)
                parts.append([Batch(own, rows, stamps, finish)])
            else:
                parts.append([Batch(block, rows, stamps, finish, slot.hold())])
        return _timed(parts, math.fsum(chunk.seconds for chunk in filled.values()))

    def _image(
        self,
        layout: Layout,
        memory: torch.Tensor,
        flight: _Flight,
        place: int,
        number: int,
        odd: Mapping[tuple[int, int], Form | None],
    ) -> torch.Tensor:
        """Return one image out of a slot; what had no room there is read again here."""
        form = odd.get((place, number), layout.forms[number])
        if form is not None:
            return _seen(memory, layout.start(flight.slot, number, place), 1, form)[0]
        sample = self.samples.read(flight.rows[place])
        if isinstance(sample, Unreadable):
            raise DataError(sample.problem)
        return torch.tensor(sample.image(number))


def _common(forms: Sequence[Form | None]) -> Form:
    """Return the form that most samples have, with room for the largest; twice that where they differ."""
    counts = Counter(form for form in forms if form is not None) or Counter([Form((), "|u1", 1)])
    form, most = counts.most_common(1)[0]
    largest = max(item.room for item in counts)
    return Form(form.shape, form.dtype, largest if most == len(forms) else aligned(2 * largest))


def _seen(memory: torch.Tensor, start: int, count: int, form: Form) -> torch.Tensor:
    """Return `count` images that lie in the arena one after the other, without a copy."""
    kind = torch.from_numpy(np.empty(0, form.dtype)).dtype
    values = memory[start : start + count * form.room].view(count, form.room)
    return values[:, : form.nbytes].view(kind).view(count, *form.shape)
