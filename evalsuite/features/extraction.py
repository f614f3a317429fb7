"""One image pass over what the stores of one model, or of several, lack of a pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch

from evalsuite.data.base import Pool
from evalsuite.errors import DataError, EvalsuiteError, ModelError, NotFiniteError
from evalsuite.features.batches import read_batches, worker_count
from evalsuite.features.blocks import Block, Stamp
from evalsuite.features.encoding import BATCHES_AHEAD, EncodedBatch, EncodeRows, MapBatches, first_not_finite
from evalsuite.features.freshness import OnBytes, missing_rows, settle
from evalsuite.features.lanes import pinned
from evalsuite.features.samples import Unreadable
from evalsuite.features.sharing import Feed, close, distinct
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


Prepare = Callable[[], tuple[Preprocess, MapBatches] | EncodeRows]


@dataclass(frozen=True)
class Member:
    """A model that takes part in a pass.

    store: of its features. prepare: loads it and returns its preprocessing and a mapping over batches, or what reads
    and encodes rows elsewhere; not called when nothing is missing. on_bytes: told (done, total) images of which the
    bytes were compared with what is stored.
    """

    store: PoolFeatures
    prepare: Prepare
    on_bytes: OnBytes = lambda done, total: None


def ensure_features(
    pool: Pool,
    rows: Sequence[int],
    store: PoolFeatures,
    prepare: Prepare,
    options: PassOptions,
    *,
    max_unreadable: int = 0,
    on_images: Callable[[int, int], None] = lambda done, total: None,
    on_bytes: OnBytes = lambda done, total: None,
    tell: Callable[[str], None] = lambda text: None,
) -> PassReport:
    """Compute and store what is missing of `rows`; a second call finds everything and does nothing.

    prepare, on_bytes: see `Member`. on_images: told (done, total) images that were encoded. Where another process adds
    to the store, it waits; tell: see `Lock`. Raises DataError if more than `max_unreadable` images cannot be read,
    NotFiniteError at the first batch with a NaN or an infinity. Ctrl-C and errors keep the whole batches that are
    encoded.
    """
    members = [Member(store, prepare, on_bytes)]
    (report,) = ensure_together(
        pool, rows, members, options, max_unreadable=max_unreadable, on_images=on_images, tell=tell
    )
    if isinstance(report, Exception):
        raise report
    return report


def ensure_together(
    pool: Pool,
    rows: Sequence[int],
    members: Sequence[Member],
    options: PassOptions,
    *,
    max_unreadable: int = 0,
    on_images: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] | None = None,
) -> list[PassReport | Exception]:
    """Do what `ensure_features` does for several models; each image is decoded once for all that lack it.

    Returns a report for each, or what went wrong with it, which does not stop the others; HeldError where another
    process adds to its store. tell: the end of that is waited for, see `Lock`.
    """
    shares = [_Share(pool, member) for member in members]
    with ExitStack() as locks:
        for share in shares:
            with share.guarded():
                share.begin(rows, options.verify, locks, tell)
        _encode(pool, [share for share in shares if share.missing and share.failure is None], options, on_images)
        for share in shares:
            with share.guarded():
                share.end(max_unreadable)
    return [share.failure or share.report for share in shares]


class _Share:
    """What a member has to do with a pass, and what came of it. encode_rows: where it reads the images elsewhere."""

    preprocess: Preprocess
    map_batches: MapBatches
    encode_rows: EncodeRows | None = None

    def __init__(self, pool: Pool, member: Member) -> None:
        self.store = member.store
        self.report = PassReport()
        self.failure: Exception | None = None
        self.missing: list[int] = []
        self._pool = pool
        self._prepare = member.prepare
        self._on_bytes = member.on_bytes
        self._touched: dict[str, Stamp] = {}
        self._locked = False

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Keep what goes wrong with this model from the others."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it is the result of this model
            self.failure = self.failure or error

    def begin(self, rows: Sequence[int], verify: bool, locks: ExitStack, tell: Callable[[str], None] | None) -> None:
        """Find out what is missing, and hold the store's lock if anything is."""
        store = self.store
        store.leave_out_damaged(self._pool.ids[row] for row in rows)
        found = missing_rows(self._pool, rows, store, verify=verify, on_bytes=self._on_bytes)
        self.missing, self._touched = found
        if not self.missing:
            settle(store, self._touched)
            return
        lock = store.lock(tell)
        lock.acquire(0 if tell is None else None)
        locks.callback(lock.release)
        self._locked = True
        store.reload()  # another run may have done it while this one waited
        store.leave_out_damaged(self._pool.ids[row] for row in rows)
        self.missing, self._touched = missing_rows(self._pool, rows, store, verify=verify)

    def load(self) -> None:
        """Get the model ready to encode."""
        self.store.forget(self._pool.ids[row] for row in self.missing)
        prepared = self._prepare()
        if callable(prepared):
            self.encode_rows = prepared
        else:
            self.preprocess, self.map_batches = prepared
        self.writer = _ShardWriter(self._pool, self.store)

    def add(self, encoded: EncodedBatch) -> None:
        """Keep the features of a batch."""
        self.writer.add(encoded)
        self.report.encoded += len(encoded.rows)
        self.report.decoded += encoded.decoded
        self.report.computed += encoded.seconds

    def write(self) -> None:
        """Write what is kept."""
        with self.guarded():
            self.writer.write()

    def end(self, max_unreadable: int) -> None:
        """Merge what is stored; DataError where too many images could not be read."""
        if not self._locked or self.failure is not None:
            return
        if self.missing:
            self.store.reload()
            # What was stored of a sample that has since become unreadable is of other bytes.
            self.store.forget(item.identifier for item in self.report.unreadable)
        _check_readable(self._pool, self.report.unreadable, max_unreadable)
        self.store.compact(self._touched)


