"""Bounds of images, archives and patterns: what is made to take all memory, disk or time is refused in a message."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evalsuite.data import open_task
from evalsuite.data.decoding import Bounds, check_bounds, decode_image
from evalsuite.data.download import unpacking
from evalsuite.data.download.unpacking import unpack
from evalsuite.data.patterns import first_groups
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError, SpecError
from evalsuite.tasks.index import TaskIndex
from evalsuite.tasks.spec import TaskSpec
from tests.archives import tar_of, zip_of
from tests.datasets import jpeg_of_scans, write_folder_task


def png(width: int, height: int) -> bytes:
    """Return a black PNG."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(((width + 7) // 8 + 1) * height))),
        (b"IEND", b""),
    )
    parts = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(13_300, 13_300), (8_193, 8_193)])
def test_too_many_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"'a' has [\d,]+ x [\d,]+ pixels, more than `max_pixels`: 67,108,864"):
        decode_image(png(*size), "a")


def test_a_jpeg_that_goes_over_its_pixels_again_and_again() -> None:
    content = jpeg_of_scans(4_000, 2_000)
    with pytest.raises(DataError, match=r"'a' cannot be decoded \(it has more than 100 scans"):
        decode_image(content, "a")
    with pytest.raises(DataError, match="'a' has more than 100 scans"):
        check_bounds(content, "a", "", Bounds())
    behind = jpeg_of_scans(4_000, 0) + b"\xff\xda" * 500_000  # behind the end, where cameras put films
    assert decode_image(behind, "a").size == (4_000, 4_000)
    assert decode_image(jpeg_of_scans(100, 2_000), "a").size == (100, 100)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (10, 1_001)])
def test_a_shape_that_resizing_would_blow_up(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"longer than `max_aspect` times its other side: 100"):
        decode_image(png(*size), "a")
    assert decode_image(png(*size), "a", bounds=Bounds(aspect=60_000)).size == size


def test_a_task_file_may_raise_the_bounds(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path, train=1, test=1, size=8)
    (tmp_path / "test/red/000.png").write_bytes(png(4, 800))
    row = ["blue/000.png", "green/000.png", "red/000.png"].index("red/000.png")
    text = task.read_text("utf-8")
    for more, fits in (("", False), ("max_aspect: 200\n", True), ("max_aspect: 200\nmax_pixels: 3000\n", False)):
        task.write_text(text + more, "utf-8")
        read = open_task(TaskIndex().load(str(task)), DataPlace(tmp_path)).open_pool("test").read
        if fits:
            assert read(row).image.size == (4, 800)
        else:
            with pytest.raises(DataError, match="max_"):
                read(row)


@pytest.mark.parametrize(
    ("values", "form", "refused"),
    [
        (np.array([[0.0, 1.0]], np.float32), "TIFF", "from 0 to 1"),
        (np.array([[0.0, 1.0]], np.float32), "PPM", "from 0 to 1"),
        (np.array([[0.0, np.nan]], np.float32), "TIFF", "no numbers"),
        (np.array([[0.0, 200.0, np.nan, 100.0]], np.float32), "TIFF", "no numbers"),
        (np.array([[0.0, 255.0]], np.float32), "TIFF", ""),
        (np.array([[0.0, 255.0]], np.float32), "PPM", ""),
        (np.array([[-1.0, 9.0]], np.float32), "TIFF", "from -1 to 9"),
        (np.array([[0, 255]], np.int32), "TIFF", "from 0 to 255"),
        (np.array([[0, 1 << 20]], np.int32), "TIFF", "from 0 to 1.04858e"),
        (np.array([[0, 40_000]], np.int32), "TIFF", ""),
        (np.array([[0, 1]], np.int32), "PPM", ""),
    ],
)
def test_32_bit_images_that_would_turn_black(values: np.ndarray, form: str, refused: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(values, 2, 0)).save(buffer, form)
    if refused:
        with pytest.raises(DataError, match=f"{refused}.*would turn black"):
            decode_image(buffer.getvalue(), "a")
    else:
        assert decode_image(buffer.getvalue(), "a").getextrema() == (values.min(), values.max())


def test_what_is_no_file(make_task: Callable[..., TaskSpec], tmp_path: Path) -> None:
    task = write_folder_task(tmp_path, train=1, test=1, size=8)
    (tmp_path / "test/red/000.png").unlink()
    os.mkfifo(tmp_path / "test/red/000.png")
    with pytest.raises(DataError, match=r"'red/000\.png'.* is no file, but a pipe"):
        open_task(TaskIndex().load(str(task)), DataPlace(tmp_path)).open_pool("test")


def test_a_sample_without_end(tmp_path: Path) -> None:
    task = write_folder_task(tmp_path, train=1, test=1, size=8)
    os.truncate(tmp_path / "test/red/000.png", 40 << 30)
    with pytest.raises(DataError, match="larger than 512 MB"):
        open_task(TaskIndex().load(str(task)), DataPlace(tmp_path)).open_pool("test").read(2)


BOMB = bytes(3 << 20)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.gz", lambda: gzip.compress(BOMB)),
        ("a.zip", lambda: zip_of({"a": BOMB})),
        ("a.tar.gz", lambda: gzip.compress(tar_of({"a": BOMB}))),
        ("a.tar.xz", lambda: tar_of({"a": BOMB}, "w:xz")),
    ],
)
def test_an_archive_that_unpacks_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[], bytes]
) -> None:
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 1 << 20)
    (tmp_path / name).write_bytes(make())
    with pytest.raises(DataMissingError, match=r"unpacks to more than 100 times its size.*`unpacked`"):
        unpack(tmp_path / name, tmp_path / "first")
    assert sum(path.stat().st_size for path in (tmp_path / "first").rglob("*")) <= 1 << 20
    unpack(tmp_path / name, tmp_path / "second", unpacked=len(BOMB))
    with pytest.raises(DataMissingError, match="than `unpacked` in the task file says"):
        unpack(tmp_path / name, tmp_path / "third", unpacked=len(BOMB) - 1)


def test_an_archive_that_the_disk_has_no_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of({"a": bytes(1_000)}))
    usage = type("Usage", (), {"free": 999})
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataMissingError, match=r"needs 1,000 bytes more, and 999 are free"):
        unpack(tmp_path / "a.zip", tmp_path / "new")


@pytest.mark.parametrize("expression", ["((a*)*)*$", "(a|a)*$", "(.*.*.*.*.*.*.*.*b)"])
def test_a_pattern_that_takes_for_ever(monkeypatch: pytest.MonkeyPatch, expression: str) -> None:
    monkeypatch.setattr("evalsuite.data.patterns.SECONDS", 0.05)
    with pytest.raises((SpecError, DataError), match=r"takes too long|does not match"):
        first_groups(expression, ["a" * 5_000 + "!"], "folder x", "label")


def test_patterns_that_are_none() -> None:
    for expression, why in (
        ("(", "no regular expression"),
        ("a", "pair of parentheses"),
        ("(a)" * 400, "1,200 letters"),
    ):
        with pytest.raises(SpecError, match=f"folder x: `label`.* {why}"):
            first_groups(expression, ["a"], "folder x", "label")
    assert first_groups(r"(\w+)/", ["ab/c", "d/e"], "folder x", "label") == ["ab", "d"]
