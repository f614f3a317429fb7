"""Encode on this machine: on one device, or on several GPUs with a copy of the model on each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch

from evalsuite.features.encoding import Encoder, MapBatches, Precision, Room, encode_over
from evalsuite.models.base import ImageModel, move
from evalsuite.models.modules import compiled, halved


class LocalExecutor:
    """Maps batches over the devices of this machine, results in the order of the batches.

    precisions: what models run at; where one gives values that are not finite, the next is taken.
    compile: whether networks are compiled. note: told what the user should know.
    """

    def __init__(
        self,
        devices: Sequence[torch.device],
        precisions: Sequence[Precision],
        *,
        compile: bool = False,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.devices = tuple(devices)
        self.precisions = tuple(precisions)
        self._compile = compile
        self._note = note

    def mapping(self, model: ImageModel, precision: Precision) -> MapBatches:
        """Return the function that encodes batches with `model`, which is on the first device."""
        half = halved(model) if precision == "fp16" else None
        model = half or model
        replicas = [model, *(_copy_to(model, device) for device in self.devices[1:])]
        if self._compile:
            replicas = [compiled(replica) for replica in replicas]
        room = Room(self._note)
        encoders = [
            Encoder(replica, device, precision, room, cast=half is not None)
            for replica, device in zip(replicas, self.devices, strict=True)
        ]
        return partial(encode_over, encoders)

    def close(self) -> None:
        """Nothing is held between passes."""


def _copy_to(model: ImageModel, device: torch.device) -> ImageModel:
    replica = copy.deepcopy(model)
    move(replica, device)
    return replica
