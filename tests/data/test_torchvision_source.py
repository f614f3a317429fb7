"""The layouts of torchvision, written as their publishers write them."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from pydantic import ValidationError

from evalsuite.data import open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError, SpecError
from evalsuite.tasks.sources import TORCHVISION_CLASSES

DIGITS = [str(digit) for digit in range(10)]
MNIST = {
    "kind": "torchvision", "dataset": "MNIST", "path": "MNIST/raw", "labels": {"by_index": "classes"},
    "pools": {"train": {"train": True}, "test": {"train": False}},
}  # fmt: skip


def write_mnist(root, count=6, seed=0):
    folder = root / "MNIST/raw"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8)[::-1]
    for name in ("train", "t10k"):
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
    return pixels


def test_mnist_idx_files(tmp_path, make_task):
    pixels = write_mnist(tmp_path)
    pool = open_task(make_task(MNIST, classes=DIGITS), DataPlace(tmp_path)).open_pool("train")
    assert pool.ids[:2] == ("00000000", "00000001")
    assert pool.labels.tolist() == [5, 4, 3, 2, 1, 0]
    sample = pool.read(2)
    assert sample.image.mode == "L"
    assert np.array_equal(np.asarray(sample.image), pixels[2])
    assert sample.content == b"L:28x28:" + pixels[2].tobytes()
    assert (pool.mtimes, pool.sizes.tolist()) == (None, [784] * 6)
    again = pickle.loads(pickle.dumps(pool.read))
    assert again(2).content == sample.content
    assert len(pickle.dumps(pool.read)) < 1000  # the images do not travel


def test_a_data_root_nobody_can_write_to(tmp_path, make_task):
    write_mnist(tmp_path)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    data = open_task(
        make_task(MNIST, classes=DIGITS), DataPlace(tmp_path, cache_dir=tmp_path.parent / f"{tmp_path.name}-cache")
    )
    data.open_pool("train").read(0)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_fingerprints_follow_the_files_and_not_their_place(tmp_path, make_task):
    write_mnist(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b/MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(b"the archive it was unpacked from")
    write_mnist(tmp_path / "c", seed=1)
    prints = [
        open_task(make_task(MNIST, classes=DIGITS), DataPlace(tmp_path / name)).open_pool("train").fingerprint
        for name in "abc"
    ]
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_incomplete_files_give_torchvisions_words(tmp_path, make_task):
    write_mnist(tmp_path)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    data = open_task(make_task(MNIST, classes=DIGITS), DataPlace(tmp_path))
    with pytest.raises(DataMissingError, match=r"pool 'test'.*Dataset not found.*download the dataset again"):
        data.open_pool("test")


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Write CIFAR batches. torchvision compares their md5 with the published ones: here with those of these files."""
    import torchvision

    def build(name, folder, label_key, files, meta, meta_key, classes):
        cls = getattr(torchvision.datasets, name)
        base = tmp_path / folder
        base.mkdir()
        rng = np.random.default_rng(0)

        def dump(file, value):
            content = pickle.dumps(value, protocol=2)
            (base / file).write_bytes(content)
            return hashlib.md5(content).hexdigest()

        lists = {}
        for kind, members in files.items():
            lists[kind] = []
            for file in members:
                data = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
                lists[kind].append([file, dump(file, {"data": data, label_key: [2, 0, 1, 2]})])
        digest = dump(meta, {meta_key: classes})
        monkeypatch.setattr(cls, "train_list", lists["train"])
        monkeypatch.setattr(cls, "test_list", lists["test"])
        monkeypatch.setattr(cls, "meta", {"filename": meta, "key": meta_key, "md5": digest})
        return tmp_path

    return build


def cifar10_source():
    pools = {"train": {"train": True}, "test": {"train": False}}
    return {"kind": "torchvision", "dataset": "CIFAR10", "path": "cifar-10-batches-py", "pools": pools}


