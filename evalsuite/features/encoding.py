"""Run a model over batches: each device has a thread that launches batches and fetches their features one late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Literal

import torch

from evalsuite.data.base import Pool
from evalsuite.errors import JobError
from evalsuite.features.batches import Batch
from evalsuite.features.blocks import Stamp
from evalsuite.features.lanes import Lane, lane_to
from evalsuite.features.samples import Unreadable
from evalsuite.models.base import ImageModel, not_exiting
from evalsuite.models.modules import shareable
from evalsuite.models.preprocessing import Finish
from evalsuite.precision import exact_products
from evalsuite.text import counted
from evalsuite.threads import Threads, use_threads

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

BATCHES_AHEAD = 3
"""Batches per device between reading and storing: one computed, one launched, one ready."""

PIECE = 16
"""Images that each thread of a CPU encodes at a time: threads that meet once per batch, and not in each operation, take
up to a fifth less time, and a quarter less next to a busy process (docs/speed.md). The number is the same on every
machine, because last bits of features may follow from it."""

ROWS_CHECKED = 65_536
"""Rows of features that are looked at together for values that are not finite."""


@dataclass(frozen=True)
class EncodedBatch:
    """Features of the samples at `rows`: layer -> (n, dim) tensor on the CPU.

    seconds: that the device computed; decoded: that reading and decoding took, in whichever process.
    """

    rows: Sequence[int]
    stamps: Sequence[Stamp]
    layers: Mapping[str, torch.Tensor]
    seconds: float = 0.0
    decoded: float = 0.0


MapBatches = Callable[[Iterable[Batch]], Iterator[EncodedBatch]]
"""Encodes batches, in order. An executor makes one and hands it down."""

EncodeRows = Callable[[Pool, Sequence[int], Callable[[Unreadable], None]], Iterator[EncodedBatch]]
"""Reads and encodes rows of a pool, in any order, in the batches that this process would make of them, and tells of
those that cannot be read. An executor that reads the images elsewhere hands it down."""


class Room:
    """How many images fit into the memory of the devices at a time, found once for a model and its devices.

    most: None while every batch has fitted.
    """

    def __init__(self, note: Callable[[str], None] = lambda text: None) -> None:
        self.most: int | None = None
        self._note = note
        self._lock = Lock()
        self._told: int | None = None

    def shrink(self, failed: int) -> None:
        """Remember that so many images (2 or more) do not fit; another device may have found that out already."""
        with self._lock:
            self.most = min(self.most or failed, failed // 2)

    def tell(self, asked: int, device: torch.device) -> None:
        """Say once that batches of `asked` images are encoded in parts."""
        with self._lock:
            if self.most is None or self.most == self._told or asked <= self.most:
                return
            self._told = self.most
        self._note(
            f"Batches of {asked} images do not fit into the memory of {device}: "
            f"they are encoded {counted(self.most, 'image')} at a time."
        )


@dataclass(frozen=True)
class _Flight:
    """Images whose features are on their way: when the device began, when it is done, when they are on the CPU."""

    layers: Mapping[str, torch.Tensor]
    start: Any
    end: Any
    landing: Any


class Encoder:
    """A model on one device. `launch` and `fetch` are called in the context `used`, by one thread.

    cast: the weights of the model are of the precision, and autocast has nothing to do.
    """

    def __init__(
        self,
        model: ImageModel,
        device: torch.device,
        precision: Precision,
        room: Room | None = None,
        lane: Lane | None = None,
        *,
        cast: bool = False,
    ) -> None:
        self._model = model
        self._device = device
        self._precision = precision
        self._room = room or Room()
        self._lane = lane or lane_to(device)
        self._cast = cast
        self._floats: torch.Tensor | None = None
        # Autocast is a setting of each thread, and keeps for each the weights that it has cast.
        exact = precision == "fp32" or cast
        self._piece = PIECE if device.type == "cpu" and exact and shareable(model) else None
        self._threads: Threads | None = None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Compute on this device. Autocast keeps the weights it has cast to half precision until the end."""
        try:
            with inference(self._device, self._precision, cast=self._cast), self._lane.used():
                yield
        finally:
            self._floats = self._threads = None

    def launch(self, batch: Batch) -> list[_Flight]:
        """Begin to encode a batch, in parts where the device has not enough memory for it.

        Raises JobError when a single image does not fit.
        """
        try:
            return self._in_parts(batch)
        finally:
            self._lane.uploaded()
            batch.release()

    def _in_parts(self, batch: Batch) -> list[_Flight]:
        total = len(batch.rows)
        while True:
            size = min(self._room.most or total, total)
            try:
                parts = [slice(start, start + size) for start in range(0, total, size)]
                return [self._encode(batch.images[part], batch.finish) for part in parts]
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise JobError(
                        f"One image of shape {tuple(batch.images.shape[1:])} does not fit into the memory of "
                        f"{self._device}: use --precision fp16, a smaller model or a device with more memory."
                    ) from error
            # Only here are the tensors gone that the error had kept alive.
            self._room.shrink(size)
            self._lane.clear()

    def fetch(self, batch: Batch, flights: Sequence[_Flight]) -> EncodedBatch:
        """Wait for the features of a batch."""
        self._lane.arrived(flights[-1].landing)
        self._room.tell(len(batch.rows), self._device)
        names = flights[0].layers
        layers = {name: _joined([flight.layers[name] for flight in flights]) for name in names}
        seconds = sum(self._lane.seconds(flight.start, flight.end) for flight in flights)
        return EncodedBatch(batch.rows, batch.stamps, layers, seconds, batch.seconds)

    def _encode(self, images: torch.Tensor, finish: Finish | None) -> _Flight:
        there = self._lane.upload(images)
        start = self._lane.mark()
        size = self._piece or len(there)
        pieces = _pieces(there, size)
        memory = self._memory(there) if finish and self._device.type == "cpu" else None
        into = [None] * len(pieces) if memory is None else _pieces(memory, size)
        self._threads = self._threads or _shared_by(len(pieces))
        found = list(self._threads.map(partial(self._stored, finish), pieces, into))
        end = self._lane.mark()
        layers = {name: self._lane.download(_joined([part[name] for part in found])) for name in found[0]}
        return _Flight(layers, start, end, self._lane.landing())

    def _stored(
        self, finish: Finish | None, images: torch.Tensor, into: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Return the features of images. into: memory on the CPU for what the model reads of them."""
        given = images if finish is None else finish(images, DTYPES[self._precision] if self._cast else None, into)
        with not_exiting(f"The model {self._model.info.name!r}"):
            encoded = self._model.encode_images(given)
        return {name: self._to_store(value, given) for name, value in encoded.items()}

    def _memory(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return memory of the size of a batch: that of the last one, with which a CPU is done.

        New memory takes the system half as long as the arithmetic.
        """
        if self._floats is None or self._floats.shape[1:] != pixels.shape[1:] or len(self._floats) < len(pixels):
            self._floats = torch.empty(pixels.shape)
        return self._floats[: len(pixels)]

    def _to_store(self, value: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Bring features to the type that is stored: fp16 stays so, everything else is float32 (numpy has no bf16)."""
        half = self._precision == "fp16" and value.dtype == torch.float16
        found = value.detach().to(torch.float16 if half else torch.float32)
        # Features that are the images themselves: their memory is used again for the next ones.
        memory = images.untyped_storage()
        shared = memory.data_ptr() <= found.data_ptr() < memory.data_ptr() + memory.nbytes()
        return found.clone() if shared else found


def _shared_by(pieces: int) -> Threads:
    """Return threads for so many pieces at a time, which together keep as many processors busy as this thread may."""
    allowed = torch.get_num_threads()
    count = min(allowed, pieces)
    return Threads(count, each=-(-allowed // count))


@dataclass(frozen=True)
class _Task:
    batch: Batch
    found: Future[EncodedBatch]


def encode_batches(
    model: ImageModel, device: torch.device, precision: Precision, batches: Iterable[Batch]
) -> Iterator[EncodedBatch]:
    """Encode batches on one device, in order."""
    return encode_over([Encoder(model, device, precision)], batches)


def encode_over(encoders: Sequence[Encoder], batches: Iterable[Batch]) -> Iterator[EncodedBatch]:
    """Encode batches on several devices, in order; the next one goes to whichever device is free.

    Batches are read, and results handed on, in the thread of the caller, a few batches apart.
    """
    tasks: SimpleQueue[_Task | None] = SimpleQueue()
    waiting: deque[Future[EncodedBatch]] = deque()
    threads: list[Thread] = []
    try:
        for batch in batches:
            if not threads:  # after the first batch: worker processes are forked before there are threads
                threads.extend(_started(encoders, tasks))
            task = _Task(batch, Future())
            waiting.append(task.found)
            tasks.put(task)
            while waiting and (waiting[0].done() or len(waiting) >= BATCHES_AHEAD * len(encoders)):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        _stop(threads, tasks)


def _started(encoders: Sequence[Encoder], tasks: SimpleQueue[_Task | None]) -> Iterator[Thread]:
    for encoder in encoders:
        thread = Thread(target=_serve, args=(encoder, tasks, torch.get_num_threads()), daemon=True)
        thread.start()
        yield thread


def _stop(threads: Sequence[Thread], tasks: SimpleQueue[_Task | None]) -> None:
    """Leave what has not begun, and wait for what has."""
    while not tasks.empty():
        tasks.get()
    for _ in threads:
        tasks.put(None)
    for thread in threads:
        thread.join()


def _serve(encoder: Encoder, tasks: SimpleQueue[_Task | None], threads: int) -> None:
    use_threads(threads)
    try:
        with encoder.used():
            _work(encoder, tasks)
    except BaseException as error:  # noqa: BLE001 - the device cannot be used at all: whoever waits for it is told
        while (task := tasks.get()) is not None:
            task.found.set_exception(error)


def _work(encoder: Encoder, tasks: SimpleQueue[_Task | None]) -> None:
    """Encode until there is None: the next batch is launched before the last is fetched, so the device has work."""
    late: Callable[[], None] | None = None
    while True:
        fresh: Callable[[], None] | None = None
        try:
            task = tasks.get(block=late is None)
        except Empty:  # nothing to launch yet
            pass
        else:
            if task is None:
                return
            fresh = _launched(encoder, task)
        if late is not None:
            late()
        late = fresh


def _launched(encoder: Encoder, task: _Task) -> Callable[[], None] | None:
    """Launch a batch and return what fetches it; an error belongs to whoever waits for the batch."""
    try:
        flights = encoder.launch(task.batch)
    except BaseException as error:  # noqa: BLE001 - as said
        task.found.set_exception(error)
        return None
    return partial(_fetch, encoder, task, flights)


def _fetch(encoder: Encoder, task: _Task, flights: Sequence[_Flight]) -> None:
    try:
        task.found.set_result(encoder.fetch(task.batch, flights))
    except BaseException as error:  # noqa: BLE001 - as above
        task.found.set_exception(error)


@contextmanager
def inference(device: torch.device, precision: Precision, *, cast: bool = False) -> Iterator[None]:
    """No gradients; autocast for half precisions that weights are not of; fp32 means TF32 off while anybody encodes.

    `no_grad` and not `inference_mode`: a network in the middle of its training may store what it computes here.
    """
    arithmetic: AbstractContextManager[Any] = nullcontext()
    if precision == "fp32":
        arithmetic = exact_products()
    elif not cast:
        arithmetic = torch.autocast(device.type, dtype=DTYPES[precision])
    with torch.no_grad(), arithmetic, not_exiting("The model"):
        yield


def first_not_finite(features: torch.Tensor) -> int | None:
    """Return the first row of features (n, dim) that holds a NaN or an infinity, or None."""
    for start in range(0, len(features), ROWS_CHECKED):  # a mask of all of ImageNet would take a gigabyte
        block = features[start : start + ROWS_CHECKED]
        finite = torch.isfinite(block).all(dim=1)
        if not bool(finite.all()):
            return start + int(torch.nonzero(~finite)[0])
    return None


def _pieces(values: torch.Tensor, size: int) -> list[torch.Tensor]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
