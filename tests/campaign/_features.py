"""Folders of features that hold something else: arrays, tables, texts and descriptions of strange kinds."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.campaign._files import EITHER, REFUSED, Build, Case
from tests.datasets import write_folder_task

KEYS = ("red", "green", "blue")
TRAIN = [f"{key}/{number:03d}.png" for key in KEYS for number in range(3)]
TEST = [f"{key}/000.png" for key in KEYS]
PROMPTS = [f"a photo of a {key} square." for key in KEYS]
ROWS = np.arange(36, dtype=np.float32).reshape(9, 4)
VECTORS = ROWS.tolist()


def cases() -> Iterator[Case]:
    """Yield all cases."""
    for name, content in _arrays().items():
        yield Case(f"features: {name}", _given({"shapes/train.npy": content}), REFUSED)
        yield Case(f"ids: {name}", _given({"shapes/train.ids.npy": content, "shapes/train.ids.txt": b""}), REFUSED)
    for name, table in _tables().items():
        yield Case(f"features: {name}", _given({"shapes/train.parquet": _parquet(table)}), REFUSED)
    embeddings = {f"shapes/{pool}.embedding.npy": _npy(ROWS[:count]) for pool, count in (("train", 9), ("test", 3))}
    for name, table in _texts().items():
        files = {"texts.parquet": _parquet(table), **embeddings}
        yield Case(f"texts: {name}", _given(files, "zero_shot"), REFUSED)
    for name, text in _descriptions().items():
        yield Case(f"features: described by {name}", _given({"model.json": text}), EITHER)


def _given(files: Mapping[str, bytes], protocol: str = "linear_probe") -> Build:
    """Return what writes good features, then these files over them, and evaluates."""

    def build(folder: Path) -> Sequence[Any]:
        task = write_folder_task(folder, train=3, test=1, size=8)
        good = {"shapes/train.npy": _npy(ROWS), "shapes/test.npy": _npy(ROWS[:3])}
        good |= {"shapes/train.ids.txt": "\n".join(TRAIN).encode(), "shapes/test.ids.txt": "\n".join(TEST).encode()}
        (folder / "given" / "shapes").mkdir(parents=True)
        for name, content in {**good, **files}.items():
            if content:
                (folder / "given" / name).write_bytes(content)
        return ["run", "-m", f"features:{folder / 'given'}", "-t", task, "--protocol", protocol, "-o", folder / "out"]

    return build


def _npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def _head(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode()


def _arrays() -> dict[str, bytes]:
    archive = io.BytesIO()
    np.savez(archive, a=ROWS)
    shape = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }\n"
    return {
        "an archive": archive.getvalue(), "half an archive": archive.getvalue()[:50], "a pickle": b"\x80\x04K\x01.",
        "records": _npy(np.zeros((9, 4), [("a", "f4")])), "bytes": _npy(np.full((9, 4), b"x")),
        "complex": _npy(ROWS + 1j), "dates": _npy(np.zeros((9, 4), "M8[s]")), "void": _npy(np.zeros((9, 4), "V8")),
        "one number": _npy(np.array(3.0)), "three dimensions": _npy(ROWS[..., None]),
        "not finite": _npy(ROWS * np.nan), "too large": _npy(np.full((9, 4), 1e308)),
        "deep": _head("(" * 60_000), "code": _head("{'descr': __import__('os').system('touch executed')}\n"),
        "version 9": _head("{}", b"\x09\x00"), "a negative shape": _head(shape % "(-9, -4)"),
        "a shape of 1 TB": _head(shape % "(1000000000000, 4)"), "a shape of truth": _head(shape % "(True, 4)"),
        "text": b"no array",
    }  # fmt: skip


def _tables() -> dict[str, pa.Table]:
    kinds: dict[str, Any] = {
        "texts": [["a"]] * 9, "lists": [[[1.0]]] * 9, "records": [[{"a": 1}]] * 9, "nothing": [None] * 9,
        "nothing in lists": [[None, 1.0]] * 9, "truth": [[True]] * 9, "bytes": [[b"a"]] * 9, "numbers": [1.0] * 9,
        "other lengths": [[1.0], *[[1.0, 2.0]] * 8], "no list of numbers": pa.array([[None]] * 9),
        "durations": pa.array([[1]] * 9, pa.list_(pa.duration("s"))), "another width": [[1.0, 2.0]] * 9,
    }  # fmt: skip
    found = {f"a table of {name}": pa.table({"id": TRAIN, "penultimate": value}) for name, value in kinds.items()}
    ids: dict[str, Any] = {"nothing": pa.nulls(9, pa.string()), "lists": [["a"]] * 9, "bytes": [b"\xff"] * 9}
    found |= {
        f"a table with ids of {name}": pa.table({"id": value, "penultimate": VECTORS}) for name, value in ids.items()
    }
    found["a table without ids"] = pa.table({"name": TRAIN, "penultimate": VECTORS})
    columns = [pa.array(TRAIN), pa.array(VECTORS), pa.array(VECTORS)]
    found["a column twice"] = pa.Table.from_arrays(columns, ["id", "penultimate", "penultimate"])
    return found


def _texts() -> dict[str, pa.Table]:
    return {
        "no texts": pa.table({"x": PROMPTS}), "no embedding": pa.table({"text": PROMPTS}),
        "words": pa.table({"text": PROMPTS, "embedding": [["a"]] * 3}),
        "numbers": pa.table({"text": PROMPTS, "embedding": [1.0] * 3}),
        "another width": pa.table({"text": PROMPTS, "embedding": [[1.0] * 7] * 3}),
        "records": pa.table({"text": [{"a": 1}] * 3, "embedding": [[1.0] * 4] * 3}),
    }  # fmt: skip


def _descriptions() -> dict[str, bytes]:
    return {
        "a list": b"[]", "depth": b"[" * 200_000, "infinity": b'{"parameters": 1e400}', "NaN": b'{"logit_scale": NaN}',
        "an escape": b'{"published": "\\u001b[2J"}', "half a model": b'{"info": {}}', "a word": b'{"input_size": "a"}',
    }  # fmt: skip


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