CLASSES = ["airplane", "automobile", "bird"]


@pytest.fixture
def cifar10(cifar):
    files = {"train": ["data_batch_1", "data_batch_2"], "test": ["test_batch"]}
    return cifar("CIFAR10", "cifar-10-batches-py", "labels", files, "batches.meta", "label_names", CLASSES)


def test_cifar10_batches_by_key(cifar10, make_task):
    pool = open_task(
        make_task(cifar10_source(), classes=["bird", "airplane", "automobile"]), DataPlace(cifar10)
    ).open_pool("train")
    assert pool.labels.tolist() == [0, 1, 2, 0] * 2
    assert pool.read(7).image.size == (32, 32)
    assert pool.sizes.tolist() == [3072] * 8


def test_cifar10_by_code_takes_names_or_numbers(cifar10, make_task):
    named = {**cifar10_source(), "labels": {"by_code": {"airplane": "cat", "automobile": "cat", "bird": "dog"}}}
    numbered = {**cifar10_source(), "labels": {"by_code": {0: "cat", 1: "cat", 2: "dog"}}}
    for source in (named, numbered):
        assert open_task(make_task(source), DataPlace(cifar10)).open_pool("test").labels.tolist() == [1, 0, 0, 1]


def test_a_damaged_batch_fails_its_md5(cifar10, make_task):
    with (cifar10 / "cifar-10-batches-py/test_batch").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataMissingError, match="not found or corrupted"):
        open_task(make_task(cifar10_source(), classes=CLASSES), DataPlace(cifar10)).open_pool("test")


def test_cifar100_fine_labels(cifar, make_task):
    root = cifar(
        "CIFAR100", "cifar-100-python", "fine_labels", {"train": ["train"], "test": ["test"]},
        "meta", "fine_label_names", ["apple", "aquarium_fish", "baby"],
    )  # fmt: skip
    source = {**cifar10_source(), "dataset": "CIFAR100", "path": "cifar-100-python"}
    task = make_task(source, classes=["apple", "aquarium_fish", "baby"])
    assert open_task(task, DataPlace(root)).open_pool("train").labels.tolist() == [2, 0, 1, 2]


@pytest.fixture
def food(tmp_path, encode):
    names = {"train": ["1", "10", "2"], "test": ["3"]}
    for split, numbers in names.items():
        for label in ("apple_pie", "waffles"):
            for number in numbers:
                path = tmp_path / f"food-101/images/{label}/{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(int(number), kind="JPEG", size=(40, 30)))
        meta = tmp_path / f"food-101/meta/{split}.json"
        meta.parent.mkdir(exist_ok=True)
        meta.write_text(
            json.dumps({label: [f"{label}/{number}" for number in numbers] for label in ("waffles", "apple_pie")})
        )
    return tmp_path


FOOD = {
    "kind": "torchvision", "dataset": "Food101", "path": "food-101",
    "pools": {"train": {"split": "train"}, "test": {"split": "test"}},
}  # fmt: skip


def test_food101_samples_are_files_in_sorted_order(food, make_task, encode):
    pool = open_task(make_task(FOOD, classes=["waffles", "apple_pie"]), DataPlace(food)).open_pool("train")
    assert pool.ids[:3] == ("images/apple_pie/1.jpg", "images/apple_pie/10.jpg", "images/apple_pie/2.jpg")
    assert pool.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert pool.read(1).content == encode(10, kind="JPEG", size=(40, 30))
    assert pickle.loads(pickle.dumps(pool.read))(1).content == pool.read(1).content
    assert pool.sizes[1] == len(pool.read(1).content)
    assert pool.mtimes is not None
    shutil.copytree(food / "food-101", food / "other/food-101")
    other = open_task(make_task(FOOD, classes=["waffles", "apple_pie"]), DataPlace(food / "other")).open_pool("train")
    assert other.fingerprint == pool.fingerprint


