"""Local parquet and arrow files, without the network."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evalsuite.data import data_state, open_task
from evalsuite.data.place import DataPlace
from evalsuite.data.sources.copies import SUMS, damaged_copies
from evalsuite.errors import DataError, DataMissingError
from evalsuite.progress import Progress

datasets = pytest.importorskip("datasets")

SOURCE = {
    "kind": "huggingface", "repo": "org/pets", "pools": {"train": "train", "test": "test"},
    "labels": {"by_index": "classes"},
}  # fmt: skip


def plain_parquet(path, encode, labels, seed=0, **columns):
    """Write a parquet file as other tools do: struct<bytes, path> and no metadata of `datasets`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": encode(seed + row), "path": f"{row}.png"} for row in range(len(labels))]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(cells, kind), "label": labels, **columns}), path, row_group_size=2)


def hub_dataset(encode, labels, names=("dog", "cat"), seed=0):
    """Make a dataset with typed columns, as the hub has them."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    rows = {"image": [{"bytes": encode(seed + row), "path": None} for row in range(len(labels))], "label": labels}
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def root(tmp_path, encode):
    plain_parquet(tmp_path / "pets/train-00000-of-00002.parquet", encode, [0, 1, 1])
    plain_parquet(tmp_path / "pets/train-00001-of-00002.parquet", encode, [1, 0], seed=3)
    plain_parquet(tmp_path / "pets/test-00000-of-00001.parquet", encode, [1, 0], seed=9)
    return tmp_path


def test_parquet_without_metadata(root, tmp_path, make_task, encode, no_network):
    before = sorted(root.glob("pets/**/*"))
    data = open_task(make_task(SOURCE), DataPlace(root, cache_dir=tmp_path / "cache"))
    pool = data.open_pool("train")
    assert pool.ids == tuple(f"{row:08d}" for row in range(5))
    assert pool.labels.tolist() == [0, 1, 1, 1, 0]
    assert pool.sizes.tolist() == [len(encode(row)) for row in range(5)]
    for row in (4, 0, 3):
        assert pool.read(row).content == encode(row)
    assert pool.read(1).image.size == (12, 10)
    assert pool.mtimes is None
    assert sorted(root.glob("pets/**/*")) == before
    assert (tmp_path / "cache/datasets").is_dir()
    assert sorted(data.resolved["files"]["train"]) == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]


def test_readers_travel_light(root, tmp_path, make_task, encode):
    read = open_task(make_task(SOURCE), DataPlace(root, cache_dir=tmp_path / "cache")).open_pool("train").read
    assert pickle.loads(pickle.dumps(read))(3).content == encode(3)


def test_class_labels_give_names_or_integers(tmp_path, make_task, encode, no_network):
    folder = tmp_path / "pets/data"
    folder.mkdir(parents=True)
    for split, labels in (("train", [0, 1, 0]), ("test", [1])):
        hub_dataset(encode, labels).to_parquet(folder / f"{split}.parquet")
    by_key = open_task(
        make_task({**SOURCE, "labels": "by_key"}), DataPlace(tmp_path, cache_dir=tmp_path / "c")
    ).open_pool("train")
    assert by_key.labels.tolist() == [1, 0, 1]  # the source's 0 is a dog, the task's 0 a cat
    ordered = make_task({**SOURCE, "labels": {"by_index": ["dog", "cat"]}})
    by_index = open_task(ordered, DataPlace(tmp_path, cache_dir=tmp_path / "c")).open_pool("train")
    assert by_index.labels.tolist() == [1, 0, 1]
    assert by_key.fingerprint == by_index.fingerprint
    assert by_index.read(2).content == encode(2)


def test_an_order_that_the_names_in_the_data_contradict(tmp_path, make_task, encode):
    (tmp_path / "pets").mkdir()
    for split in ("train", "test"):
        hub_dataset(encode, [0, 1]).to_parquet(tmp_path / f"pets/{split}.parquet")
    task = make_task({**SOURCE, "labels": {"by_index": ["cat", "dog"]}})
    with pytest.raises(DataError, match=r"call the label 0 'dog', `by_index` calls it 'cat' \(2 labels of 2"):
        open_task(task, DataPlace(tmp_path, cache_dir=tmp_path / "c")).open_pool("train")


def test_columns_of_a_vector_are_called_like_its_classes(tmp_path, make_task, encode):
    for split in ("train", "test"):
        plain_parquet(tmp_path / f"pets/{split}.parquet", encode, [0, 0], cat=[1, 0], dog=[0, 1], cow=[0, 0])
    task = {"classes": ["dog", "cat", "cow"], "multilabel": True, "metric": "map_11_point"}
    source, place = {**SOURCE, "label": ["cat", "dog", "cow"]}, DataPlace(tmp_path, cache_dir=tmp_path / "c")
    with pytest.raises(DataError, match="call the label 0 'cat', `by_index` calls it 'dog'"):
        open_task(make_task(source, **task), place).open_pool("train")
    source["labels"] = {"by_index": ["cat", "dog", "cow"]}
    assert open_task(make_task(source, **task), place).open_pool("train").labels.tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    "more",
    ["train.parquet", "data/train-00000-of-00001.parquet", "train/a.parquet", "train-00000-of-00002-b.parquet"],
)
def test_files_of_a_split_in_two_forms(root, tmp_path, make_task, encode, more):
    plain_parquet(tmp_path / "pets" / more, encode, [0, 1], seed=50)
    with pytest.raises(DataMissingError, match="files of several uploads"):
        open_task(make_task(SOURCE), DataPlace(tmp_path, cache_dir=tmp_path / "c"))


def test_parts_that_are_not_there_or_there_twice(tmp_path, make_task, encode):
    place = DataPlace(tmp_path, cache_dir=tmp_path / "c")
    for number, name in enumerate(("train-00000", "train-00002", "test")):
        plain_parquet(tmp_path / f"pets/{name}.parquet", encode, [0, 1], seed=10 * number)
    (warning,) = open_task(make_task(SOURCE), place).open_pool("train").warnings
    assert "numbered from 0 to 2, 1 number is not there, such as 1" in warning
    shutil.copy(tmp_path / "pets/train-00000.parquet", tmp_path / "pets/train-00001.parquet")
    with pytest.raises(DataError, match=r"train-00001\.parquet is a copy of train-00000\.parquet"):
        open_task(make_task(SOURCE), place).open_pool("train")


@pytest.mark.parametrize("more", ["train-00002-of-00004.parquet", "train-new.parquet"])
def test_shards_of_two_uploads(tmp_path, make_task, encode, more):
    folder = tmp_path / "pets/train"  # in the folder of a split, files have any name
    folder.mkdir(parents=True)
    for name in ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", more):
        hub_dataset(encode, [0, 1]).to_parquet(folder / name)
    with pytest.raises(DataMissingError, match="files of several uploads"):
        open_task(make_task(SOURCE), DataPlace(tmp_path, cache_dir=tmp_path / "c"))


def test_text_labels_groups_and_a_renamed_image_column(tmp_path, make_task, encode):
    for split in ("train", "test"):
        plain_parquet(tmp_path / f"pets/{split}.parquet", encode, ["dog", "cat"], who=["p", "q"])
    source = {**SOURCE, "labels": "by_key", "group": "who", "image": "img"}
    pool = open_task(make_task(source), DataPlace(tmp_path, cache_dir=tmp_path / "c")).open_pool("train")
    assert (pool.labels.tolist(), pool.groups) == ([1, 0], ("p", "q"))
    assert pool.read(0).content == encode(0)


def test_lists_of_labels(tmp_path, make_task, encode):
    for split in ("train", "test"):
        plain_parquet(tmp_path / f"pets/{split}.parquet", encode, [["dog", "cat"], ["cat"], []])
    task = make_task({**SOURCE, "labels": "by_key"}, multilabel=True, metric="map_11_point")
    assert open_task(task, DataPlace(tmp_path, cache_dir=tmp_path / "c")).open_pool("train").labels.tolist() == [
        [1, 1],
        [1, 0],
        [0, 0],
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_files(tmp_path, make_task, encode, stream, no_network):
    folder = tmp_path / "pets"
    folder.mkdir()
    for split, labels in (("train", [0, 1]), ("test", [1, 1])):
        table = hub_dataset(encode, labels).data.table
        with pa.OSFile(str(folder / f"{split}-00000-of-00001.arrow"), "wb") as file:
            writer = pa.ipc.new_stream(file, table.schema) if stream else pa.ipc.new_file(file, table.schema)
            with writer:
                writer.write_table(table)
    data = open_task(make_task({**SOURCE, "labels": "by_key"}), DataPlace(tmp_path, cache_dir=tmp_path / "cache"))
    pool = data.open_pool("test")
    assert pool.labels.tolist() == [0, 0]
    assert pool.read(1).content == encode(1)


def test_files_of_a_config_or_in_the_folder_of_their_split(tmp_path, make_task, encode):
    plain_parquet(tmp_path / "copy/plain/train-00000-of-00001.parquet", encode, [1])
    plain_parquet(tmp_path / "copy/test/0.parquet", encode, [0])
    plain_parquet(tmp_path / "copy/train-other-00000.parquet", encode, [0, 0])
    source = {**SOURCE, "path": "copy", "config": "plain"}
    data = open_task(make_task(source), DataPlace(tmp_path, cache_dir=tmp_path / "c"))
    assert (data.open_pool("train").labels.tolist(), data.open_pool("test").labels.tolist()) == ([1], [0])


def test_fingerprints_follow_the_bytes(root, tmp_path, make_task, encode):
    shutil.copytree(root / "pets", tmp_path / "b/pets")
    first = open_task(make_task(SOURCE), DataPlace(root, cache_dir=tmp_path / "c")).open_pool("train").fingerprint
    assert (
        open_task(make_task(SOURCE), DataPlace(tmp_path / "b", cache_dir=tmp_path / "c")).open_pool("train").fingerprint
        == first
    )
    plain_parquet(tmp_path / "b/pets/train-00001-of-00002.parquet", encode, [1, 0], seed=4)
    changed = open_task(make_task(SOURCE), DataPlace(tmp_path / "b", cache_dir=tmp_path / "c")).open_pool("train")
    assert changed.fingerprint != first
    assert changed.read(3).content == encode(4)  # the copy in the cache is not stale either


class Notes(Progress):
    """Keeps what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("sums", [True, False], ids=["damaged copy", "damaged checksums"])
