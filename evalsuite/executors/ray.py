"""Encode on the nodes of a Ray cluster: an actor per GPU, or per node where there are no GPUs.

Images are decoded where they are encoded; this process alone writes the stores. What a node had not finished when it
was lost is done by another.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import torch

from evalsuite.code_files import Portable
from evalsuite.data.base import Pool
from evalsuite.errors import JobError, ModelError, UsageError
from evalsuite.executors.devices import choose_precisions, parse_devices
from evalsuite.executors.nodes import Encoded, NodeActor, NotLoadedError, PoolMark, Work, versions
from evalsuite.features.encoding import EncodedBatch, EncodeRows, MapBatches, Precision
from evalsuite.features.extraction import PassOptions
from evalsuite.features.samples import Unreadable
from evalsuite.models.base import ImageModel, move
from evalsuite.options import RunOptions
from evalsuite.runner.passes import BATCH_SIZES

_LOG = logging.getLogger(__name__)

Waiting = dict[Any, tuple[int, int | None]]
"""What was asked for -> the numbers of the actor and of the piece of work; None where it loads the model."""

ADDRESS = "RAY_ADDRESS"
SET_BY_RAY = ("RAY_", "PYTHONBREAKPOINT")
"""How the names of variables begin that Ray sets in the environment of a process that joins a cluster."""

BATCHES_AT_ONCE = 16
"""Batches of one piece of work, at most: what a lost node costs."""

PIECES = 4
"""Pieces of work per actor, at least, so that all of them finish at about the same time."""

AHEAD = 2
"""Pieces of work in an actor: one is being decoded while the other is encoded."""

RESTARTS = 3
"""How often Ray starts a lost actor again, and how often lost work is begun again before it is given up."""

CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer. Ray itself waits for two minutes and then ends the process."""

PATIENCE = 60
"""Seconds after which waiting for a free node is no longer silent."""


@dataclass(frozen=True)
class _Sent:
    """A model in Ray's store. content: the reference."""

    model: ImageModel
    precision: Precision
    key: str
    content: Any