def test_broken_files_name_sample_and_place(food, make_task):
    path = food / "food-101/images/waffles/3.jpg"
    content = path.read_bytes()
    pool = open_task(make_task(FOOD, classes=["waffles", "apple_pie"]), DataPlace(food)).open_pool("test")
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"images/waffles/3\.jpg.*max_unreadable"):
        pool.read(1)
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(DataError, match="PostScript"):
        pool.read(1)
    path.unlink()
    with pytest.raises(DataError, match=r"images/waffles/3\.jpg"):
        pool.read(1)


def test_an_image_that_is_missing_when_the_pool_opens(food, make_task):
    (food / "food-101/images/waffles/3.jpg").unlink()
    with pytest.raises(DataError, match=r"images/waffles/3\.jpg"):
        open_task(make_task(FOOD, classes=["waffles", "apple_pie"]), DataPlace(food)).open_pool("test")


def test_stl10_folds_are_lines_of_row_numbers(tmp_path, make_task, monkeypatch):
    import torchvision

    base = tmp_path / "stl10_binary"
    base.mkdir()
    rng = np.random.default_rng(0)
    cls = torchvision.datasets.STL10
    for name, count in (("train", 12), ("test", 4), ("unlabeled", 1)):
        (base / f"{name}_X.bin").write_bytes(rng.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tobytes())
        labels = (np.arange(count) % 3 + 1).astype(np.uint8)
        (base / f"{name}_y.bin").write_bytes(labels.tobytes())
    (base / "class_names.txt").write_text("airplane\nbird\ncar\n")
    (base / "fold_indices.txt").write_text("0 1 2 9 \n3 4 5 10\n")
    for attribute in ("train_list", "test_list"):
        listed = [[name, hashlib.md5((base / name).read_bytes()).hexdigest()] for name, _ in getattr(cls, attribute)]
        monkeypatch.setattr(cls, attribute, listed)
    source = {
        "kind": "torchvision", "dataset": "STL10", "path": "stl10_binary",
        "pools": {"train": {"split": "train"}, "test": {"split": "test"}},
        "lists": {"fold-{}": {"file": "fold_indices.txt", "pool": "train", "format": "index_lines", "count": 2}},
    }  # fmt: skip
    rule = {"rule": "folds", "count": 2, "train": "fold-{}", "test": "test"}
    folds = open_task(make_task(source, classes=["car", "bird", "airplane"], splits=rule), DataPlace(tmp_path)).folds()
    assert [fold.train.rows.tolist() for fold in folds] == [[0, 1, 2, 9], [3, 4, 5, 10]]
    assert folds[0].test is folds[1].test
    pool = open_task(
        make_task(source, classes=["car", "bird", "airplane"], splits=rule), DataPlace(tmp_path)
    ).open_pool("train")
    assert pool.labels.tolist()[:4] == [2, 1, 0, 2]
    (base / "fold_indices.txt").write_text("0 1 2 12\n3 4\n")
    with pytest.raises(DataMissingError, match="00000012"):
        open_task(make_task(source, classes=["car", "bird", "airplane"], splits=rule), DataPlace(tmp_path)).folds()
    (base / "fold_indices.txt").write_text("0 1 2\n")
    with pytest.raises(DataError, match="line 2"):
        open_task(make_task(source, classes=["car", "bird", "airplane"], splits=rule), DataPlace(tmp_path)).folds()


def test_sets_that_tell_labels_only_with_images(tmp_path, make_task):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "pcam").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "pcam/camelyonpatch_level_2_split_test_x.h5", "w") as file:
        file["x"] = images
    with h5py.File(tmp_path / "pcam/camelyonpatch_level_2_split_test_y.h5", "w") as file:
        file["y"] = np.array([1, 0, 1], np.uint8).reshape(3, 1, 1, 1)
    source = {
        "kind": "torchvision", "dataset": "PCAM", "path": "pcam", "pools": {"test": {"split": "test"}},
        "labels": {"by_index": "classes"},
    }  # fmt: skip
    pool = open_task(make_task(source), DataPlace(tmp_path)).open_pool("test")
    assert pool.labels.tolist() == [1, 0, 1]
    # the dataset holds a module, which cannot be pickled: a worker constructs it again
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(pool.read))(2).image), images[2])


