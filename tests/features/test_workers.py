"""Batches that several processes make: the same bits, few descriptors, little memory, and an end in every case."""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import SemLock
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from evalsuite.data.base import LoadedSample, Pool
from evalsuite.errors import DataError, JobError, MissingExtraError, ModelError
from evalsuite.features import arena
from evalsuite.features.batches import MOST_WORKERS, Batch, read_batches
from evalsuite.features.samples import Unreadable
from evalsuite.threads import threads
from tests.models_for_tests import array_pool

NORMALIZED = transforms.Compose(
    [transforms.CenterCrop(8), transforms.ToTensor(), transforms.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))]
)


def own(image: Image.Image) -> torch.Tensor:
    """Do what nobody can take apart."""
    return torch.from_numpy(np.asarray(image.convert("RGB").resize((4, 5)), np.float32)).permute(2, 0, 1) / 3


def with_reader(read: object, n: int) -> Pool:
    return Pool(**{**vars(array_pool(n)), "read": read})


class Reader:
    """Pictures of random pixels; what else a row does, subclasses say."""

    def __call__(self, row: int) -> LoadedSample:
        """Make a picture, the same for each row every time."""
        size = self.size(row)
        pixels = np.random.default_rng(row).integers(0, 256, (*size, 3), dtype=np.uint8)
        return LoadedSample(self.image(row, Image.fromarray(pixels)), pixels.tobytes())

    def size(self, row: int) -> tuple[int, int]:
        """Return height and width."""
        return 8, 8

    def image(self, row: int, image: Image.Image) -> Image.Image:
        """Return the picture, or another."""
        return image


class Sizes(Reader):
    """Every fifth is larger than all before."""

    def size(self, row: int) -> tuple[int, int]:
        return (8 + row, 9) if row % 5 == 4 else (8, 8)


class Depths(Reader):
    """Every seventh is grey with 32 bits."""

    def image(self, row: int, image: Image.Image) -> Image.Image:
        return image.convert("I") if row % 7 == 6 else image


class Failing(Reader):
    """Each eleventh cannot be read; the others are those of another reader."""

    def __init__(self, other: Reader) -> None:
        self.other = other

    def __call__(self, row: int) -> LoadedSample:
        if row % 11 == 0 and row % 55:
            raise DataError(f"row {row}")
        return self.other(row)


class Mortal(Reader):
    """Row 40 ends the process."""

    def __init__(self, how: int) -> None:
        self.how = how

    def image(self, row: int, image: Image.Image) -> Image.Image:
        if row == 40:
            faulthandler.disable()  # pytest's, which would say where it was
            os.kill(os.getpid(), self.how)
        return image


class Exiting(Reader):
    def image(self, row: int, image: Image.Image) -> Image.Image:
        if row == 40:
            os._exit(3)
        return image


class Lacking(Reader):
    def image(self, row: int, image: Image.Image) -> Image.Image:
        raise MissingExtraError("av", "video", "Reading frames of videos")


def read(
    pool: Pool,
    preprocess: object = NORMALIZED,
    *,
    workers: int,
    batch_size: int = 24,
    more: tuple[object, ...] = (),
    unreadable: list[Unreadable] | None = None,
) -> list[tuple[list[Batch], ...]]:
    """Read a pool and never release a batch."""
    report = (unreadable if unreadable is not None else []).append
    preprocesses = (preprocess, *more)
    rows = range(len(pool))
    return list(
        read_batches(pool, rows, preprocesses, batch_size=batch_size, workers=workers, on_unreadable=report)  # type: ignore[arg-type]
    )


def finished(batch: Batch) -> torch.Tensor:
    return batch.images if batch.finish is None else batch.finish(batch.images)


def assert_equal(found: list[tuple[list[Batch], ...]], expected: list[tuple[list[Batch], ...]]) -> None:
    assert len(found) == len(expected)
    for parts, wanted in zip(found, expected, strict=True):
        for batches, others in zip(parts, wanted, strict=True):
            assert [(batch.rows, batch.stamps) for batch in batches] == [(item.rows, item.stamps) for item in others]
            for batch, other in zip(batches, others, strict=True):
                assert torch.equal(finished(batch), finished(other))


