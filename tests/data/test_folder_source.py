"""Image folders, and what all sources share: fingerprints, order, pickling."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil

import pytest

from evalsuite.data import data_state, open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError, SpecError

POOLS = {"train": "train", "test": "test"}
SOURCE = {"kind": "folder", "path": "pets", "pools": POOLS}


@pytest.fixture
def root(tmp_path, encode):
    for pool in POOLS:
        for number, name in enumerate(["cat/2.png", "cat/10.png", "dog/deep/er/1.png", "dog/0.png"]):
            path = tmp_path / "pets" / pool / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(number))
    return tmp_path


def test_ids_labels_sizes_and_images(root, make_task, encode):
    data = open_task(make_task(SOURCE), DataPlace(root))
    pool = data.open_pool("train")
    assert pool.ids == ("cat/10.png", "cat/2.png", "dog/0.png", "dog/deep/er/1.png")
    assert pool.labels.tolist() == [0, 0, 1, 1]
    assert pool.read(0).content == encode(1)
    assert pool.read(3).image.size == (12, 10)
    assert pool.sizes.tolist() == [len(encode(seed)) for seed in (1, 0, 3, 2)]
    assert pool.mtimes is not None
    assert pool.mtimes[1] == (root / "pets/train/cat/2.png").stat().st_mtime_ns
    assert (data.source, data.task.name) == ("folder", "pets")


def test_labels_may_be_found_in_the_path(tmp_path, make_task, encode):
    for number, name in enumerate(["a/abbey/1.jpg", "j/jail/indoor/1.jpg", "j/jail/indoor/2.jpg"]):
        path = tmp_path / "SUN" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(number))
    source = {"kind": "folder", "path": "SUN", "pools": {"all": "."}, "label": "^[a-z]/(.+)/[^/]+$"}
    task = make_task(source, classes=["jail/indoor", "abbey"], splits={"rule": "sample", "train": 1})
    assert open_task(task, DataPlace(tmp_path)).open_pool("all").labels.tolist() == [1, 0, 0]
    wrong = make_task({**source, "label": "^x/(.+)/"}, classes=["jail/indoor", "abbey"])
    with pytest.raises(DataError, match=r"`label` .* does not match the sample 'a/abbey/1.jpg'"):
        open_task(wrong, DataPlace(tmp_path)).open_pool("all")
    with pytest.raises(SpecError, match="parentheses around the label"):
        open_task(make_task({**source, "label": "^x"}), DataPlace(tmp_path)).open_pool("all")


def test_names_choose_by_the_name_of_the_file_alone(root, make_task, encode):
    (root / "pets/train/dog/cat_1.png").write_bytes(encode(9))
    source = {**SOURCE, "pools": {"train": "train", "test": "train"}, "names": {"train": "[0-9]*", "test": "cat*"}}
    data = open_task(make_task(source), DataPlace(root))
    assert data.open_pool("train").ids == ("cat/10.png", "cat/2.png", "dog/0.png", "dog/deep/er/1.png")
    assert data.open_pool("test").ids == ("dog/cat_1.png",)


def test_pools_open_once_and_only_when_asked(root, make_task):
    shutil.rmtree(root / "pets/test")
    (root / "pets/test").mkdir()
    (root / "pets/test/cat").mkdir()
    data = open_task(make_task(SOURCE), DataPlace(root))
    assert data.open_pool("train") is data.open_pool("train")
    with pytest.raises(DataError, match="holds no image"):
        data.open_pool("test")
    with pytest.raises(SpecError, match=r"no pool.*'val'.*train, test"):
        data.open_pool("val")


def test_readers_survive_pickling(root, make_task):
    read = open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").read
    assert pickle.loads(pickle.dumps(read))(1).content == read(1).content


def test_hidden_files_empty_folders_and_other_kinds_are_passed_over(root, make_task):
    (root / "pets/train/cat/.DS_Store.png").write_bytes(b"x")
    (root / "pets/train/.cache/y").mkdir(parents=True)
    (root / "pets/train/.cache/y/1.png").write_bytes(b"x")
    (root / "pets/train/bird").mkdir()
    (root / "pets/train/cat/notes.txt").write_text("x")
    (root / "pets/train/loose.png").write_bytes(b"x")
    assert len(open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")) == 4


def test_links_are_followed_and_loops_end(root, make_task):
    (root / "pets/train/cat/again").symlink_to(root / "pets/train/cat")
    (root / "pets/train/bird").symlink_to(root / "pets/test/dog")
    pool = open_task(make_task(SOURCE, classes=["bird", "cat", "dog"]), DataPlace(root)).open_pool("train")
    assert [sample for sample in pool.ids if sample.startswith("bird")] == ["bird/0.png", "bird/deep/er/1.png"]
    assert len(pool) == 6


@pytest.mark.parametrize(("names", "reason"), [(["a.heic"], "1 x .heic"), (["../x.png"], "1 image directly in it")])
def test_nothing_left_says_what_was_seen(tmp_path, make_task, names, reason):
    (tmp_path / "pets/train/cat").mkdir(parents=True)
    for name in names:
        (tmp_path / "pets/train/cat" / name).write_bytes(b"x")
    source = {**SOURCE, "pools": {"train": "train"}}
    with pytest.raises(DataError, match=reason):
        open_task(make_task(source), DataPlace(tmp_path)).open_pool("train")


def test_groups_come_from_the_path(root, make_task):
    pool = open_task(make_task({**SOURCE, "group": r"(\d)\d*\.png$"}), DataPlace(root)).open_pool("train")
    assert pool.groups == ("1", "2", "0", "1")


@pytest.mark.parametrize(("pattern", "error"), [(r"(\d", SpecError), (r"\d", SpecError), (r"(x)_", DataError)])
def test_bad_group_patterns(root, make_task, pattern, error):
    with pytest.raises(error, match="group"):
        open_task(make_task({**SOURCE, "group": pattern}), DataPlace(root)).open_pool("train")


def test_the_folder_next_to_the_task_file_comes_first(root, tmp_path, make_task, encode):
    own = tmp_path / "mine"
    (own / "pets/train/dog").mkdir(parents=True)
    (own / "pets/test/dog").mkdir(parents=True)
    (own / "pets/train/dog/9.png").write_bytes(encode(9))
    (own / "pets/test/dog/8.png").write_bytes(encode(8))
    data = open_task(make_task(SOURCE, path=own / "pets.yaml"), DataPlace(root))
    assert data.open_pool("train").ids == ("dog/9.png",)
    assert open_task(make_task(SOURCE, path=own / "pets.yaml"), DataPlace()).open_pool("test").ids == ("dog/8.png",)


def test_fingerprints_do_not_depend_on_the_machine(root, tmp_path, make_task):
    shutil.copytree(root / "pets", tmp_path / "elsewhere/pets")
    first = open_task(make_task(SOURCE), DataPlace(root))
    second = open_task(
        make_task({**SOURCE, "labels": {"by_code": {"cat": "dog", "dog": "cat"}}}), DataPlace(tmp_path / "elsewhere")
    )
    assert first.open_pool("train").fingerprint == second.open_pool("train").fingerprint
    assert first.open_pool("train").labels.tolist() != second.open_pool("train").labels.tolist()
    assert first.open_pool("train").fingerprint != first.open_pool("test").fingerprint
    other = open_task(make_task({**SOURCE, "extensions": [".png"]}), DataPlace(root))
    assert other.open_pool("train").fingerprint != first.open_pool("train").fingerprint


def test_the_order_of_listing_does_not_matter(root, make_task, monkeypatch):
    expected = open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").ids
    original = os.scandir

    class Reversed:
        def __init__(self, path):
            with original(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(os, "scandir", Reversed)
    assert open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").ids == expected


def test_partial_and_absent_data_say_where_to_put_what(root, make_task):
    task = make_task(SOURCE)
    assert data_state(task, DataPlace(root)).state == "ready"
    shutil.rmtree(root / "pets/test")
    state = data_state(task, DataPlace(root))
    assert state.state == "partial"
    assert str(root / "pets/test") in state.missing
    with pytest.raises(DataMissingError, match="only in part") as caught:
        open_task(task, DataPlace(root))
    assert str(root / "pets/test") in str(caught.value)
    assert data_state(task, DataPlace(root / "nowhere")).state == "absent"
    with pytest.raises(DataMissingError, match="EVALSUITE_DATA"):
        open_task(task, DataPlace())


def test_videos_give_their_middle_frame(tmp_path, make_task, video):
    for label, seed in (("cat", 3), ("dog", 5)):
        path = tmp_path / "pets/all" / label / f"v_{label}_g0{seed}_c01.avi"
        path.parent.mkdir(parents=True)
        path.write_bytes(video(seed))
    source = {
        "kind": "folder", "path": "pets", "pools": {"all": "all"}, "extensions": [".avi"], "frame": "middle",
        "group": r"_(g\d+)_c\d+",
    }  # fmt: skip
    pool = open_task(make_task(source), DataPlace(tmp_path)).open_pool("all")
    assert pool.groups == ("g03", "g05")
    sample = pool.read(1)
    assert sample.image.size == (32, 32)
    assert hashlib.sha256(sample.content).digest() == hashlib.sha256(video(5)).digest()


def test_a_corrupt_image_names_its_file(root, make_task):
    path = root / "pets/train/cat/2.png"
    path.write_bytes(path.read_bytes()[:60])
    pool = open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")
    with pytest.raises(DataError) as caught:
        pool.read(1)
    assert "cat/2.png" in str(caught.value)
    assert str(path) in str(caught.value)
    path.unlink()
    with pytest.raises(DataError, match=r"cat/2\.png"):
        pool.read(1)


def test_images_of_other_kinds_are_passed_over_with_a_warning(root, make_task):
    folder = root / "pets/train/cat"
    (folder / "2.png").rename(folder / "2.JFIF")
    (folder / "10.png").rename(folder / "10.heic")
    (folder / "notes.txt").write_text("x")
    data = open_task(make_task(SOURCE), DataPlace(root))
    (warning,) = data.open_pool("train").warnings
    assert "1 x .heic, 1 x .jfif" in warning and str(root / "pets/train") in warning and ".txt" not in warning
    assert data.open_pool("test").warnings == ()


def test_images_outside_of_class_folders_are_passed_over_with_a_warning(root, make_task):
    shutil.copy(root / "pets/train/cat/2.png", root / "pets/train/2.png")
    (warning,) = open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").warnings
    assert "1 image directly in it" in warning


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".2.png", "1 image hidden, passed over"),
        ("2", "1 x without extension"),
        ("2.png.part", "1 x .png.part"),
        ("2.dcm", "1 x .dcm"),
        ("._2.png", ""),
        ("2.png.txt", ""),
    ],
)
def test_images_that_are_passed_over_for_their_name_are_a_warning(root, make_task, name, said):
    (root / "pets/train/cat/2.png").rename(root / "pets/train/cat" / name)
    warnings = open_task(make_task(SOURCE), DataPlace(root)).open_pool("train").warnings
    assert said in warnings[0] if said else warnings == ()


def test_names_in_other_case_are_passed_over_with_a_warning(root, make_task):
    (root / "pets/train/cat/2.png").rename(root / "pets/train/cat/X2.png")
    (root / "pets/train/cat/10.png").rename(root / "pets/train/cat/x10.png")
    pool = open_task(make_task({**SOURCE, "names": {"train": "x*"}}), DataPlace(root)).open_pool("train")
    assert pool.ids == ("cat/x10.png",) and "1 image that `names` has in other case" in pool.warnings[0]


def test_a_folder_that_may_not_be_read_is_named(root, make_task, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("train/dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"pool 'train' cannot be opened.*Permission denied.*train/dog.*rights"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")


def test_a_folder_that_cannot_be_looked_at_is_no_traceback(root, make_task, monkeypatch):
    def refuse(path):
        raise OSError(116, "Stale file handle", str(path))

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    state = data_state(make_task(SOURCE), DataPlace(root))
    assert state.state == "partial" and "Stale file handle" in state.missing


def test_a_link_to_itself_and_a_name_that_is_no_text_are_named(root, make_task):
    link = root / "pets/train/cat/self"
    link.symlink_to("self")
    with pytest.raises(DataError, match="Too many levels of symbolic links"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")
    link.unlink()
    (root / "pets/train/cat/2.png").rename(root / "pets/train/cat" / os.fsdecode(b"\xff.png"))
    with pytest.raises(DataError, match=r"is no UTF-8\. Rename the file"):
        open_task(make_task(SOURCE), DataPlace(root)).open_pool("train")
