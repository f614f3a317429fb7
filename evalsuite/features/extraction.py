"""One image pass over what the store lacks of a pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch

from evalsuite.data.base import Pool
from evalsuite.errors import DataError, ModelError, NotFiniteError
from evalsuite.features.batches import read_batches, worker_count
from evalsuite.features.blocks import Block
from evalsuite.features.encoding import BATCHES_AHEAD, EncodedBatch, EncodeRows, MapBatches, first_not_finite
from evalsuite.features.freshness import OnBytes, missing_rows
from evalsuite.features.lanes import pinned
from evalsuite.features.samples import Unreadable
from evalsuite.features.store import PoolFeatures
from evalsuite.models.base import Preprocess
from evalsuite.options import DecoderName
from evalsuite.text import counted

SHARD_SAMPLES = 4_096
SHARD_SECONDS = 60.0
"""A shard is written at whichever comes first: it bounds what a crash can cost."""

SHOWN_PROBLEMS = 3


@dataclass
class PassReport:
    """What an image pass did. `seconds` is decoding and encoding; `unreadable`: ids left out.

    decoded, computed, written: seconds, of all processes and all devices together.
    """

    encoded: int = 0
    seconds: float = 0.0
    decoded: float = 0.0
    computed: float = 0.0
    written: float = 0.0
    unreadable: list[Unreadable] = field(default_factory=list)


@dataclass(frozen=True)
class PassOptions:
    """How to read: images per batch, decoding processes (None: by the work there is), type of the model's devices.

    verify: the bytes of every sample are compared with what is stored. decoder: what decodes and resizes.
    devices: how many there are.
    """

    batch_size: int
    workers: int | None = None
    device: str = "cpu"
    verify: bool = False
    decoder: DecoderName = "pillow"
    devices: int = 1


def ensure_features(
    pool: Pool,
    rows: Sequence[int],
    store: PoolFeatures,
    prepare: Callable[[], tuple[Preprocess, MapBatches] | EncodeRows],
    options: PassOptions,
    *,
    max_unreadable: int = 0,
    on_images: Callable[[int, int], None] = lambda done, total: None,
    on_bytes: OnBytes = lambda done, total: None,
) -> PassReport:
    """Compute and store what is missing of `rows`; a second call finds everything and does nothing.

    prepare: loads the model and returns its preprocessing and a mapping over batches, or what reads and encodes
    rows elsewhere; not called when nothing is missing. on_images: told (done, total) images that were encoded;
    on_bytes: of which the bytes were compared with what is stored.
    Raises DataError if more than `max_unreadable` images cannot be read, NotFiniteError at the first batch with a
    NaN or an infinity. Ctrl-C and errors keep the whole batches encoded so far.
    """
    missing, touched = missing_rows(pool, rows, store, verify=options.verify, on_bytes=on_bytes)
    if not missing and not touched and store.is_compact():
        return PassReport()
    with store.lock():
        store.reload()  # another run may have done it while this one waited
        missing, touched = missing_rows(pool, rows, store, verify=options.verify)
        report = _encode(pool, missing, store, prepare, options, on_images) if missing else PassReport()
        _check_readable(pool, report.unreadable, max_unreadable)
        store.compact(touched)
    return report


def _encode(
    pool: Pool,
    rows: Sequence[int],
    store: PoolFeatures,
    prepare: Callable[[], tuple[Preprocess, MapBatches] | EncodeRows],
    options: PassOptions,
    on_images: Callable[[int, int], None],
) -> PassReport:
    store.forget(pool.ids[row] for row in rows)
    prepared = prepare()
    started = time.perf_counter()
    report, writer = PassReport(), _ShardWriter(pool, store)
    encode = prepared if callable(prepared) else partial(_read_and_encode, *prepared, options)
    on_images(0, len(rows))
    try:
        for encoded in encode(pool, rows, report.unreadable.append):
            writer.add(encoded)
            report.encoded += len(encoded.rows)
            report.decoded += encoded.decoded
            report.computed += encoded.seconds
            on_images(report.encoded, len(rows))
        writer.write()
    finally:
        # Also on Ctrl-C, be it during a write: what is encoded is kept, and the same command resumes there.
        writer.write()
    report.seconds, report.written = time.perf_counter() - started, writer.seconds
    store.reload()
    # What was stored of a sample that has since become unreadable is of other bytes.
    store.forget(item.identifier for item in report.unreadable)
    return report


def _read_and_encode(
    preprocess: Preprocess,
    map_batches: MapBatches,
    options: PassOptions,
    pool: Pool,
    rows: Sequence[int],
    on_unreadable: Callable[[Unreadable], None],
) -> Iterator[EncodedBatch]:
    with ExitStack() as stack:
        steps = read_batches(
            pool,
            rows,
            [preprocess],
            batch_size=options.batch_size,
            workers=worker_count(options.workers, len(rows), options.device),
            on_unreadable=on_unreadable,
            decoder=options.decoder,
            ahead=BATCHES_AHEAD * options.devices,
            register=lambda memory: stack.enter_context(pinned(memory, options.device)),
        )
        yield from map_batches(batch for (made,) in steps for batch in made)


class _ShardWriter:
    """Collects encoded batches and writes them as shards."""

    def __init__(self, pool: Pool, store: PoolFeatures) -> None:
        self._pool = pool
        self._store = store
        self._dims = store.layers()
        self._batches: list[EncodedBatch] = []
        self._since = time.monotonic()
        self.seconds = 0.0

    def add(self, encoded: EncodedBatch) -> None:
        self._check(encoded)
        self._batches.append(encoded)
        samples = sum(len(item.rows) for item in self._batches)
        if samples >= SHARD_SAMPLES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.write()

    def write(self) -> None:
        if self._batches:
            started = time.perf_counter()
            layers = {
                name: torch.cat([item.layers[name] for item in self._batches]).numpy()
                for name in self._batches[0].layers
            }
            ids = [self._pool.ids[row] for item in self._batches for row in item.rows]
            stamps = [stamp for item in self._batches for stamp in item.stamps]
            self._store.add_shard(Block(ids, stamps, layers))
            self.seconds += time.perf_counter() - started
        self._batches = []
        self._since = time.monotonic()

    def _check(self, encoded: EncodedBatch) -> None:
        first = self._pool.ids[encoded.rows[0]]
        for name, value in encoded.layers.items():
            if value.ndim != 2 or len(value) != len(encoded.rows):
                raise ModelError(
                    f"The model returned a tensor of shape {tuple(value.shape)} as the layer {name!r} for a batch "
                    f"of {len(encoded.rows)} images; it must be (n, dim)."
                )
        dims = {name: int(value.shape[1]) for name, value in encoded.layers.items()}
        if self._dims and dims != self._dims:
            raise DataError(
                f"The image {first!r} of the pool {self._pool.name!r} gives features of dimensions {dims}, others "
                f"give {self._dims}: this model needs images of one size. Resize them, or use a model that does."
            )
        self._dims = dims
        for name, value in encoded.layers.items():
            row = first_not_finite(value)
            if row is not None:
                sample = self._pool.ids[encoded.rows[row]]
                raise NotFiniteError(
                    f"gave {sample} of the pool {self._pool.name!r} (row {encoded.rows[row]} of {name}) a value that "
                    "is not finite (NaN or infinity)."
                )


def _check_readable(pool: Pool, unreadable: Sequence[Unreadable], limit: int) -> None:
    if len(unreadable) <= limit:
        return
    shown = [f"  {item.problem}" for item in unreadable[:SHOWN_PROBLEMS]]
    more = [f"  and {len(unreadable) - SHOWN_PROBLEMS} more"] if len(unreadable) > SHOWN_PROBLEMS else []
    listed = "\n".join([*shown, *more])
    raise DataError(
        f"{counted(len(unreadable), 'image')} of the pool {pool.name!r} cannot be read (the task allows {limit}):\n"
        f"{listed}\nGet them again, or set `max_unreadable` in the task file; what was encoded is kept."
    )
