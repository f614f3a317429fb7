"""Encode on this machine: on one device, or on several GPUs with a copy of the model on each."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch

from evalsuite.features.batches import Batch
from evalsuite.features.encoding import EncodedBatch, MapBatches, Precision, encode_batch, encode_batches
from evalsuite.models.base import ImageModel, move

BATCHES_AHEAD = 2
"""Batches in flight per device: one being encoded, one ready."""


class LocalExecutor:
    """Maps batches over the devices of this machine, results in the order of the batches."""

    def __init__(self, devices: Sequence[torch.device], precision: Precision) -> None:
        self.devices = list(devices)
        self.precision = precision

    def mapping(self, model: ImageModel) -> MapBatches:
        """Return the function that encodes batches with `model`, which is on the first device."""
        if len(self.devices) == 1:
            return partial(encode_batches, model, self.devices[0], self.precision)
        replicas = [model, *(_copy_to(model, device) for device in self.devices[1:])]
        return partial(self._map, replicas)

    def _map(self, replicas: Sequence[ImageModel], batches: Iterable[Batch]) -> Iterator[EncodedBatch]:
        pools = [ThreadPoolExecutor(1) for _ in replicas]  # one thread per device keeps its batches in order
        waiting: deque[Future[EncodedBatch]] = deque()
        try:
            for number, batch in enumerate(batches):
                turn = number % len(replicas)
                work = partial(_encode_and_release, replicas[turn], self.devices[turn], self.precision, batch)
                waiting.append(pools[turn].submit(work))
                if len(waiting) >= BATCHES_AHEAD * len(replicas):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for pool in pools:
                pool.shutdown(wait=True, cancel_futures=True)


def _copy_to(model: ImageModel, device: torch.device) -> ImageModel:
    replica = copy.deepcopy(model)
    move(replica, device)
    return replica


def _encode_and_release(model: ImageModel, device: torch.device, precision: Precision, batch: Batch) -> EncodedBatch:
    encoded = encode_batch(model, device, precision, batch)
    batch.release()
    return encoded