@pytest.mark.parametrize("reader", [Reader(), Sizes(), Depths()])
def test_processes_make_the_batches_that_one_process_makes(reader: Reader) -> None:
    pool = with_reader(reader, 100)
    whole = transforms.Compose([transforms.ToTensor()])
    expected = read(pool, whole, workers=0, more=(own,))
    assert_equal(read(pool, whole, workers=2, more=(own,)), expected)
    by_hand = [whole(pool.read(row).image) for row in expected[0][0][0].rows]
    assert torch.equal(finished(expected[0][0][0]), torch.stack(by_hand))


@pytest.mark.parametrize("reader", [Reader(), Sizes(), Depths()])
def test_threads_make_the_batches_that_one_thread_makes(reader: Reader) -> None:
    pool, whole = with_reader(Failing(reader), 70), transforms.Compose([transforms.ToTensor()])
    cut = transforms.Compose([transforms.CenterCrop(6), transforms.ToTensor()])
    found: list[list[tuple[list[Batch], ...]]] = []
    told: list[list[Unreadable]] = [[], []]
    for count, unreadable in zip((1, 3), told, strict=True):
        with threads(count):
            found.append(read(pool, whole, workers=0, more=(cut,), unreadable=unreadable))
    assert_equal(found[1], found[0])
    assert told[0] == told[1] and [item.identifier for item in told[0]] == [
        pool.ids[row] for row in (11, 22, 33, 44, 66)
    ]


def test_readers_and_functions_of_a_persons_own_are_called_in_one_thread() -> None:
    callers: dict[str, set[int]] = {"read": set(), "preprocess": set()}

    class Noted(Reader):
        def image(self, row: int, image: Image.Image) -> Image.Image:
            callers["read"].add(threading.get_ident())
            return image

    def noted(image: Image.Image) -> torch.Tensor:
        callers["preprocess"].add(threading.get_ident())
        return own(image)

    with threads(3):
        read(with_reader(Noted(), 30), workers=0)
        read(with_reader(Noted(), 30), noted, workers=0)
    assert callers == {"read": {threading.get_ident()}, "preprocess": {threading.get_ident()}}


def test_unreadable_samples_are_left_out_and_told_in_order() -> None:
    pool = array_pool(100, broken={3, 30, 31, 99})
    told: list[Unreadable] = []
    found = read(pool, workers=2, unreadable=told)
    assert [item.identifier for item in told] == ["00000003", "00000030", "00000031", "00000099"]
    assert_equal(found, read(pool, workers=0))


def test_a_pool_of_which_nothing_can_be_read_gives_no_batch() -> None:
    told: list[Unreadable] = []
    assert read(array_pool(30, broken=set(range(30))), workers=2, unreadable=told) == [([],), ([],)]
    assert len(told) == 30


def test_memory_is_used_again_only_after_it_was_released() -> None:
    pool = array_pool(400)
    expected = [batch for (batches,) in read(pool, workers=0, batch_size=20) for batch in batches]
    places, held = set(), []
    batches = read_batches(pool, range(400), [NORMALIZED], batch_size=20, workers=2, on_unreadable=print, ahead=3)
    for number, ((batch,),) in enumerate(batches):
        held.append((batch, expected[number]))
        places.add(batch.images.data_ptr())
        if len(held) == 3:
            for kept, wanted in held:
                assert torch.equal(kept.images, wanted.images)
                kept.release()
            held.clear()
    assert len(places) < len(expected)