class RayExecutor:
    """Encodes rows of pools on a Ray cluster. `devices` are this process's own: it embeds texts and fits probes.

    Raises UsageError where Ray is not installed, no cluster answers, or none of its nodes has what is asked for.
    """

    def __init__(self, options: RunOptions, note: Callable[[str], None] = lambda text: None) -> None:
        if options.device not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"--device {options.device}: Ray chooses the GPUs. With --executor ray, give auto, cpu or cuda."
            )
        self._ray = _import_ray()
        errors = self._ray.exceptions
        self._lost = (errors.RayActorError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError)
        self._note, self._told = note, set[str]()
        self._sent: _Sent | None = None
        self._compile = options.compile
        self._actors: list[Any] = []
        self._worn, self._left_out = set[int](), set[int]()
        self._connection = _connect(self._ray)
        try:
            places = places_on(self._ray.nodes(), options.device)
            kind = "cuda" if "num_gpus" in places[0] else "cpu"
            self.devices = parse_devices("cpu" if options.device == "cpu" else "auto")[:1]
            self.precisions = choose_precisions(options.precision, torch.device(kind))
            self._reading = PassOptions(
                options.batch_size or BATCH_SIZES[kind], options.workers, kind, decoder=options.decoder
            )
            self._places = places
            self._actors = [self._start(place) for place in places]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the actors, which ends them, and end the connection or the cluster if it was made here."""
        self._actors, self._sent = [], None
        self._connection.close()

    @property
    def encoders(self) -> int:
        """How many actors there are."""
        return len(self._actors)

    @property
    def where(self) -> str:
        """What a record calls the devices: `8 x cuda (Ray)`."""
        return f"{len(self._actors)} x {self._reading.device} (Ray)"

    def mapping(self, model: ImageModel, precision: Precision) -> MapBatches:
        """Refuse: images are decoded on the nodes, by `reading`."""
        raise NotImplementedError("A Ray cluster encodes rows of pools, not batches of this process.")

    def reading(self, model: ImageModel, precision: Precision) -> EncodeRows:
        """Return `encode_rows` with a model."""
        return partial(self.encode_rows, model, precision)

    def encode_rows(
        self,
        model: ImageModel,
        precision: Precision,
        pool: Pool,
        rows: Sequence[int],
        on_unreadable: Callable[[Unreadable], None],
    ) -> Iterator[EncodedBatch]:
        """Yield the features of rows, batch by batch, in the order in which the nodes finish them.

        The batches are of the same rows as on one machine. Raises what reading and encoding raise on the nodes;
        ModelError for a model that cannot be sent, and JobError where too much of the cluster is lost.
        """
        mark = PoolMark.of(pool)
        self._renew()
        step = self._reading.batch_size * self._batches_of_a_piece(len(rows))
        work = [Work(mark, list(rows[start : start + step]), len(rows)) for start in range(0, len(rows), step)]
        unreadable: dict[int, list[Unreadable]] = {}
        for number, encoded in self._finished(self._send(model, precision), work):
            unreadable[number] = encoded.unreadable
            for text in set(encoded.notes) - self._told:  # once, not once per actor
                self._told.add(text)
                self._note(text)
            yield from encoded.batches
        for number in sorted(unreadable):
            for item in unreadable[number]:
                on_unreadable(item)

    def _batches_of_a_piece(self, rows: int) -> int:
        return max(1, min(BATCHES_AT_ONCE, rows // (self._reading.batch_size * PIECES * len(self._actors))))

    def _finished(self, sent: _Sent, work: Sequence[Work]) -> Iterator[tuple[int, Encoded]]:
        """Yield the number of each piece of work and what came of it.

        Ray's ActorPool would go on giving work to a lost actor. Here it has to load the model first, which it can as
        soon as Ray finds a place to start it again; its work goes to the others.
        """
        todo, begun, left = deque(range(len(work))), Counter[int](), len(work)
        idle: list[int] = []
        waiting: Waiting = {self._load(actor, sent): (actor, None) for actor in [*range(len(self._actors))] * AHEAD}
        while left:
            while todo and idle:
                actor, piece = idle.pop(), todo.popleft()
                waiting[self._actors[actor].encode.remote(sent.key, work[piece])] = actor, piece
                begun[piece] += 1
            done = self._first_of(waiting)
            actor, number = waiting.pop(done)
            answer = self._answer(done)
            if isinstance(answer, (*self._lost, NotLoadedError)):
                self._worn.add(actor)
                places = 1 + idle.count(actor)
                idle[:] = [other for other in idle if other != actor]
                if number is None:
                    self._leave_out(actor, answer)
                    continue
                if begun[number] > RESTARTS:
                    raise JobError(_given_up(begun[number], answer)) from answer
                todo.appendleft(number)
                waiting |= {self._load(actor, sent): (actor, None) for _ in range(places)}
            elif isinstance(answer, Exception):
                raise answer
            else:
                idle.append(actor)
                if number is not None:
                    left -= 1
                    yield number, answer

    def _answer(self, done: Any) -> Any:
        """Return what an actor answers: what it was asked for or an error, also that it was lost."""
        try:
            return self._ray.get(done)
        except self._lost as error:
            return error
        except self._ray.exceptions.RayTaskError as error:  # Ray cannot hand over what the actor was asked for
            return error.cause

    def _load(self, actor: int, sent: _Sent) -> Any:
        load = self._actors[actor].load.options(max_task_retries=-1)
        return load.remote(sent.key, sent.content, sent.precision, versions())

    def _first_of(self, waiting: Waiting) -> Any:
        """Wait for one of several answers; say so where no actor has a place yet."""
        seconds = 0
        # Not longer than a second at a time: a thread can be interrupted only in between.
        while not (ready := self._ray.wait(list(waiting), timeout=1.0)[0]):
            seconds += 1
            if seconds == PATIENCE and all(number is None for _, number in waiting.values()):
                _LOG.warning("No node of the Ray cluster has loaded the model yet; `ray status` says what it waits for")
        return ready[0]

    def _leave_out(self, actor: int, error: Exception) -> None:
        """Go on without an actor that Ray cannot start (again); JobError where it is the last one."""
        if actor in self._left_out:
            return  # it had been asked for more than one thing
        self._left_out.add(actor)
        if len(self._left_out) == len(self._actors):
            raise JobError(f"No node of the Ray cluster is left:\n{_last_line(error)}") from error
        _LOG.warning("A node of the Ray cluster is left out: %s", _last_line(error))

    def _renew(self) -> None:
        """Make lost actors anew: how often Ray starts one again is limited, and what it was lost by may be over."""
        for actor in self._worn:
            self._actors[actor] = self._start(self._places[actor])
        self._worn, self._left_out = set(), set()

    def _start(self, place: Mapping[str, Any]) -> Any:
        remote = self._ray.remote(NodeActor).options(max_restarts=RESTARTS, max_concurrency=AHEAD, **place)
        return remote.remote(self._reading, place["num_cpus"], self._compile)

    def _send(self, model: ImageModel, precision: Precision) -> _Sent:
        """Put a model into Ray's store, once."""
        if self._sent is None or self._sent.model is not model or self._sent.precision != precision:
            self._sent = _Sent(model, precision, uuid.uuid4().hex, self._ray.put(self._pickled(model)))
        return self._sent

    def _pickled(self, model: ImageModel) -> bytes:
        move(model, "cpu")  # a node has other GPUs
        try:
            return pickle.dumps(Portable(model, self._ray.cloudpickle.dumps))
        except Exception as error:  # whatever the parts of a model raise
            raise ModelError(
                f"The model {model.info.name!r} cannot be sent to the nodes of a Ray cluster "
                f"({type(error).__name__}: {error}). Make it of what can be pickled, or use --executor local."
            ) from error
        finally:
            move(model, self.devices[0])


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--executor ray needs the package 'ray', which is not installed. "
            "Install it with: pip install 'evalsuite[ray]'"
        ) from error
    return ray


