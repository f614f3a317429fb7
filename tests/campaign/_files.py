"""Hostile files, each with a command that meets it: images, archives, task files, checkpoints, models, class names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, PngImagePlugin

from tests.archives import tar_entry, tar_of, zip_of
from tests.datasets import jpeg_of_scans, write_folder_task

Build = Callable[[Path], Sequence[Any]]
"""Writes files into a folder and returns the arguments of the command line that meets them."""

Content = bytes | Callable[[], bytes]
"""Large ones are made when they are needed."""

GOOD, REFUSED = (0,), (1, 2)
EITHER = (0, 1, 2)


@dataclass(frozen=True)
class Case:
    """A hostile file. codes: the exit codes that are right. said: what the output must have. kept: it must not have."""

    name: str
    build: Build
    codes: tuple[int, ...] = REFUSED
    said: str = ""
    unsaid: str = ""


def cases() -> Iterator[Case]:
    """Yield all cases."""
    for group in (
        _image_cases,
        _archive_cases,
        _yaml_cases,
        _source_cases,
    ):
        yield from group()


# --- images: one of the test images of a small task is replaced


def _image_cases() -> Iterator[Case]:
    for name, content in _images().items():
        codes = GOOD if name.startswith("good ") else REFUSED
        yield Case(f"image: {name}", _replacing(content), codes)
    for name, replace in {
        "a folder": lambda path: path.mkdir(), "a pipe": os.mkfifo,
        "a dangling link": lambda path: path.symlink_to("no"),
        "a link to itself": lambda path: path.symlink_to(path), "a device": lambda path: path.symlink_to("/dev/zero"),
        "sparse": lambda path: (path.touch(), os.truncate(path, 40 << 30)),
    }.items():  # fmt: skip
        yield Case(f"image: {name}", _in_place_of_one(replace), EITHER if name == "a folder" else REFUSED)


def _replacing(content: Content) -> Build:
    return _in_place_of_one(lambda path: path.write_bytes(content() if callable(content) else content))


def _in_place_of_one(replace: Callable[[Path], object]) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        task = write_folder_task(folder, train=3, test=1, size=8)
        path = folder / "test/red/000.png"
        path.unlink()
        replace(path)
        return ["run", "-m", "pixels", "--protocol", "linear_probe", "-t", task, "-o", folder / "out"]

    return build


def _images() -> dict[str, Content]:
    return {
        "13,300 x 13,300": lambda: _png(13_300, 13_300), "100,000 x 100,000": lambda: _png(100_000, 100_000),
        "1 x 60,000": lambda: _png(1, 60_000), "a thousand scans": lambda: jpeg_of_scans(8_000, 1_000),
        "60,000 x 1": lambda: _png(60_000, 1), "8,000 x 8,400": lambda: _png(8_000, 8_400),
        "bmp of 30,000": _bmp(30_000, 30_000),
        "empty": b"", "text": b"no image at all", "html": b"<html><body>404</body></html>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "cut": _png(8, 8)[:40],
        "postscript": b"%!PS-Adobe-3.0\n(%pipe%id) (r) file\n", "no pixels": _png(0, 0), "zeros": bytes(100),
        "gzip": gzip.compress(_png(8, 8)), "png of noise": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "zip": zip_of({"a": b"b"}),
        "text that unpacks": lambda: _png_text(300 << 20),
        "gif of 60,000": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(99),
        "float": _saved(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF"),
        "ico with a large png": lambda: _ico(20_000),
        "32 bits": _saved(Image.fromarray(np.full((8, 8), 1 << 20, np.int32)), "TIFF"), "pdf": b"%PDF-1.4\n%%EOF",
        "nan": _saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "elf": b"\x7fELF" + bytes(90),
        "good 16 bits": _saved(Image.fromarray(np.full((40, 40), 40_000, np.uint16)), "PNG"),
        "jpeg head": b"\xff\xd8\xff\xe0",
        "good rgba": _saved(Image.new("RGBA", (8, 8), (9, 9, 9, 9)), "PNG"),
        "good palette": _saved(Image.new("P", (8, 8)), "GIF"),
        "good 8,000 x 8,000": lambda: _png(8_000, 8_000), "good 40 x 4,000": _png(40, 4_000),
        "good cmyk": _saved(Image.new("CMYK", (8, 8)), "JPEG"),
    }  # fmt: skip


def _png(width: int, height: int) -> bytes:
    """Return a black grey-scale PNG, a thousand times smaller than its pixels."""
    pack = zlib.compressobj(9)
    row = bytes(width + 1)
    data = [pack.compress(row) for _ in range(height if width * height < 1 << 30 else 1)]
    body = b"".join(data) + pack.flush()
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            (b"IDAT", body),
            (b"IEND", b""),
        )
    )


def _png_text(size: int) -> bytes:
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add(b"zTXt", b"history\0\0" + zlib.compress(bytes(size)))
    Image.new("L", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(64)


def _ico(side: int) -> bytes:
    png = _png(side, side)
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(png), 22) + png


def _saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


# --- archives: brought by hand, checked and unpacked by `download`


def _archive_cases() -> Iterator[Case]:
    for name, (file, content) in _archives().items():
        yield Case(f"archive: {name}", _unpacking(file, content), GOOD if name.startswith("good ") else REFUSED)


def _unpacking(file: str, content: Content) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "root").mkdir()
        (folder / "root" / file).write_bytes(content() if callable(content) else content)
        remote = {"url": f"http://127.0.0.1:9/{file}", "unpack": True, "makes": ["made"]}
        source = {"kind": "folder", "path": "made", "pools": {"train": "train", "test": "test"}, "files": [remote]}
        return ["download", _task(folder, source), "--offline", "--data-root", folder / "root"]

    return build


def _archives() -> dict[str, tuple[str, Content]]:
    bomb = bytes(70 << 20)
    linked = [tar_entry("made", tarfile.SYMTYPE, "/tmp")]
    return {
        "gz of 1,000 : 1": ("a.gz", lambda: gzip.compress(bomb)),
        "zip of 1,000 : 1": ("a.zip", lambda: zip_of({"made/a": bomb})),
        "tar.gz of 1,000 : 1": ("a.tar.gz", lambda: gzip.compress(tar_of({"made/a": bomb}))),
        "not an archive": ("a.zip", b"no"),
        "tar.xz of 7,000 : 1": ("a.tar.xz", lambda: lzma.compress(tar_of({"made/a": bomb}))), "empty": ("a.tar", b""),
        "tar.bz2 of 10,000 : 1": ("a.tar.bz2", lambda: bz2.compress(tar_of({"made/a": bomb}))),
        "zip with bzip2": ("a.zip", _bzip2_zip()), "zip that leads out": ("a.zip", zip_of({"../out": b"1"})),
        "zip with an absolute name": ("a.zip", zip_of({"/tmp/out": b"1"})),
        "zip with a link": ("a.zip", zip_of({}, {"made": "/etc"})),
        "zip with a drive": ("a.zip", zip_of({"C:\\out": b"1"})),
        "tar that leads out": ("a.tar", tar_of({"../out": b"1"})),
        "tar with an absolute name": ("a.tar", tar_of({"/tmp/out": b"1"})),
        "tar with a link": ("a.tar", tar_of({"made/a": b""}, "w", linked)),
        "tar with a device": ("a.tar", tar_of({}, "w", [tar_entry("made", tarfile.CHRTYPE)])),
        "tar with a pipe": ("a.tar", tar_of({}, "w", [tar_entry("made", tarfile.FIFOTYPE)])),
        "tar with a hard link": ("a.tar", tar_of({}, "w", [tar_entry("made", tarfile.LNKTYPE, "../../etc/passwd")])),
        "tar that is cut": ("a.tar", tar_of({"made/a": bytes(2_000)})[:1_000]),
        "tar of zeros": ("a.tar", bytes(5_000)),
        "gz that is cut": ("a.gz", gzip.compress(bytes(1_000))[:12]), "rar": ("a.rar", b"Rar!\x1a\x07"),
        "html": ("a.zip", b"<html>"),
        "good zip": ("a.zip", zip_of({"made/train/red/a.png": b"1", "made/test/red/a.png": b"1"})),
        "good tar": ("a.tar", tar_of({"made/train/red/a.png": b"1", "made/test/red/a.png": b"1"})),
    }  # fmt: skip


def _bzip2_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("made/a", bytes(1_000_000))
    return buffer.getvalue()


# --- YAML: as a task file, a configuration, prompts, and in a folder of tasks


def _yaml_cases() -> Iterator[Case]:
    for name, text in _yamls().items():
        for how, build in {
            "task": _as_task,
            "config": _as_config,
            "prompts": _as_prompts,
            "folder": _as_folder,
        }.items():
            passed_over = (GOOD, "passed over") if how == "folder" else ()  # no text has two keys of a task
            yield Case(f"yaml: {name} as {how}", build(text), *passed_over)


def _yamls() -> dict[str, str]:
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
    )
    merges = "a: &a {k: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [*a{n - 1 if n else ''}, *a{n - 1 if n else ''}]}}\n" for n in range(30)
    )
    return {
        "billion laughs": laughs, "merges": merges, "itself": "title: &a [*a]", "300,000 lists": "[" * 300_000,
        "100,000 mappings": "{a: " * 100_000, "100,000 dashes": "- " * 100_000 + "a",
        "a million keys": "{" + "a: b," * 10**6 + "}",
        "a date": "title: 2024-13-45", "no int": "title: !!int x", "5,000 digits": f"title: {'9' * 5_000}",
        "code": "a: !!python/object/apply:os.system [id]",
        "a long key": f"{'a' * 400_000}: 1", "null": "title: \"a\\0b\"", "bytes": "a: !!binary ===", "list": "- a",
        "nothing": "",
    }  # fmt: skip


def _as_task(text: str) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "t.yaml").write_text(text)
        return ["validate", "--offline", folder / "t.yaml"]

    return build


def _as_config(text: str) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "c.yaml").write_text(text)
        return ["run", "-C", folder / "c.yaml", "--dry-run"]

    return build


def _as_prompts(text: str) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "p.yaml").write_text(text)
        return ["run", "-m", "pixels", "-t", "digits", "--dry-run", "--prompts", folder / "p.yaml"]

    return build


def _as_folder(text: str) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "tasks").mkdir()
        (folder / "tasks" / "t.yaml").write_text(text)
        return ["ls", "tasks", "--include-path", folder / "tasks"]

    return build


# --- sources that want more than they should have


def _source_cases() -> Iterator[Case]:
    pools = {"train": "train", "test": "test"}
    cifar = {"kind": "torchvision", "path": "x", "pools": {"train": {"train": True}, "test": {"train": False}}}
    secret = {
        "kind": "folder",
        "path": "x",
        "pools": pools,
        "files": [{"url": "http://me:secret@127.0.0.1:9/a.zip", "unpack": True}],
    }
    refused: dict[str, dict[str, Any]] = {
        "lsun": {**cifar, "dataset": "LSUN"}, "vision": {**cifar, "dataset": "VisionDataset"},
        "dunder": {**cifar, "dataset": "__builtins__"}, "out of the root": {**cifar, "dataset": "CIFAR10",
        "path": "../x"},
        "download": {**cifar, "dataset": "CIFAR10", "pools": {"train": {"download": True}, "test": {}}},
        "shards out of the root": {"kind": "webdataset", "path": "../../etc", "pools": pools},
        "shards of the system": {"kind": "webdataset", "path": "x", "pools": {"train": "/etc/*", "test": "/etc/*"}},
        "shards by many walks": {"kind": "webdataset", "path": "x", "pools": {"train": "**/**/**/*", "test": "**"}},
        "split out of the folder": {"kind": "huggingface", "pools": {"train": "../../etc/x", "test": "x"}},
        "folders out": {"kind": "folder", "path": ".", "pools": {"train": "../../etc", "test": "/etc"}},
        "a billion lists": {"kind": "folder", "path": ".", "pools": pools, "lists": {"a{}": {"file": "{}",
        "pool": "train", "count": 10**9}}},
        "a long path": {"kind": "folder", "path": "a" * 5_000, "pools": pools},
    }  # fmt: skip
    for name, source in refused.items():
        yield Case(f"source: {name}", _validating(source))
    written = ["describe", "--output", "pages"]
    for command in (["describe"], written, ["download", "--dry-run"], ["download"], ["validate"], ["ls", "tasks"]):
        yield Case(f"source: a password, {command}", _secret(secret, command), EITHER, unsaid="secret")
    for name, expression in {
        "nested": "((a*)*)*$",
        "alternatives": "(a|a)*$",
        "backreference": r"(.*)\1\1\1\1b",
        "nine": "(.*.*.*.*.*.*.*.*.*)b",
    }.items():
        for key in ("label", "group"):
            yield Case(f"source: {key} by {name}", _matching(key, expression))


def _validating(source: dict[str, Any]) -> Build:
    return lambda folder: ["validate", "--offline", _task(folder, source)]


def _secret(source: dict[str, Any], command: list[str]) -> Build:
    return lambda folder: [*command, _task(folder, source), "--data-root", folder / "root", "--offline"]


def _matching(key: str, expression: str) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        task = write_folder_task(folder, train=1, test=1, size=8)
        for pool in ("train", "test"):
            (folder / pool / "red" / f"{'a' * 200}.png").write_bytes((folder / pool / "red/000.png").read_bytes())
        source = {"kind": "folder", "path": ".", "pools": {"train": "train", "test": "test"}, key: expression}
        return ["validate", "--offline", _task(task.parent, source)]

    return build


def _task(folder: Path, source: dict[str, Any]) -> Path:
    task = {"title": "t", "classes": ["red", "green"], "prompts": {"templates": ["a {}."]}, "sources": [source]}
    path = folder / "hostile.yaml"
    path.write_text(yaml.safe_dump(task))
    return path
