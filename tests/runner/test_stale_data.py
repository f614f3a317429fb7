"""A number is never that of other inputs: data, prompts and adapters that were replaced are noticed."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import evalsuite
from evalsuite.records import Result
from evalsuite.runner.base import Reporter
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.stores import write_old_checksums

RIGHT, WRONG = "templates: ['a photo of a {}.']\n", "templates: ['{} is not what red is.']\n"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A folder dataset whose images have the colour of their class, and all the same size."""
    path = write_folder_task(tmp_path / "shapes")
    for file in path.parent.rglob("*.png"):
        Image.open(file).save(file, compress_level=0)
    return path


def evaluate(
    tmp_path: Path, task: Path, protocol: str = "zero_shot", model: CountingModel | None = None, **options: object
) -> Result:
    """Evaluate with stores that last."""
    stores = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache", **options}
    (result,) = evalsuite.evaluate(model or CountingModel(), str(task), protocol, **stores)  # type: ignore[arg-type]
    assert isinstance(result, Result)
    return result


def rewrite(path: Path, content: bytes) -> None:
    """Put other bytes of the same number in a file's place, with the same time of modification."""
    before = path.stat()
    assert len(content) == before.st_size and content != path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def repaint(file: Path) -> None:
    """Put a green image of the same size and time in the place of one."""
    content = io.BytesIO()
    Image.new("RGB", Image.open(file).size, (0, 255, 0)).save(content, "PNG", compress_level=0)
    rewrite(file, content.getvalue())


def value(result: Result) -> float:
    """Return what was measured."""
    assert result.metric is not None, result.error
    return result.metric.value