def test_pairs_of_file_and_label_in_whatever_order(tmp_path, make_task, encode, monkeypatch):
    import torchvision

    for label in (0, 1):
        for number in range(3):
            path = tmp_path / f"gtsrb/GTSRB/Training/{label:05d}/{number:05d}.ppm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(10 * label + number, kind="PPM"))
    source = {
        "kind": "torchvision", "dataset": "GTSRB", "path": "gtsrb", "pools": {"train": {"split": "train"}},
        "labels": {"by_index": "classes"},
    }  # fmt: skip
    pool = open_task(make_task(source), DataPlace(tmp_path)).open_pool("train")
    assert pool.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pool.ids[4] == "GTSRB/Training/00001/00001.ppm"
    assert pool.read(4).content == encode(11, kind="PPM")

    class Backwards(torchvision.datasets.GTSRB):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self._samples.reverse()

    grouped = make_task({**source, "group": r"([^/]+/[^/]+)..\.ppm$"})
    assert open_task(grouped, DataPlace(tmp_path)).open_pool("train").groups == tuple(
        ["00000/000"] * 3 + ["00001/000"] * 3
    )

    monkeypatch.setattr(torchvision.datasets, "GTSRB", Backwards)
    backwards = open_task(make_task(source), DataPlace(tmp_path)).open_pool("train")
    assert backwards.ids == pool.ids
    assert backwards.labels.tolist() == pool.labels.tolist()
    assert np.array_equal(np.asarray(backwards.read(4).image), np.asarray(pool.read(4).image))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pools": {"train": {"split": "train"}}}, "arguments"),
        ({"group": "(.*)"}, "samples that are files"),
    ],
)
def test_wrong_task_files(cifar10, make_task, change, reason):
    with pytest.raises(SpecError, match=reason):
        open_task(make_task({**cifar10_source(), **change}, classes=CLASSES), DataPlace(cifar10)).open_pool("train")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": "CIFAR11"}, "Did you mean CIFAR10"),
        ({"dataset": "LSUN"}, "no class of torchvision.datasets that is read here"),
        ({"pools": {"train": {"download": True}}}, "download are not passed on"),
        ({"path": "../x"}, "leads out of its folder"),
        ({"root": "/etc"}, "leads out of its folder"),
    ],
)
def test_sources_that_want_more_are_refused(make_task, change, reason):
    with pytest.raises(ValidationError, match=reason):
        make_task({**cifar10_source(), **change}, classes=CLASSES)


def test_each_class_that_is_read_is_torchvisions():
    assert set(torchvision.datasets.__all__) >= TORCHVISION_CLASSES


@pytest.mark.parametrize("name", ["targets", "labels", "_labels"])
def test_more_labels_than_images(cifar10, make_task, monkeypatch, name):
    class TwoEditions(torchvision.datasets.CIFAR10):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            labels = [*self.targets, 0]
            del self.targets
            setattr(self, name, labels)

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", TwoEditions)
    with pytest.raises(DataError, match=r"has \d+ labels for \d+ images: the files are of two editions"):
        open_task(make_task(cifar10_source(), classes=CLASSES), DataPlace(cifar10)).open_pool("train")


@pytest.mark.shared
def test_the_real_mnist(make_task, shared_data: Path, tmp_path):
    task = make_task(MNIST, classes=DIGITS)
    pool = open_task(task, DataPlace(shared_data, cache_dir=tmp_path)).open_pool("test")
    assert (len(pool), pool.labels[:5].tolist()) == (10000, [7, 2, 1, 0, 4])
    assert pool.read(0).image.size == (28, 28)
