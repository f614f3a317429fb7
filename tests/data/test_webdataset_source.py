"""Tar shards, by the webdataset package and by hand."""

from __future__ import annotations

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from evalsuite.data import data_state, open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError

SOURCE = {
    "kind": "webdataset", "path": "wds", "pools": {"train": "train/*.tar", "test": "test/*.tar"},
    "labels": {"by_index": ["dog", "cat"]},
}  # fmt: skip


def write_tar(path, members, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, options.get("mode", "w")) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def root(tmp_path, encode):
    for pool in ("train", "test"):
        for shard in range(2):
            members = []
            for row in range(2):
                key = f"s{shard}{row}"
                members += [(f"{key}.cls", f"{row}\n".encode()), (f"{key}.webp", encode(10 * shard + row, kind="WEBP"))]
            write_tar(tmp_path / f"wds/{pool}/{shard}.tar", members)
        (tmp_path / f"wds/{pool}/nshards.txt").write_text("2\n")
    return tmp_path


def test_ids_labels_and_random_access(root, make_task, encode):
    data = open_task(make_task(SOURCE), DataPlace(root))
    pool = data.open_pool("train")
    assert pool.ids == ("train/0.tar/s00", "train/0.tar/s01", "train/1.tar/s10", "train/1.tar/s11")
    assert pool.labels.tolist() == [1, 0, 1, 0]
    read = pickle.loads(pickle.dumps(pool.read))
    for row, seed in ((3, 11), (0, 0), (2, 10)):
        assert read(row).content == encode(seed, kind="WEBP")
    assert pool.sizes[3] == len(encode(11, kind="WEBP"))
    assert set(data.resolved["files"]["train"]) == {"train/0.tar", "train/1.tar"}