def test_prompts_that_are_edited_during_a_run_are_recorded_as_they_were_used(tmp_path: Path, task: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text(RIGHT)

    class Editing(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            file.write_text(WRONG)
            return super().encode_images(batch)

    found = evaluate(tmp_path, task, model=Editing(), prompts=str(file))
    assert found.metric is not None and found.metric.value == 1.0
    assert found.options["prompts"] == hashlib.sha256(RIGHT.encode()).hexdigest()[:8]
    edited = evaluate(tmp_path, task, prompts=str(file))
    assert edited.metric is not None and edited.metric.value == pytest.approx(1 / 3)
    assert edited.options["prompts"] == hashlib.sha256(WRONG.encode()).hexdigest()[:8]


def test_prompts_that_are_edited_during_a_run_are_not_read_again(tmp_path: Path, task: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text(RIGHT)

    class Removing(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            file.unlink(missing_ok=True)
            return super().encode_images(batch)

    assert evaluate(tmp_path, task, model=Removing(), prompts=str(file)).status == "ok"


ADAPTER = """
import numpy as np
from evalsuite.data import raw_pool_from_arrays

VALUE = {value}

def open_pool(root, pool):
    rows = range(4 if pool == "train" else 2)
    images = [np.full((8, 8, 3), VALUE + 40 * (row % 2), np.uint8) for row in rows]
    return raw_pool_from_arrays(images, [row % 2 for row in rows])
"""


@pytest.fixture
def adapted(tmp_path: Path) -> Path:
    """A task that an adapter reads: dark and light images."""
    (tmp_path / "grey.py").write_text(ADAPTER.format(value=10))
    path = tmp_path / "grey.yaml"
    path.write_text(
        "title: Grey\nclasses: [dark, light]\nprompts: {templates: ['{}']}\n"
        "sources: [{kind: python, file: grey.py, pools: [train, test], path: ., labels: {by_index: [dark, light]}}]\n"
    )
    return path


def test_an_adapter_of_the_same_size_and_time_is_the_one_that_runs(
    tmp_path: Path, adapted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "grey.py"
    first = evaluate(tmp_path, adapted, "linear_probe", trust_adapters=True)
    rewrite(file, file.read_bytes().replace(b"10", b"90"))
    second = evaluate(tmp_path, adapted, "linear_probe", trust_adapters=True)
    assert first.data is not None and second.data is not None
    assert second.timings.images_encoded == 6 and first.data.content != second.data.content


def test_a_model_file_of_the_same_size_and_time_is_the_one_that_runs(
    tmp_path: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "model.py"
    file.write_text(
        "import torch\nfrom tests.models_for_tests import CountingModel\n"
        "class Model(CountingModel):\n"
        "    def encode_images(self, batch):\n"
        "        return {name: 1 * value for name, value in super().encode_images(batch).items()}\n"
        "def make():\n    return Model()\n"
    )
    stores = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    values = []
    for _ in range(2):
        (found,) = evalsuite.evaluate(f"{file}:make", str(task), "linear_probe", **stores)
        values.append(found.metric.value)
        if len(values) == 1:
            rewrite(file, file.read_bytes().replace(b"1 * value", b"0 * value"))
    assert values == [1.0, pytest.approx(1 / 3)]


def test_images_replaced_by_others_of_the_same_size_and_time_are_computed_anew(tmp_path: Path, task: Path) -> None:
    assert value(evaluate(tmp_path, task)) == 1.0
    repaint(task.parent / "test" / "red" / "000.png")
    again = evaluate(tmp_path, task)
    assert (value(again), again.timings.images_encoded) == (pytest.approx(8 / 9), 1)


def test_features_of_version_0_1_0_are_used_once_their_images_are_found_unchanged(tmp_path: Path, task: Path) -> None:
    first = evaluate(tmp_path, task)
    (manifest,) = (tmp_path / "cache").rglob("manifest.parquet")
    pq.write_table(pq.read_table(manifest).drop_columns(["inode", "ctime"]), manifest)
    write_old_checksums(manifest.parent)
    again = evaluate(tmp_path, task)
    assert again == first
    (manifest,) = (tmp_path / "cache").rglob("manifest.parquet")
    inodes = {file.stat().st_ino for file in (task.parent / "test").rglob("*.png")}
    assert set(pq.read_table(manifest)["inode"].to_pylist()) == inodes  # remembered

    pq.write_table(pq.read_table(manifest).drop_columns(["inode", "ctime"]), manifest)
    write_old_checksums(manifest.parent)
    repaint(task.parent / "test" / "red" / "000.png")
    assert value(evaluate(tmp_path, task)) == pytest.approx(8 / 9)


def test_verify_finds_what_the_file_system_does_not_tell(
    tmp_path: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalsuite.data.readers.file_key", lambda status: (status.st_size, status.st_mtime_ns, 0, 0))
    assert value(evaluate(tmp_path, task)) == 1.0
    assert evaluate(tmp_path, task, verify=True) == evaluate(tmp_path, task)
    repaint(task.parent / "test" / "red" / "000.png")
    assert value(evaluate(tmp_path, task)) == 1.0
    again = evaluate(tmp_path, task, verify=True)
    assert (value(again), again.timings.images_encoded) == (pytest.approx(8 / 9), 1)


def test_a_disk_that_is_full_when_features_are_merged_is_told(
    tmp_path: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("evalsuite.features.blocks.write_array", full)
        result = evaluate(tmp_path, task)
    assert result.error is not None and result.error.log is None
    assert result.error.message.startswith("The disk is full (") and "--cache-dir" in result.error.message
    assert evaluate(tmp_path, task).metric is not None


@pytest.mark.parametrize("readers", [2, 1_000])
def test_reading_all_bytes_tells_how_far_it_is(
    tmp_path: Path, task: Path, monkeypatch: pytest.MonkeyPatch, readers: int
) -> None:
    monkeypatch.setattr("evalsuite.features.freshness.READERS", readers)
    monkeypatch.setattr("evalsuite.features.freshness.PIECE_ROWS", 3)

    class Told(Reporter):
        def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
            if what.startswith("bytes of"):
                told.append((what, done, total, unit))

    told: list[tuple[str, int, int | None, str]] = []
    count = len(list((task.parent / "test").rglob("*.png")))
    evaluate(tmp_path, task, reporter=Told())
    assert not told
    evaluate(tmp_path, task, reporter=Told(), verify=True)
    assert told == [(f"bytes of {task.stem}/test", done, count, "images") for done in range(1, count + 1)]


def test_verify_reads_files_whose_checksums_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.hashing.file_key", lambda status: (status.st_size, status.st_mtime_ns, 0, 0))
    task, file = pixel_table(tmp_path)
    assert value(evaluate(tmp_path, task, "linear_probe")) == 1.0
    rewrite(file, file.read_bytes().replace(b"250", b"010"))
    assert value(evaluate(tmp_path, task, "linear_probe")) == 1.0
    assert value(evaluate(tmp_path, task, "linear_probe", verify=True)) == 0.5
    assert value(evaluate(tmp_path, task, "linear_probe")) == 0.5


def pixel_table(tmp_path: Path) -> tuple[Path, Path]:
    """Write images as numbers in two tables; return the task file and the table of the test images."""
    for pool, count in (("train", 8), ("test", 4)):
        lines = [
            f"{'250 250 250 250' if row % 2 else '010 010 010 010'},{('dark', 'light')[row % 2]}"
            for row in range(count)
        ]
        (tmp_path / f"{pool}.csv").write_text("\n".join(["pixels,label", *lines]) + "\n")
    path = tmp_path / "grey.yaml"
    path.write_text(
        "title: Grey\nclasses: [dark, light]\nprompts: {templates: ['{}']}\n"
        "sources: [{kind: table, path: ., pixels: pixels, shape: [2, 2], pools: {train: train.csv, test: test.csv}}]\n"
    )
    return path, tmp_path / "test.csv"


def test_a_result_whose_features_are_gone_is_served_for_the_same_images_alone(tmp_path: Path, task: Path) -> None:
    first = evaluate(tmp_path, task)
    model = CountingModel(fail_after=0)
    assert evaluate(tmp_path, task, model=model, cache_dir=tmp_path / "other") == first
    repaint(task.parent / "test" / "red" / "000.png")
    assert value(evaluate(tmp_path, task, cache_dir=tmp_path / "empty")) == pytest.approx(8 / 9)


def test_another_dataset_of_the_same_name_ids_and_sizes_is_not_served(tmp_path: Path, task: Path) -> None:
    first = evaluate(tmp_path, task)
    other = tmp_path / "other" / "shapes"
    shutil.copytree(task.parent, other)
    for file in (other / "test" / "red").iterdir():
        repaint(file)
    assert value(evaluate(tmp_path, other / task.name, cache_dir=tmp_path / "empty")) == pytest.approx(2 / 3)
    assert evaluate(tmp_path, task) != first  # the record was replaced: there is one place for it
    assert value(evaluate(tmp_path, other / task.name)) == pytest.approx(2 / 3)
    assert value(evaluate(tmp_path, task)) == 1.0


def test_an_image_that_could_not_be_read_and_was_repaired_counts(tmp_path: Path, task: Path) -> None:
    task.write_text(task.read_text() + "max_unreadable: 1\n")
    file = task.parent / "test" / "red" / "000.png"
    whole = file.read_bytes()
    rewrite(file, whole[:40] + bytes(len(whole) - 40))
    broken = evaluate(tmp_path, task)
    assert broken.data is not None and broken.data.unreadable == {"test": ["red/000.png"]}
    assert evaluate(tmp_path, task) == broken
    rewrite(file, whole)
    assert evaluate(tmp_path, task).data.unreadable == {}  # type: ignore[union-attr]


@pytest.mark.parametrize("seconds", [0, -1000], ids=["same time", "older"])
def test_parquet_files_replaced_by_others_of_the_same_size_are_read(tmp_path: Path, seconds: int) -> None:
    folder = tmp_path / "grey"
    folder.mkdir()
    path = tmp_path / "grey.yaml"
    path.write_text(
        "title: Grey\nclasses: [dark, light]\nprompts: {templates: ['{}']}\n"
        "sources: [{kind: huggingface, path: grey, pools: {train: train, test: test}, labels: {by_index: classes}}]\n"
    )
    write_parquet(folder / "train.parquet", [10, 250] * 4)
    write_parquet(folder / "test.parquet", [10, 250] * 2)
    before = (folder / "test.parquet").stat()
    assert value(evaluate(tmp_path, path, "linear_probe", data_root=tmp_path)) == 1.0
    write_parquet(tmp_path / "new.parquet", [10, 10] * 2)
    assert (tmp_path / "new.parquet").stat().st_size == before.st_size
    os.utime(tmp_path / "new.parquet", ns=(before.st_atime_ns, before.st_mtime_ns + seconds * 10**9))
    (tmp_path / "new.parquet").rename(folder / "test.parquet")
    assert value(evaluate(tmp_path, path, "linear_probe", data_root=tmp_path)) == 0.5


def write_parquet(path: Path, greys: list[int]) -> None:
    """Write images of one grey each, uncompressed, with the labels 0, 1, 0, 1 ..."""
    cells = []
    for grey in greys:
        content = io.BytesIO()
        Image.new("RGB", (8, 8), (grey,) * 3).save(content, "PNG", compress_level=0)
        cells.append({"bytes": content.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = [row % 2 for row in range(len(greys))]
    table = pa.table({"image": pa.array(cells, kind), "label": labels})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)


@pytest.mark.parametrize("imported", ["import helper_of_an_adapter as h", "from helper_of_an_adapter import shade"])
def test_a_module_that_an_adapter_imports_is_a_part_of_it(
    tmp_path: Path, adapted: Path, imported: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "helper_of_an_adapter.py"
    helper.write_text("BASE = 10\n\ndef shade(value):\n    return BASE + value\n")
    call = "h.shade" if " as h" in imported else "shade"
    adapter = ADAPTER.format(value=0).replace("VALUE + 40 * (row % 2)", f"{call}(40 * (row % 2))")
    (tmp_path / "grey.py").write_text(f"{imported}\n{adapter}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    fingerprints = []
    for base in (10, 10, 20):
        helper.write_text(helper.read_text().replace("BASE = 10", f"BASE = {base}"))
        monkeypatch.delitem(sys.modules, helper.stem, raising=False)
        found = evaluate(tmp_path, adapted, "linear_probe", trust_adapters=True)
        assert found.data is not None
        fingerprints.append((found.data.pools["test"], found.data.content))
    assert fingerprints[0] == fingerprints[1]
    assert fingerprints[0][0] != fingerprints[2][0] and fingerprints[0][1] != fingerprints[2][1]


def test_a_number_that_an_adapter_read_from_a_file_is_a_part_of_it(tmp_path: Path, adapted: Path) -> None:
    settings = tmp_path / "settings.json"
    (tmp_path / "grey.py").write_text(
        "import json, pathlib\nimport numpy as np\nfrom PIL import Image\n"
        "from evalsuite.data import LoadedSample, RawPool\n"
        "GREY = json.loads((pathlib.Path(__file__).parent / 'settings.json').read_text())['grey']\n"
        "class Reader:\n"
        "    def __call__(self, row):\n"
        "        return LoadedSample(Image.new('RGB', (8, 8), (GREY + 90 * (row % 2),) * 3), bytes([row]))\n"
        "def open_pool(root, pool):\n"
        "    rows = range(4 if pool == 'train' else 2)\n"
        "    ids = [str(row) for row in rows]\n"
        "    return RawPool(ids, [row % 2 for row in rows], Reader(), np.ones(len(rows), np.int64))\n"
    )
    for grey, encoded in ((10, 6), (10, 6), (60, 6)):
        settings.write_text(f'{{"grey": {grey}}}')
        found = evaluate(tmp_path, adapted, "linear_probe", trust_adapters=True)
        assert found.status == "ok" and found.timings.images_encoded == encoded
    created = {str(path) for path in (tmp_path / "cache").rglob("pool.json")}
    assert len(created) == 4  # train and test, of two settings


def test_the_shipped_adapters_are_known_by_their_files(tmp_path: Path) -> None:
    (found,) = evalsuite.evaluate("pixels", "digits", "linear_probe", limit=20, output=tmp_path, cache_dir=tmp_path)
    old = Path(__file__).parent / "old_store" / "cache" / "features"
    stored = {json.loads(path.read_text())["fingerprint"] for path in old.rglob("digits.*/pool.json")}
    assert set(found.data.pools.values()) <= stored


def test_the_random_state_of_python_stays_as_it_is(tmp_path: Path, task: Path) -> None:
    class Drawing(Reporter):  # as libraries do while they are imported
        def start(self, jobs: int) -> None:
            random.random()

    before = random.getstate()
    evaluate(tmp_path, task, reporter=Drawing())
    assert random.getstate() == before