def _connect(ray: Any) -> ExitStack:
    """Join the cluster at $RAY_ADDRESS or start one on this machine; return what undoes that, if it was done here."""
    made = ExitStack()
    if ray.is_initialized():
        return made
    address = os.environ.get(ADDRESS, "")
    options = {"address": address} if address else {"address": "local", "include_dashboard": False}
    made.callback(_restore, {name: value for name, value in os.environ.items() if name.startswith(SET_BY_RAY)})
    made.callback(ray.shutdown)
    try:
        _check_answers(address)
        with _sigterm_as_it_is():
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises this very type, too
        made.close()
        why = _last_line(error)
        if not address:
            raise UsageError(f"Ray cannot be started on this machine: {why}") from error
        raise UsageError(
            f"There is no Ray cluster at {ADDRESS}={address}: {why}\nStart one with `ray start`, or unset {ADDRESS}."
        ) from error
    except BaseException:
        made.close()
        raise
    return made


def _restore(variables: Mapping[str, str]) -> None:
    """Take back what Ray has set in the environment of this process."""
    for name in [name for name in os.environ if name.startswith(SET_BY_RAY) and name not in variables]:
        del os.environ[name]
    os.environ.update(variables)


def _check_answers(address: str) -> None:
    """Raise OSError where nobody listens at host:port, ValueError where the port is none."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.port is not None:
        socket.create_connection((place.hostname, place.port), CONNECT_SECONDS).close()


@contextmanager
def _sigterm_as_it_is() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray puts its own in the place of the program's, which exit by codes of their own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def places_on(nodes: Sequence[Mapping[str, Any]], device: str) -> list[dict[str, Any]]:
    """Return what each actor occupies: a GPU with its share of the node's processors, or a node's processors.

    nodes: as `ray.nodes()` describes them. Raises UsageError where none has the device.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with_gpu: list[dict[str, Any]] = []
    without: list[dict[str, Any]] = []
    for node in nodes:
        if not node["Alive"]:
            continue
        cpus, gpus = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        place = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)}
        with_gpu += [{"num_gpus": 1, "num_cpus": cpus // gpus, **place} for _ in range(gpus)]
        without += [{"num_cpus": cpus, **place}] if cpus else []
    chosen = {"cuda": with_gpu, "cpu": without, "auto": with_gpu or without}[device]
    if not chosen:
        what = "a GPU" if device == "cuda" else "processors"
        raise UsageError(f"--device {device}: no node of the Ray cluster has {what} (`ray status`).")
    return chosen


def _given_up(times: int, error: Exception) -> str:
    return (
        f"{times} nodes or processes in turn were lost while they encoded the same images. Is there too little memory? "
        f"Use a smaller --batch-size or fewer --workers.\n{_last_line(error)}"
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