def test_shards_in_a_folder_that_may_not_be_listed_are_not_left_out(root, make_task, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("wds/test"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataMissingError, match=r"cannot be looked at: .*Permission denied.*wds/test"):
        open_task(make_task({**SOURCE, "pools": {"all": "**/*.tar"}}), DataPlace(root)).open_pool("all")


def test_samples_of_one_name_in_two_folders_of_a_shard_are_two(tmp_path, make_task, encode):
    members = [("a/1.cls", b"0"), ("b/1.png", encode(1)), ("b/1.cls", b"1"), ("./a/1.png", encode(0))]
    for pool in ("train", "test"):
        write_tar(tmp_path / f"wds/{pool}/0.tar", members)
    found = open_task(make_task(SOURCE), DataPlace(tmp_path)).open_pool("train")
    assert found.ids == ("train/0.tar/a/1", "train/0.tar/b/1") and found.labels.tolist() == [1, 0]
    assert [found.read(row).content for row in (0, 1)] == [encode(0), encode(1)]


def test_shards_of_the_webdataset_package(tmp_path, make_task, encode):
    webdataset = pytest.importorskip("webdataset")
    (tmp_path / "wds/all").mkdir(parents=True)
    with webdataset.ShardWriter(f"file:{tmp_path}/wds/all/%03d.tar", maxcount=2, verbose=0) as writer:
        for row in range(5):
            writer.write({"__key__": f"a/sample{row:03d}", "png": encode(row), "cls": row % 2, "json": {"row": row}})
    pool = open_task(make_task({**SOURCE, "pools": {"all": "all/*.tar"}}), DataPlace(tmp_path)).open_pool("all")
    assert [sample.rsplit("/", 1)[1] for sample in pool.ids] == [f"sample{row:03d}" for row in range(5)]
    assert pool.labels.tolist() == [1, 0, 1, 0, 1]
    assert pool.read(4).content == encode(4)


def test_text_labels_of_another_field_and_the_order_of_extensions(tmp_path, make_task, encode):
    members = [("x.1.png", encode(1)), ("x.1.txt", b" dog "), ("x.1.jpg", encode(2)), ("__meta__.json", b"{}"),
               ("y.png", encode(3)), ("y.txt", b"cat"), ("y.jpg", encode(4))]  # fmt: skip
    members = [(name.replace("x.1", "x"), content) for name, content in members]
    write_tar(tmp_path / "wds/a.tar", members)
    source = {**SOURCE, "pools": {"all": "*.tar"}, "label": "txt", "labels": "by_key", "image": ["jpg", "png"]}
    pool = open_task(make_task(source), DataPlace(tmp_path)).open_pool("all")
    assert pool.labels.tolist() == [1, 0]
    assert pool.read(0).content == encode(2)


def test_vectors_of_several_labels(tmp_path, make_task, encode):
    buffer = io.BytesIO()
    np.save(buffer, np.array([0, 1]))
    write_tar(tmp_path / "wds/a.tar", [("x.npy", buffer.getvalue()), ("x.png", encode())])
    source = {**SOURCE, "pools": {"all": "*.tar"}, "label": "npy"}
    task = make_task(source, multilabel=True, metric="map_11_point")
    assert open_task(task, DataPlace(tmp_path)).open_pool("all").labels.tolist() == [[1, 0]]
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    write_tar(tmp_path / "wds/a.tar", [("x.npy", buffer.getvalue()), ("x.png", encode())])
    with pytest.raises(DataError, match="cannot be read"):
        open_task(task, DataPlace(tmp_path)).open_pool("all")


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png", "..\\x.png"])
def test_members_that_lead_out_are_refused(tmp_path, make_task, encode, name):
    write_tar(tmp_path / "wds/a.tar", [("x.cls", b"0"), (name, encode())])
    with pytest.raises(DataError, match="leads out"):
        open_task(make_task({**SOURCE, "pools": {"all": "*.tar"}}), DataPlace(tmp_path)).open_pool("all")


def test_links_are_no_images(tmp_path, make_task):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        label = tarfile.TarInfo("x.cls")
        label.size = 1
        archive.addfile(label, io.BytesIO(b"0"))
        link = tarfile.TarInfo("x.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match=r"'x\.png' is a link, a device or has holes"):
        open_task(make_task({**SOURCE, "path": ".", "pools": {"all": "*.tar"}}), DataPlace(tmp_path)).open_pool("all")


def test_members_with_holes_are_no_images(tmp_path, make_task):
    # their bytes in the archive begin with a map of the holes, so they cannot be read from their place
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("x.png")
        content = b"1\n0\n100\n".ljust(512, b"\0") + bytes(100)
        member.size = len(content)
        member.pax_headers = {
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x.png", "GNU.sparse.realsize": "100"
        }  # fmt: skip
        archive.addfile(member, io.BytesIO(content))
        label = tarfile.TarInfo("x.cls")
        label.size = 1
        archive.addfile(label, io.BytesIO(b"0"))
    with pytest.raises(DataError, match=r"'x\.png' is a link, a device or has holes"):
        open_task(make_task({**SOURCE, "path": ".", "pools": {"all": "*.tar"}}), DataPlace(tmp_path)).open_pool("all")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("x.cls", b"0")], "'x' has no image"),
        ([("x.png", b"p")], r"'x' has no label \(cls\)"),
        ([("x.cls", b"\xff\xfe"), ("x.png", b"p")], "label 'cls' that cannot be read"),
        ([("x.cls", b"0"), ("x.png", b"p"), ("x.png", b"p")], "two members 'png'"),
        ([("x.cls", b"7"), ("x.png", b"p")], "from 0 to 1"),
        ([], "hold no sample"),
    ],
)
def test_what_is_wrong_in_a_shard_is_named(tmp_path, make_task, members, reason):
    write_tar(tmp_path / "wds/a.tar", members)
    with pytest.raises(DataError, match=reason):
        open_task(make_task({**SOURCE, "pools": {"all": "*.tar"}}), DataPlace(tmp_path)).open_pool("all")


