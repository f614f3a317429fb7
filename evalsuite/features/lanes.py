"""The way to a device and back: what is launched on a GPU is waited for later, on streams of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

PORTABLE = 1
"""CUDA's cudaHostRegisterPortable: the memory is pinned for all devices of the process."""


class Lane(Protocol):
    """Brings images to a device and features back. A mark is a point in the work of the device."""

    def used(self) -> Any:
        """Return a context in which whatever a thread launches runs on this lane."""

    def upload(self, images: torch.Tensor) -> torch.Tensor:
        """Return `images` on the device; they must stay as they are until `uploaded`."""

    def uploaded(self) -> None:
        """Wait until the device has all images that were given to `upload`."""

    def download(self, features: torch.Tensor) -> torch.Tensor:
        """Return `features` on the CPU in memory of their own; they are there once `arrived` has returned."""

    def mark(self) -> Any:
        """Return a mark after everything that was launched."""

    def arrived(self, mark: Any) -> None:
        """Wait for everything that was downloaded before a mark of `landing`."""

    def landing(self) -> Any:
        """Return a mark after everything that was downloaded."""

    def seconds(self, start: Any, end: Any) -> float:
        """Return the seconds between two marks that the device has passed."""

    def clear(self) -> None:
        """Give memory back that nothing uses, after the device ran out of it."""


def lane_to(device: torch.device) -> Lane:
    """Return the lane to a device."""
    return CudaLane(device) if device.type == "cuda" else HostLane()


@dataclass(frozen=True)
class HostLane:
    """The way to the CPU: images are there already, and what was launched is done."""

    @contextmanager
    def used(self) -> Iterator[None]:
        """Nothing to set."""
        yield

    def upload(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images."""
        return images

    def uploaded(self) -> None:
        """Nothing to wait for."""

    def download(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features, in memory of their own."""
        return _alone(features)

    def mark(self) -> float:
        """Return the time now, in seconds."""
        return time.perf_counter()

    def landing(self) -> float:
        """Return the time now, in seconds."""
        return time.perf_counter()

    def arrived(self, mark: float) -> None:
        """Nothing to wait for."""

    def seconds(self, start: float, end: float) -> float:
        """Return the seconds in between."""
        return end - start

    def clear(self) -> None:
        """Nothing to give back."""


class CudaLane:
    """The way to a GPU: images come, and features go, on streams of their own while the device computes."""

    _spare: ClassVar[dict[torch.device, list[tuple[Any, Any, Any]]]] = {}

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @contextmanager
    def used(self) -> Iterator[None]:
        """Compute on the stream of this lane, after what was launched before: the weights may still be coming.

        The streams are used again: for each that has multiplied, cuBLAS keeps some of the device's memory.
        """
        spare = self._spare.setdefault(self._device, [])
        cuda: Any = torch.cuda  # torch has no types for streams and events
        streams = spare.pop() if spare else tuple(cuda.Stream(self._device) for _ in range(3))
        self._coming, self._compute, self._going = streams
        before = torch.cuda.current_stream(self._device)
        self._compute.wait_stream(before)
        try:
            with torch.cuda.device(self._device), torch.cuda.stream(self._compute):
                yield
        finally:
            before.wait_stream(self._compute)
            spare.append(streams)

    def upload(self, images: torch.Tensor) -> torch.Tensor:
        """Copy from pinned memory, through some of torch's own where the images are in none."""
        with torch.cuda.stream(self._coming):
            pinned = images if images.is_pinned() else images.pin_memory()
            there = pinned.to(self._device, non_blocking=True)
        self._compute.wait_stream(self._coming)
        there.record_stream(self._compute)  # its memory belongs to the other stream
        return there

    def uploaded(self) -> None:
        """Wait for the copies alone; the device goes on computing."""
        self._coming.synchronize()

    def download(self, features: torch.Tensor) -> torch.Tensor:
        """Copy into pinned memory, unless the model has brought them to the CPU itself."""
        if features.device.type == "cpu":
            return _alone(features)
        here = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
        self._going.wait_stream(self._compute)
        with torch.cuda.stream(self._going):
            here.copy_(features, non_blocking=True)
        features.record_stream(self._going)
        return here

    def mark(self) -> Any:
        """Return an event of the stream that computes."""
        return _recorded(self._compute)

    def landing(self) -> Any:
        """Return an event of the stream that brings features back."""
        return _recorded(self._going)

    def arrived(self, mark: torch.cuda.Event) -> None:
        """Wait for the event."""
        mark.synchronize()

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Return the seconds between two events, in the device's own time."""
        return float(start.elapsed_time(end)) / 1000

    def clear(self) -> None:
        """Empty torch's cache of the device, once the streams are done."""
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()


@contextmanager
def pinned(memory: torch.Tensor, kind: str) -> Iterator[None]:
    """Pin memory for the time of the context, so that devices of a kind ("cuda") copy from it while they compute.

    Where that is not possible, copies go through pinned memory of torch's own.
    """
    if kind != "cuda":
        yield
        return
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    done = int(runtime.cudaHostRegister(memory.data_ptr(), memory.nbytes, PORTABLE)) == 0
    try:
        yield
    finally:
        if done:
            runtime.cudaHostUnregister(memory.data_ptr())


def _alone(features: torch.Tensor) -> torch.Tensor:
    """Return features; a part of something larger (tokens, the images themselves) is copied out of it."""
    found = features.contiguous()
    whole = found.untyped_storage().nbytes() == found.numel() * found.element_size()
    return found if whole else found.clone()


def _recorded(stream: Any) -> Any:
    event: Any = torch.cuda.Event
    recorded = event(enable_timing=True)
    recorded.record(stream)
    return recorded