def test_a_damaged_copy_is_made_again_and_said(root, tmp_path, make_task, encode, sums):
    notes = Notes()
    place = DataPlace(root, cache_dir=tmp_path / "c", progress=notes)
    first = open_task(make_task(SOURCE), place).open_pool("train")
    content = [first.content(row) for row in range(5)]
    assert not notes.notes
    copies = [path for path in (tmp_path / "c/datasets").rglob("*.arrow") if encode(2) in path.read_bytes()]
    (copy,) = copies
    damaged = copy if sums else next(path for path in copy.parents if (path / SUMS).is_file()) / SUMS
    before = damaged.read_bytes()
    damaged.write_bytes(before.replace(encode(2), encode(1).ljust(len(encode(2)), b"\0")) if sums else before[:-9])
    again = open_task(make_task(SOURCE), place).open_pool("train")
    assert [again.content(row) for row in range(5)] == content == [encode(row) for row in range(5)]
    assert len(notes.notes) == 1 and "made again" in notes.notes[0]
    open_task(make_task(SOURCE), place).open_pool("train")
    assert len(notes.notes) == 1 and damaged_copies(tmp_path / "c") == (1, [])


def test_a_copy_follows_the_bytes_and_not_the_time_of_a_file(root, tmp_path, make_task, encode):
    place = DataPlace(root, cache_dir=tmp_path / "c")
    file = root / "pets/test-00000-of-00001.parquet"
    status = file.stat()
    assert open_task(make_task(SOURCE), place).open_pool("test").content(0) == encode(9)
    plain_parquet(file, encode, [1, 0], seed=5)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as cp -p and rsync -t leave it
    assert open_task(make_task(SOURCE), place).open_pool("test").content(0) == encode(5)


