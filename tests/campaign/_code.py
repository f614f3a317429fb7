"""Hostile checkpoints, models that end the program, and classes with names of their own."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.campaign._contained import command, contained
from tests.campaign._files import EITHER, GOOD, REFUSED, Build, Case
from tests.campaign._names import write_records
from tests.datasets import write_folder_task


def cases() -> Iterator[Case]:
    """Yield all cases."""
    for group in (_checkpoint_cases, _model_cases, _class_cases, _json_cases, _store_cases):
        yield from group()


# --- checkpoints


class _Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def _checkpoint_cases() -> Iterator[Case]:
    for name, content in _checkpoints().items():
        for model in ("timm:test_vit@{}", "open_clip:RN50/{}", "timm:resnet10t@{}"):
            yield Case(f"checkpoint: {name} for {model}", _loading(model, content), unsaid="executed it")


def _loading(model: str, content: bytes) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "w.pt").write_bytes(content)
        name = model.format(folder / "w.pt")
        return ["run", "-m", name, "-t", "digits", "--protocol", "linear_probe", "--limit", "20", "-o", folder / "out"]

    return build


def _checkpoints() -> dict[str, bytes]:
    import torch

    def saved(value: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer.getvalue()

    arrays = io.BytesIO()
    np.savez(arrays, a=np.ones(3))
    return {
        "code": pickle.dumps(_Exploit()), "code in torch": saved({"a": torch.ones(1), "b": _Exploit()}),
        "npz": arrays.getvalue(),
        "empty": b"", "html": b"<!DOCTYPE html>", "lfs": b"version https://git-lfs.github.com/spec/v1\n",
        "no weights": saved({"a": 1}),
        "a list": saved([1, 2]), "other weights": saved({"a": torch.ones(3)}),
        "cut": saved({"a": torch.ones(3)})[:200],
        "safetensors of 1 TB": struct.pack("<Q", 1 << 40) + b"{}", "deep pickle": b"\x80\x02" + b"(" * 100_000 + b".",
    }  # fmt: skip


# --- models that end the program


def _model_cases() -> Iterator[Case]:
    for where in ("import", "factory", "preprocess", "encode", "texts", "tokenizer"):
        for what in ("sys.exit(3)", "sys.exit()", "raise SystemExit('bye')", "1 / 0", "raise BaseException('no')"):
            yield Case(f"model: {what} in {where}", _model(where, what), (1,), said="pixels")
    for where, values in ODD.items():
        for what in values:
            yield Case(f"model: {what} from {where}", _model(where, f"return {what}"), EITHER)


ODD = {
    "factory": ("None", "()", "(Net(),)", "(Net(), None)", "[Net(), prepare]", "lambda: 1", "3"),
    "preprocess": ("None", "image", "[1]", "torch.ones(0)", "torch.ones(3, 0, 0)", "torch.ones(3, 8, 8) / 0"),
    "encode": (
        "None", "[]", "{}", "x.sum()", "x.flatten(1)[:1]", "x.flatten(1)[:, :0]", "x.flatten(1).to_sparse()",
        "x.flatten(1) * 1j", "x.flatten(1).numpy()", "x.flatten(1) * float('nan')",
    ),
    "texts": ("None", "[]", "{}", "torch.ones(1, 192)", "torch.ones(len(t), 7)", "torch.ones(len(t), 192, 1)"),
    "tokenizer": ("None", "[[1]]", "{'input_ids': [[1]]}", "torch.ones(1)", "torch.ones(len(texts) + 1, 4)"),
}  # fmt: skip
"""What the functions of a model should not return."""


def _model(where: str, what: str) -> Build:
    def code(place: str) -> str:
        return what if place == where else "pass"

    def build(folder: Path) -> Sequence[Any]:
        (folder / "m.py").write_text(
            f"import sys\nimport torch\n{code('import')}\n"
            f"class Net(torch.nn.Module):\n"
            f"    def forward(self, x):\n        {code('encode')}\n        return x.flatten(1)\n"
            f"    encode_image = forward\n"
            f"    def encode_text(self, t):\n        {code('texts')}\n        return torch.ones(len(t), 192)\n"
            f"def prepare(image):\n    {code('preprocess')}\n    return torch.ones(3, 8, 8)\n"
            f"def tokens(texts):\n    {code('tokenizer')}\n    return torch.ones(len(texts), 4, dtype=torch.long)\n"
            f"def make():\n    {code('factory')}\n    return Net(), prepare, tokens\n"
        )
        task = write_folder_task(folder, train=3, test=1, size=8)
        return ["run", "-m", f"{folder / 'm.py'}:make,pixels", "-t", task, "-o", folder / "out"]

    return build


# --- classes and files with names of their own


def _class_cases() -> Iterator[Case]:
    names: dict[str, tuple[bytes, bytes]] = {
        "no UTF-8": (b"\xff\xfe", b"b"), "control": (b"a\x1b[2J", b"b"), "a line break": (b"a\nb", b"c"),
        "a pipe": (b"a|b", b"c"),
        "a formula": (b"=1+1", b"c"), "html": (b"<b>", b"c"), "long": (b"a" * 200, b"b"),
        "two forms": ("e\u0301".encode(), "\xe9a".encode()),
        "a dot in front": (b"a.b", b"..c"), "a blank": (b" ", b"b"), "a backslash": (b"a\\b", b"c"),
        "braces": (b"{}", b"{0}"),
    }  # fmt: skip
    for name, (first, second) in names.items():
        bad = name in ("no UTF-8", "a blank", "a dot in front")
        yield Case(f"class: {name}", _classes(first, second), EITHER if bad else GOOD)


def _classes(first: bytes, second: bytes) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        keys = [os.fsdecode(first), os.fsdecode(second)]
        for pool in ("train", "test"):
            for shade, key in enumerate(keys):
                (folder / pool / key).mkdir(parents=True)
                for number in range(2):
                    Image.new("L", (8, 8), 200 * shade + number).save(folder / pool / key / f"{number}.png")
        task = {
            "title": "t", "classes": [{"key": key.encode("utf-8", "replace").decode(),
        "names": ["a"]} for key in keys],
            "prompts": {"templates": ["a {}."]},
            "sources": [{"kind": "folder", "path": ".", "pools": {"train": "train", "test": "test"}}],
        }  # fmt: skip
        (folder / "t.yaml").write_text(yaml.safe_dump(task, allow_unicode=True), "utf-8")
        run = ["run", "-m", "pixels", "--protocol", "linear_probe", "--log-samples", "-t", folder / "t.yaml"]
        return [*run, "-o", folder / "out"]

    return build


# --- JSON: as a record, an imported table, a foreign table, the configuration next to a checkpoint


def _json_cases() -> Iterator[Case]:
    texts = {
        "deep lists": b"[" * 100_000, "deep mappings": b'{"a":' * 100_000, "a number": b"1", "nothing": b"",
        "5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}", "utf-16": '{"a": 1}'.encode("utf-16"),
        "half a letter": b'{"model": "\\ud800"}',
        "bytes": b"\xff\xfe\x00", "17 MB": b"[" + b"1," * (17 << 19) + b"1]", "infinity": b'{"a": 1e999, "b": NaN}',
    }  # fmt: skip
    for name, text in texts.items():
        for how, build in {
            "record": _as_record,
            "import": _as_import,
            "foreign": _as_foreign,
            "sidecar": _as_sidecar,
        }.items():
            yield Case(f"json: {name} as {how}", build(text), GOOD if how == "record" else REFUSED)


def _as_record(text: bytes) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        write_records(folder / "out", "clip/good")
        next((folder / "out").rglob("*.json")).with_name("a.b.json").write_bytes(text)
        return ["leaderboard", "-o", folder / "out"]

    return build


def _as_import(text: bytes) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "home" / "imported").mkdir(parents=True)
        (folder / "home" / "imported" / "a.json").write_bytes(text)
        return ["leaderboard", "--published", "all", "-o", folder]

    return build


def _as_foreign(text: bytes) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "a.json").write_bytes(text)
        return ["import", folder / "a.json"]

    return build


def _as_sidecar(text: bytes) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        (folder / "open_clip_config.json").write_bytes(text)
        return _loading("open_clip:RN50/{}", _checkpoints()["other weights"])(folder)

    return build


# --- the store of features


def _store_cases() -> Iterator[Case]:
    pickled = io.BytesIO()
    np.save(pickled, np.array([_Exploit()], object), allow_pickle=True)
    large = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 9), }".ljust(117)
        + b"\n"
    )
    for name, content in {"pickled": pickled.getvalue(), "empty": b"", "text": b"no array", "of 1 TB": large}.items():
        yield Case(f"store: an array that is {name}", _stored(content), EITHER)


def _stored(content: bytes) -> Build:
    def build(folder: Path) -> Sequence[Any]:
        task = write_folder_task(folder, train=3, test=1, size=8)
        run = ["run", "-m", "pixels", "--protocol", "linear_probe", "-t", task, "--cache-dir", folder / "cache"]
        assert contained(partial(command, [*run, "-o", folder / "out1"]), folder).code == 0
        next((folder / "cache").rglob("*.npy")).write_bytes(content)
        return [*run, "-o", folder / "out2"]

    return build