def _encode(pool: Pool, shares: Sequence[_Share], options: PassOptions, on_images: Callable[[int, int], None]) -> None:
    """Encode what each model lacks; rows that the same models lack are read once for all of them."""
    for share in shares:
        with share.guarded():
            share.load()
    ready = [share for share in shares if share.failure is None]
    parts = _parts([share for share in ready if share.encode_rows is None])
    parts += [(share.missing, [share]) for share in ready if share.encode_rows is not None]
    done, total = 0, sum(len(rows) for rows, _ in parts)
    for rows, takers in parts:
        alive = [share for share in takers if share.failure is None]
        if alive:
            _encode_rows(pool, rows, alive, options, lambda encoded, done=done: on_images(done + encoded, total))  # type: ignore[misc]
        done += len(rows)


def _parts(shares: Sequence[_Share]) -> list[tuple[list[int], list[_Share]]]:
    """Return rows, ascending, and the models that lack them: one part where all lack the same."""
    if all(share.missing == shares[0].missing for share in shares):
        return [(share.missing, list(shares)) for share in shares[:1]]
    lacking: dict[int, list[_Share]] = {}
    for share in shares:
        for row in share.missing:
            lacking.setdefault(row, []).append(share)
    parts: dict[tuple[int, ...], list[int]] = {}
    for row in sorted(lacking):
        parts.setdefault(tuple(map(id, lacking[row])), []).append(row)
    return [(rows, lacking[rows[0]]) for rows in parts.values()]


def _encode_rows(
    pool: Pool,
    rows: Sequence[int],
    shares: Sequence[_Share],
    options: PassOptions,
    on_images: Callable[[int], None],
) -> None:
    """Read rows once and let each of the models encode them."""
    started = time.perf_counter()
    on_images(0)
    unreadable: list[Unreadable] = []
    with ExitStack() as stack:
        streams, feed = _streams(pool, rows, shares, options, unreadable, stack)
        try:
            _take_turns(shares, streams, feed, on_images)
            for share in shares:
                share.write()
        finally:
            # Also on Ctrl-C, be it during a write: what is encoded is kept, and the same command resumes there.
            for share in shares:
                share.write()
            feed.close(streams.values())
    for share in shares:
        share.report.seconds += time.perf_counter() - started
        share.report.written = share.writer.seconds
        share.report.unreadable.extend(unreadable)


def _streams(
    pool: Pool,
    rows: Sequence[int],
    shares: Sequence[_Share],
    options: PassOptions,
    unreadable: list[Unreadable],
    stack: ExitStack,
) -> tuple[dict[int, Iterator[EncodedBatch]], Feed]:
    """Return what each model encodes, by its number, and what feeds them with batches."""
    if shares[0].encode_rows is not None:
        return {0: shares[0].encode_rows(pool, rows, unreadable.append)}, Feed(iter(()), [0])
    preprocesses, places = distinct([share.preprocess for share in shares])
    faults: dict[int, EvalsuiteError] = {}
    source = read_batches(
        pool,
        rows,
        preprocesses,
        batch_size=options.batch_size,
        workers=worker_count(options.workers, len(rows), options.device),
        on_unreadable=unreadable.append,
        decoder=options.decoder,
        ahead=BATCHES_AHEAD * options.devices,
        register=lambda memory: stack.enter_context(pinned(memory, options.device)),
        on_fault=faults.setdefault,
    )
    feed = Feed(source, places, faults)
    return {number: share.map_batches(feed.of(number)) for number, share in enumerate(shares)}, feed


def _take_turns(
    shares: Sequence[_Share],
    streams: dict[int, Iterator[EncodedBatch]],
    feed: Feed,
    on_images: Callable[[int], None],
) -> None:
    """Encode a batch with each model, then the next; one that fails is left out from there on."""
    done = dict.fromkeys(streams, 0)
    while streams:
        for number, stream in list(streams.items()):
            share = shares[number]
            encoded = None
            with share.guarded():
                encoded = next(stream, None)
                if encoded is not None:
                    share.add(encoded)
                    done[number] += len(encoded.rows)
            if encoded is None or share.failure is not None:
                del streams[number]
                feed.drop(number)
                close(stream)  # at once: autocast keeps cast weights for as long as anybody encodes
        if streams:
            on_images(min(done[number] for number in streams))


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