def test_partial_copies_do_not_fall_through(root, tmp_path, make_task):
    task = make_task(SOURCE)
    (root / "pets/train-00001-of-00002.parquet").unlink()
    state = data_state(task, DataPlace(root))
    assert (state.state, "1 of 2 files" in state.missing) == ("partial", True)
    with pytest.raises(DataMissingError, match="1 of 2 files"):
        open_task(task, DataPlace(root))
    (root / "pets/train-00000-of-00002.parquet").unlink()
    assert data_state(task, DataPlace(root)).state == "partial"
    assert data_state(task, DataPlace(root / "x")).state == "downloadable"
    assert data_state(task, DataPlace(root / "x", offline=True)).state == "absent"
    assert data_state(make_task({**SOURCE, "repo": None}), DataPlace(root / "x")).state == "absent"


def test_hub_offline_equals_offline(tmp_path, make_task, monkeypatch, no_network):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataMissingError, match="offline"):
        open_task(make_task(SOURCE), DataPlace(tmp_path))


@pytest.mark.parametrize(
    ("labels", "columns", "reason"),
    [
        ([0, -1], {}, "row 1 has no label"),
        ([0, None], {}, "row 1 has no label"),
        ([0, 5], {}, "from 0 to 1"),
        ([0.0, 0.5], {}, "row 1 has no label"),
        ([0.0, float("nan")], {}, "row 1 has no label"),
        (["0", "0.5"], {}, "from 0 to 1"),
    ],
)
def test_labels_that_are_none(tmp_path, make_task, encode, labels, columns, reason):
    for split in ("train", "test"):
        plain_parquet(tmp_path / f"pets/{split}.parquet", encode, labels, **columns)
    with pytest.raises(DataError, match=reason):
        open_task(make_task(SOURCE), DataPlace(tmp_path, cache_dir=tmp_path / "c")).open_pool("train")


