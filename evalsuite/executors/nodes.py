"""What an actor of a Ray cluster does on its node: keep a model, and encode rows of pools that it opens itself."""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from typing import ParamSpec, TypeVar

import torch

from evalsuite.code_files import Portable
from evalsuite.data.base import Pool, PoolAddress
from evalsuite.data.opening import open_at
from evalsuite.errors import DataError, DataMissingError, JobError, ModelError, sendable
from evalsuite.executors.local import LocalExecutor
from evalsuite.features.batches import Batch, read_batches, worker_count
from evalsuite.features.encoding import BATCHES_AHEAD, EncodedBatch, MapBatches, Precision
from evalsuite.features.extraction import PassOptions
from evalsuite.features.freshness import samples_digest
from evalsuite.features.lanes import pinned
from evalsuite.features.samples import Unreadable
from evalsuite.models.base import ImageModel, Preprocess, move

P = ParamSpec("P")
Content = TypeVar("Content")

PACKAGES = ("evalsuite", "torch", "torchvision", "pillow", "av", "open_clip_torch", "timm", "transformers")
"""Packages whose version can change a feature: every node must have those of the driver."""


@dataclass(frozen=True)
class PoolMark:
    """A pool, and what tells that another machine has the very same: rows mean nothing in another one.

    samples: digest of its ids and sizes.
    """

    address: PoolAddress
    fingerprint: str
    samples: str

    @classmethod
    def of(cls, pool: Pool) -> PoolMark:
        """Mark a pool; DataError for one that no other machine can open."""
        if pool.address is None:
            raise DataError(f"The pool {pool.name!r} is not of a task file: only --executor local can read it.")
        return cls(pool.address, pool.fingerprint, samples_digest(pool.ids, pool.sizes.tolist()))


@dataclass(frozen=True)
class Work:
    """Rows of a pool to encode. total: how many rows the whole pass has."""

    pool: PoolMark
    rows: Sequence[int]
    total: int


@dataclass(frozen=True)
class Encoded:
    """The features of some rows, what could not be read, and what the user should know."""

    batches: list[EncodedBatch]
    unreadable: list[Unreadable]
    notes: list[str]


@dataclass(frozen=True)
class _Loaded:
    key: str
    preprocess: Preprocess
    map_batches: MapBatches


class NotLoadedError(Exception):
    """The process was started again since the model was loaded, and the driver has not heard of that yet."""


class NodeEncoder:
    """Encodes rows with the model that it was given last. Two calls at a time: one decodes while the other encodes.

    options: their device is `cuda`, the GPU that is visible to this process, or `cpu`. processors: for this process.
    """

    def __init__(self, options: PassOptions, processors: int, compile: bool) -> None:
        self._notes: list[str] = []
        self._device = torch.device(options.device, 0) if options.device == "cuda" else torch.device("cpu")
        self._compile = compile
        self._options = options
        self._processors = processors
        self._opening, self._encoding = threading.Lock(), threading.Lock()
        self._pool: tuple[PoolMark, Pool] | None = None
        self._model: _Loaded | None = None

    def load(self, key: str, content: bytes, precision: Precision, needed: Mapping[str, str]) -> None:
        """Take over the pickled model of this key, to run at a precision. needed: the driver's `versions`.

        Raises JobError where versions differ, and ModelError for a model that cannot be unpickled here.
        """
        _check_versions(needed)
        with self._encoding:
            if self._model is None or self._model.key != key:
                self._model = None  # two models may not fit
                model = _unpickled(content)
                move(model, self._device)
                executor = LocalExecutor([self._device], [precision], compile=self._compile, note=self._notes.append)
                self._model = _Loaded(key, model.preprocess, executor.mapping(model, precision))

    def encode(self, key: str, work: Work) -> Encoded:
        """Decode and encode rows. Raises what that raises, and DataError for a pool that is not the driver's.

        NotLoadedError where the model of this key is not here.
        """
        model, options = self._model, self._options
        if model is None or model.key != key:
            raise NotLoadedError(f"The process {os.getpid()} on {socket.gethostname()} was lost and started again.")
        unreadable: list[Unreadable] = []
        workers = worker_count(options.workers, work.total, options.device)
        with ExitStack() as stack:
            steps = read_batches(
                self._opened(work.pool),
                work.rows,
                [model.preprocess],
                batch_size=options.batch_size,
                workers=workers if options.workers is not None else min(workers, self._processors),
                on_unreadable=unreadable.append,
                decoder=options.decoder,
                ahead=BATCHES_AHEAD,
                register=lambda memory: stack.enter_context(pinned(memory, options.device)),
            )
            batches = _begun(batch for (made,) in steps for batch in made)
            with self._encoding:
                encoded = list(model.map_batches(batches))
                notes, self._notes[:] = list(self._notes), []
        return Encoded(encoded, unreadable, notes)

    def _opened(self, mark: PoolMark) -> Pool:
        with self._opening:
            if self._pool is None or self._pool[0] != mark:
                self._pool = mark, _open(mark)
            return self._pool[1]


class NodeActor:
    """What Ray keeps on a node: a `NodeEncoder` whose errors are answers.

    Ray cannot send every error, and prints those of work that nobody waits for any more.
    """

    def __init__(self, options: PassOptions, processors: int, compile: bool) -> None:
        self._encoder = NodeEncoder(options, processors, compile)

    def load(self, key: str, content: bytes, precision: Precision, needed: Mapping[str, str]) -> Exception | None:
        """Do what `NodeEncoder.load` does."""
        return _answer(self._encoder.load, key, content, precision, needed)

    def encode(self, key: str, work: Work) -> Encoded | Exception:
        """Do what `NodeEncoder.encode` does."""
        return _answer(self._encoder.encode, key, work)


def _answer(method: Callable[P, Content], *arguments: P.args, **named: P.kwargs) -> Content | Exception:
    try:
        return method(*arguments, **named)
    except BaseException as error:  # noqa: BLE001 - the driver raises it
        return sendable(error, f"the node {socket.gethostname()}")


def versions() -> dict[str, str]:
    """Return the versions of those `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _check_versions(needed: Mapping[str, str]) -> None:
    pairs = {name: (versions().get(name), needed.get(name)) for name in PACKAGES}
    other = [f"{name} {found}, not {wanted}" for name, (found, wanted) in pairs.items() if found != wanted]
    if other:
        raise JobError(
            f"The node {socket.gethostname()} has other versions than this machine: {'; '.join(other)}. "
            "Features could differ: install the same everywhere."
        )


def _unpickled(content: bytes) -> ImageModel:
    try:
        portable: Portable[ImageModel] = pickle.loads(content)
    except (Exception, SystemExit) as error:  # unpickling runs code of the model, which raises what it likes
        raise ModelError(
            f"The model cannot be loaded on the node {socket.gethostname()} ({type(error).__name__}: {error}). "
            "Every node needs the packages and Python files that it is made of."
        ) from error
    return portable.content


def _open(mark: PoolMark) -> Pool:
    address, node = mark.address, socket.gethostname()
    what = f"The pool {address.pool!r} of the task {address.task.name!r}"
    advice = "Every node needs the same files at the same path: copy them, or share the disk."
    try:
        pool = open_at(address)
    except DataMissingError as error:
        raise DataMissingError(f"{what} is not on the node {node}. {advice}\n{error}") from error
    if PoolMark.of(pool) != mark:
        raise DataError(f"{what} has other files on the node {node} than on this machine. {advice}")
    return pool


def _begun(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Start to read: worker processes go ahead from now on."""
    rest = iter(batches)
    return chain(list(islice(rest, 1)), rest)