def test_truncated_and_compressed_shards(root, make_task, encode):
    path = root / "wds/train/1.tar"
    content = path.read_bytes()
    for cut in (700, 512 * 3 + 100):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"1\.tar is no whole, uncompressed tar"):
            open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")
    write_tar(path, [("x.cls", b"0"), ("x.png", encode())], mode="w:gz")
    with pytest.raises(DataError, match="uncompressed"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")


def test_fingerprints_follow_the_shards(root, make_task, encode):
    first = open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").fingerprint
    assert (
        open_task(make_task({**SOURCE, "labels": {"by_index": "classes"}}), DataPlace(root))
        .open_pool("train")
        .fingerprint
        == first
    )
    write_tar(root / "wds/train/0.tar", [("s00.cls", b"0"), ("s00.webp", encode(99, kind="WEBP"))])
    assert open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").fingerprint != first


def test_missing_shards(root, make_task):
    task = make_task(SOURCE)
    assert data_state(task, DataPlace(root)).state == "ready"
    (root / "wds/test/1.tar").unlink()
    state = data_state(task, DataPlace(root))
    assert (state.state, "1 of 2 shards" in state.missing) == ("partial", True)
    (root / "wds/test/0.tar").unlink()
    assert data_state(task, DataPlace(root)).state == "partial"
    with pytest.raises(DataMissingError, match=r"wds/test/\*\.tar"):
        open_task(task, DataPlace(root))
    assert data_state(task, DataPlace(root / "x")).state == "absent"


def member_starts(path):
    with tarfile.open(path) as archive:
        return [member.offset for member in archive]


@pytest.mark.parametrize("damage", ["between members", "in a header", "a header overwritten", "at the end"])
def test_a_shard_that_was_cut_off_is_refused(root, make_task, damage):
    path = root / "wds/train/1.tar"
    content, start = path.read_bytes(), member_starts(path)[2]
    path.write_bytes(
        {
            "between members": content[:start],
            "in a header": content[: start + 200],
            "a header overwritten": content[:start] + b"x" * 512 + content[start + 512 :],
            "at the end": content[: -(-len(content.rstrip(b"\0")) // 512) * 512],
        }[damage]
    )
    with pytest.raises(DataError, match=r"1\.tar is no whole, uncompressed tar file"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")


def test_two_archives_in_one_file_are_refused(root, make_task):
    first, second = root / "wds/train/0.tar", root / "wds/train/1.tar"
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(DataError, match=r"0\.tar .*goes on after its end"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")


def test_hidden_files_are_no_shards(root, make_task):
    (root / "wds/train/._0.tar").write_bytes(b"Mac OS X")
    assert len(open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")) == 4


@pytest.mark.parametrize("vector", [[3, 7], [0, 1, 0], [0, -1], [0.5, 1], [[0, 1]], 1, ["0", "1"]])
def test_what_is_no_vector_of_0_and_1_is_refused(tmp_path, make_task, encode, vector):
    buffer = io.BytesIO()
    np.save(buffer, np.array(vector))
    write_tar(tmp_path / "wds/a.tar", [("x.npy", buffer.getvalue()), ("x.png", encode())])
    task = make_task({**SOURCE, "pools": {"all": "*.tar"}, "label": "npy"}, multilabel=True, metric="map_11_point")
    with pytest.raises(DataError, match="a vector of 0 and 1 with a place for each of the 2 classes"):
        open_task(task, DataPlace(tmp_path)).open_pool("all")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["0-of-3", "1-of-3"], "2 of 3 files are in"),
        (["0-of-2", "1-of-2", "0-of-3"], "files of several uploads"),
        (["0-of-2-abc", "0-of-2-def"], "files of several uploads"),
        (["0-of-2", "1-of-2", "new"], "files of several uploads"),
        (["1-of-2", "2-of-2"], ""),
    ],
)
def test_shards_that_say_how_many_they_are(root, make_task, encode, names, said):
    for old in (root / "wds/test").iterdir():
        old.unlink()
    for number, name in enumerate(names):
        write_tar(root / f"wds/test/{name}.tar", [(f"{number}.cls", b"0"), (f"{number}.webp", encode(50 + number))])
    state = data_state(make_task(SOURCE), DataPlace(root))
    assert (state.state == "ready") == (said == "") and said in state.missing


def test_a_gap_in_the_numbers_of_shards_is_a_warning(root, make_task):
    data = open_task(make_task(SOURCE), DataPlace(root))
    assert data.open_pool("test").warnings == ()
    (root / "wds/train/nshards.txt").unlink()
    (root / "wds/train/1.tar").rename(root / "wds/train/3.tar")
    (warning,) = open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").warnings
    assert "numbered from 0 to 3, 2 numbers are not there, such as 1" in warning
    for old, new in (("0", "2007"), ("3", "2012")):  # which are years
        (root / f"wds/train/{old}.tar").rename(root / f"wds/train/{new}.tar")
    assert open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").warnings == ()


def test_a_copy_of_a_shard_is_refused(root, make_task):
    (root / "wds/train/nshards.txt").unlink()
    (root / "wds/train/1 (1).tar").write_bytes((root / "wds/train/1.tar").read_bytes())
    with pytest.raises(DataError, match=r"1\.tar is a copy of 1 \(1\)\.tar"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")


def test_the_names_next_to_the_shards_are_held_against_the_order(root, make_task):
    names = root / "wds/classnames.txt"
    names.write_text("Dog\ncat\n")
    assert open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").labels.tolist() == [1, 0, 1, 0]
    names.write_text("cat\ndog\n")
    with pytest.raises(DataError, match="the data call the label 0 'cat', `by_index` calls it 'dog'"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")


def test_of_several_images_the_task_file_says_which(root, make_task, encode):
    write_tar(root / "wds/train/0.tar", [("a.cls", b"0"), ("a.jpg", encode(1)), ("a.png", encode(2))])
    with pytest.raises(DataError, match=r"the sample 'a' has several images \(png, jpg\)"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")
    pool = open_task(make_task({**SOURCE, "image": ["jpg", "webp"]}), DataPlace(root)).open_pool("train")
    assert pool.read(0).content == encode(1)