def test_wrong_columns_and_files_are_named(root, tmp_path, make_task, encode):
    def opened(**change):
        return open_task(make_task({**SOURCE, **change}), DataPlace(root, cache_dir=tmp_path / "c")).open_pool("test")

    with pytest.raises(DataError, match="no column 'fine_label'; its columns: image, label"):
        opened(label="fine_label")
    with pytest.raises(DataError, match="holds int64"):
        opened(image="label")
    with pytest.raises(DataError, match="no column 'who'"):
        opened(group="who")
    path = root / "pets/test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet cannot be read"):
        opened()


def test_paths_in_a_dataset_are_not_followed(tmp_path, make_task, encode):
    secret = tmp_path / "secret.png"
    secret.write_bytes(encode())
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "pets").mkdir()
    for split in ("train", "test"):
        cells = pa.array([{"bytes": None, "path": str(secret)}], kind)
        pq.write_table(pa.table({"image": cells, "label": [0]}), tmp_path / f"pets/{split}.parquet")
    pool = open_task(make_task(SOURCE), DataPlace(tmp_path, cache_dir=tmp_path / "c")).open_pool("train")
    with pytest.raises(DataError, match="no image bytes"):
        pool.read(0)


def test_a_truncated_image_names_its_row(tmp_path, make_task, encode):
    content = encode(kind="JPEG", size=(64, 64))
    for split in ("train", "test"):
        plain_parquet(tmp_path / f"pets/{split}.parquet", lambda row: content[: 500 * row + 400], [0, 1])
    pool = open_task(make_task(SOURCE), DataPlace(tmp_path, cache_dir=tmp_path / "c")).open_pool("train")
    with pytest.raises(DataError, match=r"00000000.*split 'train'"):
        pool.read(0)