def test_a_batch_is_bytes_in_shared_memory_and_no_copy() -> None:
    batches = read_batches(array_pool(60), range(60), [NORMALIZED], batch_size=20, workers=2, on_unreadable=print)
    ((first,),) = next(batches)
    assert first.images.dtype == torch.uint8 and first.images.is_contiguous()
    assert first.images.untyped_storage().nbytes() > first.images.nbytes
    batches.close()


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (Mortal(signal.SIGKILL), "SIGKILL.*memory runs out.*--workers"),
        (Mortal(signal.SIGBUS), "SIGBUS.*no memory"),
        (Mortal(signal.SIGSEGV), "SIGSEGV.*--workers 0"),
        (Exiting(), "exit code 3"),
    ],
)
def test_a_process_that_dies_is_an_error_that_says_so(reader: Reader, said: str) -> None:
    with pytest.raises(JobError, match=f"pool 'train' .*{said}"):
        read(with_reader(reader, 100), workers=2)
    assert not multiprocessing.active_children()


def fork_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse a third process."""
    left, fork = iter(range(2)), os.fork

    def refused() -> int:
        if next(left, None) is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    monkeypatch.setattr(os, "fork", refused)


def no_semaphores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill /dev/shm."""
    monkeypatch.setattr(SemLock, "__init__", raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))


def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes have been started, and nothing else."""
    monkeypatch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))


def raising(error: Exception) -> Callable[..., None]:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise error

    return refuse


FORKS = multiprocessing.get_all_start_methods()[0] == "fork"


@pytest.mark.skipif(not FORKS, reason="refuses a fork")
@pytest.mark.parametrize("refuse", [fork_twice, no_semaphores, no_threads])
def test_processes_that_cannot_be_started_are_an_error_and_leave_none(
    monkeypatch: pytest.MonkeyPatch, refuse: Callable[[pytest.MonkeyPatch], None]
) -> None:
    refuse(monkeypatch)
    with pytest.raises(JobError, match=r"pool 'train' cannot be started \(.*\): use fewer --workers, or --workers 0"):
        read(array_pool(200), workers=4)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not FORKS, reason="the processes must have what is changed here")
def test_a_process_that_cannot_begin_is_told_by_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.features.workers.gc.freeze", raising(ImportError("no such module")))
    with pytest.raises(JobError, match="what it said is above"):
        read(array_pool(200), workers=2)


def test_a_process_that_dies_before_it_is_given_the_samples_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.features.workers.start_method", lambda: "spawn")
    dying = [sys.executable, "-S", "-c", "raise SystemExit(3)"]
    monkeypatch.setattr("multiprocessing.spawn.get_command_line", lambda **keywords: dying)
    with pytest.raises(JobError, match=r"exit code 3|cannot be started \(.*Broken pipe"):
        read(array_pool(4000), workers=1)  # more than a pipe holds
    assert not multiprocessing.active_children()


def test_a_process_that_may_have_no_children_decodes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(array_pool(60), workers=0)
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    assert_equal(read(array_pool(60), workers=2), expected)


def fails(image: Image.Image) -> torch.Tensor:
    raise ZeroDivisionError("of mine")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_preprocessing_that_fails_is_named_with_the_image_and_the_line(workers: int) -> None:
    with pytest.raises(ModelError, match=rf"'00000000' \(RGB, 8 x 8\): ZeroDivisionError: of mine \(at {__file__}"):
        read(array_pool(5), fails, workers=workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_preprocessing_of_other_channels_is_named_with_the_image(workers: int) -> None:
    of_colours = transforms.Normalize([0.5] * 3, [0.2] * 3)
    grey = transforms.Compose([transforms.Grayscale(), transforms.ToTensor(), of_colours])
    with pytest.raises(ModelError, match=r"'00000000' \(RGB, 8 x 8\): RuntimeError: .*shape"):
        read(array_pool(5), grey, workers=workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_preprocessing_that_gives_no_tensor_is_an_error(workers: int) -> None:
    with pytest.raises(ModelError, match="gave Image; it must give"):
        read(array_pool(5), lambda image: image, workers=workers)


def test_what_a_process_lacks_is_told() -> None:
    with pytest.raises(MissingExtraError, match=r"evalsuite\[video\]"):
        read(with_reader(Lacking(), 5), workers=1)


def test_fewer_batches_are_read_ahead_where_memory_is_small(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = array_pool(100)
    monkeypatch.setattr(arena, "available_memory", lambda: 3 * arena.SHARE * 20 * 3 * 8 * 8)
    assert_equal(read(pool, workers=2, batch_size=20), read(pool, workers=0, batch_size=20))
    assert re.search(r"memory for 2 batches of 20 images|memory for 3 batches of 20 images", caplog.text)


def test_where_two_batches_have_no_room_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "available_memory", lambda: 20 * 3 * 8 * 8)
    with pytest.raises(JobError, match=r"2 batches of 20 images .* smaller --batch-size"):
        read(array_pool(100), workers=2, batch_size=20)


def test_random_states_stay() -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]

    before = states()
    read(array_pool(40), workers=0)
    read(array_pool(40), workers=2)
    assert states() == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts the descriptors in /proc")
def test_the_largest_pass_takes_few_descriptors_whatever_the_batch_size(few_descriptors: None) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before, most, images = count(), 0, 0
    held = []
    pool = with_reader(Reader(), 1024)
    for ((batch,),) in read_batches(
        pool, range(1024), [NORMALIZED], batch_size=256, workers=MOST_WORKERS, on_unreadable=print
    ):
        most = max(most, count() - before)
        images += len(batch.rows)
        held.append(batch)
    assert images == 1024 and most <= 64
    assert count() <= before + 1  # the memory, which batches are still views of


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Allow 256 descriptors, as some systems do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not FORKS, reason="the processes must be children of the one that is killed")
def test_processes_end_when_the_one_that_started_them_is_killed() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # ends here, in every case
        try:
            pool = with_reader(Reader(), 4000)
            batches = read_batches(pool, range(4000), [NORMALIZED], batch_size=8, workers=3, on_unreadable=print)
            next(batches)
            os.write(writing, b"%d" % len(multiprocessing.active_children()))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - it is a descriptor
        assert pipe.read() == b"3"  # at its end when the last process that has it is gone
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


CLONE_NEWNS = 0x00020000
"""Linux: mounts of one's own (linux/sched.h)."""


