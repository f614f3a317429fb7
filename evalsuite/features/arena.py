"""Memory that decoding processes share with the one that encodes, whatever the batch size: one file without a name.

It needs one descriptor and nothing of /dev/shm, which containers keep small. Its size is set once the first samples
have been seen; each process then maps it.
"""

from __future__ import annotations

import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import JobError
from evalsuite.memory import available_memory
from evalsuite.text import counted

SHARE = 4
"""An arena takes at most this part of the memory that is free, and of the disk where it is a file there."""

ALIGNMENT = 64
"""Bytes to a multiple of which everything begins: a line of a processor's cache."""

SHAREABLE = sys.platform != "win32"
"""Whether a file without a name can be handed to another process; where not, the process that encodes decodes."""

FEWEST_SLOTS = 2
"""One batch is filled while another is encoded."""


@dataclass(frozen=True)
class Form:
    """What one preprocessed sample is: (channels, height, width) and numpy's name of the type. room: bytes for each."""

    shape: tuple[int, ...]
    dtype: str
    room: int

    @classmethod
    def of(cls, image: NDArray[Any]) -> Form:
        """Return the form of an image, with room for itself."""
        return cls(image.shape, image.dtype.str, image.nbytes)

    @property
    def nbytes(self) -> int:
        """Bytes of one image."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Layout:
    """Where things lie: a header, then `slots`; in each, `rows` samples of each form, one form after the other."""

    forms: tuple[Form, ...]
    rows: int
    slots: int = FEWEST_SLOTS

    @property
    def slot_bytes(self) -> int:
        """Size of the memory of one batch."""
        return sum(aligned(self.rows * form.room) for form in self.forms)

    @property
    def size(self) -> int:
        """Size of everything."""
        return ALIGNMENT + self.slots * self.slot_bytes

    def start(self, slot: int, number: int, row: int = 0) -> int:
        """Return where the sample `row` of a slot begins, in the form `number`."""
        before = sum(aligned(self.rows * form.room) for form in self.forms[:number])
        return ALIGNMENT + slot * self.slot_bytes + before + row * self.forms[number].room


class Arena:
    """The memory of one image pass. Its first byte is 0 as long as samples are wanted."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = _nameless_file() if descriptor is None else descriptor
        self._memory: mmap.mmap | None = None

    def __reduce__(self) -> tuple[Callable[[Any], Arena], tuple[Any]]:
        from multiprocessing.reduction import DupFd  # not on Windows

        return _received, (DupFd(self._descriptor),)

    def reserve(self, size: int) -> None:
        """Take the memory now: where there is none, that is a JobError here and no signal in the middle of the work."""
        try:
            os.ftruncate(self._descriptor, size)
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(self._descriptor, 0, size)
        except OSError as error:
            raise JobError(
                f"{size / 1e6:,.0f} MB of memory for images cannot be taken ({error.strerror}): use a smaller "
                "--batch-size, or --workers 0."
            ) from error

    def memory(self) -> mmap.mmap:
        """Return the memory, mapped into this process."""
        if self._memory is None:
            self._memory = mmap.mmap(self._descriptor, 0)
        return self._memory

    def stop(self) -> None:
        """Tell all processes that no more samples are wanted."""
        if self._memory is not None:
            self._memory[0] = 1

    def close(self) -> None:
        """Close the file; what is mapped stays until nothing refers to it."""
        os.close(self._descriptor)


def aligned(size: int) -> int:
    """Return the next multiple of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def fitting(layout: Layout, wanted: int) -> Layout:
    """Return the layout with as many slots as are wanted and the machine has memory for.

    Raises JobError where it has not even enough for two batches.
    """
    free = _free_bytes()
    slots = min(wanted, free // SHARE // layout.slot_bytes)
    if slots < FEWEST_SLOTS and FEWEST_SLOTS * layout.slot_bytes > free:
        raise JobError(
            f"{counted(FEWEST_SLOTS, 'batch')} of {counted(layout.rows, 'image')} take "
            f"{FEWEST_SLOTS * layout.slot_bytes / 1e6:,.0f} MB of memory, and {free / 1e6:,.0f} MB are free: use a "
            "smaller --batch-size, or --workers 0."
        )
    return Layout(layout.forms, layout.rows, max(slots, FEWEST_SLOTS))


def _received(duplicate: Any) -> Arena:
    return Arena(duplicate.detach())


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("evalsuite")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _free_bytes() -> int:
    free = available_memory()
    return free if hasattr(os, "memfd_create") else min(free, shutil.disk_usage(tempfile.gettempdir()).free)