@pytest.mark.shared
def test_the_real_cifar10(shared_data, tmp_path, make_task, no_network):
    source = {**SOURCE, "repo": None, "pools": {"test": "test"}}
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    task = make_task(source, name="cifar10", classes=names)
    pool = open_task(task, DataPlace(shared_data, cache_dir=tmp_path)).open_pool("test")
    assert np.bincount(pool.labels).tolist() == [1000] * 10
    assert pool.read(9999).image.size == (32, 32)


def test_hidden_files_are_no_parquet_files(tmp_path, make_task, encode):
    for split in ("train", "test"):
        plain_parquet(tmp_path / f"pets/{split}/0.parquet", encode, [1])
        (tmp_path / f"pets/{split}/._0.parquet").write_bytes(b"Mac OS X")
    data = open_task(make_task(SOURCE), DataPlace(tmp_path, cache_dir=tmp_path / "c"))
    assert data.open_pool("train").labels.tolist() == [1]


def test_an_arrow_stream_that_was_cut_off_is_refused(tmp_path, make_task, encode):
    (tmp_path / "pets").mkdir()
    table = hub_dataset(encode, [0, 1, 1, 0]).data.table
    for split in ("train", "test"):
        with pa.OSFile(str(tmp_path / f"pets/{split}.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as w:
            w.write_table(table, max_chunksize=2)
    path = tmp_path / "pets/train.arrow"
    path.write_bytes(path.read_bytes()[:-8])  # without the mark of its end; a reader takes it for whole
    data = open_task(make_task({**SOURCE, "labels": "by_key"}), DataPlace(tmp_path, cache_dir=tmp_path / "c"))
    assert len(data.open_pool("test")) == 4
    with pytest.raises(DataError, match=r"train\.arrow is cut off"):
        data.open_pool("train")


@pytest.mark.parametrize(
    "labels", [[1.0, 0.0], [True, False], ["1", "00"], pa.array([1, 0], pa.uint8()), pa.array([1, 0], pa.float32())]
)
def test_whole_numbers_of_any_type_are_labels(tmp_path, make_task, encode, labels):
    for split in ("train", "test"):
        plain_parquet(tmp_path / f"pets/{split}.parquet", encode, labels)
    data = open_task(make_task(SOURCE), DataPlace(tmp_path, cache_dir=tmp_path / "c"))
    assert data.open_pool("train").labels.tolist() == [1, 0]


def test_true_and_false_are_labels_of_two_classes(tmp_path, make_task, encode):
    for split in ("train", "test"):
        plain_parquet(tmp_path / f"pets/{split}.parquet", encode, [True, False])
    data = open_task(make_task(SOURCE, classes=["a", "b", "c"]), DataPlace(tmp_path, cache_dir=tmp_path / "c"))
    with pytest.raises(DataError, match="true and false, but the task has not two classes"):
        data.open_pool("train")


@pytest.mark.parametrize("kind", [pa.float32(), pa.bool_(), pa.int64()])
def test_vectors_of_0_and_1(tmp_path, make_task, encode, kind):
    for split in ("train", "test"):
        vectors = pa.array([[0, 1, 1], [1, 0, 0]], pa.list_(pa.int64())).cast(pa.list_(kind))
        plain_parquet(tmp_path / f"pets/{split}.parquet", encode, vectors)
    task = make_task(SOURCE, classes=["a", "b", "c"], multilabel=True, metric="map_11_point")
    pool = open_task(task, DataPlace(tmp_path, cache_dir=tmp_path / "c")).open_pool("train")
    assert pool.labels.tolist() == [[0, 1, 1], [1, 0, 0]]