def large(image: Image.Image) -> torch.Tensor:
    """Make 600 kB of float32."""
    return torch.from_numpy(np.asarray(image.resize((224, 224)), np.float32)).permute(2, 0, 1) / 255


def with_small_shared_memory() -> int:
    """Return how many images the largest pass reads with 64 MB of /dev/shm and 256 descriptors; 0: it may not mount."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS):
        return 0
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", "/dev/shm"]
    if subprocess.run(mount, capture_output=True).returncode:
        return 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    pool, found = with_reader(Reader(), 600), 0
    for ((batch,),) in read_batches(
        pool, range(600), [large], batch_size=256, workers=MOST_WORKERS, on_unreadable=print
    ):
        found += len(batch.rows)
        batch.release()
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a /dev/shm")
def test_the_sizes_of_a_gpu_need_little_shared_memory_and_few_descriptors() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as own_mounts:
        found = own_mounts.submit(with_small_shared_memory).result(timeout=300)
    if not found:
        pytest.skip("only root may give a process a /dev/shm of its own")
    assert found == 600


class Growing(Reader):
    """As many sizes as there are rows, all of them smaller than the last."""

    def size(self, row: int) -> tuple[int, int]:
        return 3 + row // 50, 5


def test_batches_of_one_size_are_whole_where_others_are_larger() -> None:
    pool = with_reader(Growing(), 300)
    whole = transforms.Compose([transforms.ToTensor()])
    found = read(pool, whole, workers=2, batch_size=25, more=(small,))
    assert_equal(found, read(pool, whole, workers=0, batch_size=25, more=(small,)))
    assert all(batch.images.is_contiguous() for parts in found for batches in parts for batch in batches)


def small(image: Image.Image) -> torch.Tensor:
    """Keep the size, in float32."""
    return torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)
