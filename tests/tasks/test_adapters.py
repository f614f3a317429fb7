"""The adapters next to the shipped task files, over tiny trees in the published formats and over broken ones."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evalsuite import resources
from evalsuite.code_files import CodeFile
from evalsuite.data.base import MultiLabel, Pool, RawPool
from evalsuite.data.lists import expand_lists, read_list
from evalsuite.data.readers import raw_pool_from_files
from evalsuite.data.sources.python import AdapterReader, call_adapter
from evalsuite.errors import DataError, DataMissingError, MissingExtraError
from evalsuite.tasks.sources import ListFile
from tests.paper import binaries, scenes, videos
from tests.paper.picture import Written, code, picture, read_code

WRITERS: dict[str, Callable[[Path], Written]] = {
    "stl10": binaries.write_stl10,
    "pcam": binaries.write_pcam,
    "kitti_distance": scenes.write_kitti_distance,
    "clevr_counts": scenes.write_clevr_counts,
    "voc2007": scenes.write_voc2007,
}
POOLS = {
    "stl10": ("train", "test"),
    "pcam": ("train", "val", "test"),
    "kitti_distance": ("train", "val", "test"),
    "clevr_counts": ("train", "val"),
    "voc2007": ("train", "val", "test"),
}
EVERY_POOL = [(task, pool) for task, pools in POOLS.items() for pool in pools]


def adapter(task: str) -> Path:
    """Return the file of a shipped adapter."""
    return resources.data_dir("tasks") / f"{task}.py"


def open_pool(task: str, root: Path | None, pool: str) -> RawPool:
    """Open a pool as a task does."""
    return call_adapter(CodeFile.read(adapter(task)), "open_pool", root, pool)


def shown(image: Image.Image, names: Sequence[str]) -> str:
    """Return the name whose code an image shows, which must be clear."""
    scores = np.stack([code(name) for name in names]) @ read_code(image)
    assert scores.max() > 30, "the picture shows no code of these names"
    return names[int(scores.argmax())]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write every dataset once, for tests that change nothing."""
    roots = {task: tmp_path_factory.mktemp(task) for task in WRITERS}
    for task, write in WRITERS.items():
        write(roots[task])
    return roots


@pytest.fixture
def broken(trees: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copy a dataset, to be broken."""

    def copy(task: str) -> Path:
        shutil.copytree(trees[task], tmp_path / task)
        return tmp_path / task

    return copy


# Every adapter


@pytest.mark.parametrize(("task", "pool"), EVERY_POOL)
def test_another_process_reads_the_same_pictures(task: str, pool: str, trees: dict[str, Path]) -> None:
    raw = open_pool(task, trees[task], pool)
    reader = AdapterReader(CodeFile.read(adapter(task)), "open_pool", trees[task], pool)
    copy = pickle.loads(pickle.dumps(reader))
    for row in (0, len(raw.ids) - 1):
        here, there = raw.read(row), copy(row)
        assert here.content == there.content and len(here.content) >= raw.sizes[row]
        assert np.array_equal(np.asarray(here.image), np.asarray(there.image))


@pytest.mark.parametrize(("task", "pool"), EVERY_POOL)
def test_another_machine_sees_the_same_pool(task: str, pool: str, trees: dict[str, Path], broken: Any) -> None:
    first = open_pool(task, trees[task], pool)
    other = broken(task)
    for path in other.rglob("*"):
        os.utime(path, (1e9, 1e9))
    second = open_pool(task, other, pool)
    assert list(first.ids) == list(second.ids) and list(first.labels) == list(second.labels)
    assert (first.content, first.groups) == (second.content, second.groups)
    assert np.array_equal(first.sizes, second.sizes)
    assert len(set(first.ids)) == len(first.ids) == len(first.labels) == len(first.sizes)


@pytest.mark.parametrize("task", WRITERS)
def test_unknown_pools_and_absent_data_are_named(task: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pools train.*not 'unlabeled'"):
        open_pool(task, tmp_path, "unlabeled")
    with pytest.raises(DataMissingError, match=f"{tmp_path}.*[Uu]npack"):
        open_pool(task, tmp_path, "train")


# STL-10


@pytest.mark.parametrize(("pool", "count", "step"), [("train", 90, 3), ("test", 30, 7)])
def test_stl10_is_what_was_written(pool: str, count: int, step: int, trees: dict[str, Path]) -> None:
    raw = open_pool("stl10", trees["stl10"], pool)
    assert list(raw.ids) == [f"{row:08d}" for row in range(count)]
    assert list(raw.labels) == binaries.stl10_labels(count, step)
    for row, label in enumerate(raw.labels):
        wrong = pool == "train" and row in binaries.STL10_DECOYS
        name = binaries.STL10_NAMES[(int(str(label)) + wrong) % 10]
        assert np.array_equal(np.asarray(raw.read(row).image), np.asarray(picture(name, row, 96)))


@pytest.mark.parametrize("pool", POOLS["stl10"])
def test_stl10_agrees_with_torchvision(pool: str, trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    monkeypatch.setattr(STL10, "_check_integrity", lambda self: True)  # it asks for the unlabeled images
    theirs = STL10(str(trees["stl10"]), split=pool)
    ours = open_pool("stl10", trees["stl10"], pool)
    assert theirs.classes == list(binaries.STL10_NAMES) and len(theirs) == len(ours.ids)
    for row, (image, label) in enumerate(theirs):
        assert label == ours.labels[row]
        assert np.array_equal(np.asarray(image), np.asarray(ours.read(row).image))


def test_stl10_folds_are_lines_of_row_numbers(trees: dict[str, Path]) -> None:
    raw = open_pool("stl10", trees["stl10"], "train")
    labels = np.array(raw.labels)
    pool = Pool("train", tuple(raw.ids), labels, raw.read, raw.sizes, None, None, "")
    entry = ListFile(file="fold_indices.txt", pool="train", format="index_lines", count=10)
    folds = [
        read_list(fold, pool) for fold in expand_lists({"fold-{}": entry}, [trees["stl10"] / "stl10_binary"]).values()
    ]
    assert len({tuple(rows.tolist()) for rows in folds}) > 1
    for rows in folds:
        assert np.bincount(labels[rows]).tolist() == [4] * 10
        for row in rows.tolist():
            assert shown(raw.read(row).image, binaries.STL10_NAMES) == binaries.STL10_NAMES[labels[row]]


def test_stl10_content_covers_pixels_and_labels(broken: Any) -> None:
    root = broken("stl10")
    seen = {open_pool("stl10", root, "test").content}
    for name in ("test_X.bin", "test_y.bin"):
        path = root / "stl10_binary" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] = content[len(content) // 2] % 10 + 1
        path.write_bytes(content)
        seen.add(open_pool("stl10", root, "test").content)
    assert len(seen) == 3


def test_damaged_stl10_is_named(broken: Any) -> None:
    folder = (root := broken("stl10")) / "stl10_binary"
    pixels, labels = (folder / "test_X.bin").read_bytes(), (folder / "test_y.bin").read_bytes()
    (folder / "test_X.bin").write_bytes(pixels[:-1])
    with pytest.raises(DataMissingError, match=r"test_X\.bin has 829,439 bytes.*30 labels.*need 829,440"):
        open_pool("stl10", root, "test")
    (folder / "test_X.bin").write_bytes(pixels)
    for code_ in (0, 11):
        (folder / "test_y.bin").write_bytes(labels[:4] + bytes([code_]) + labels[5:])
        with pytest.raises(DataError, match=rf"byte 4 of .*test_y\.bin is {code_}; labels are 1 \.\. 10"):
            open_pool("stl10", root, "test")
    (folder / "test_y.bin").unlink()
    with pytest.raises(DataMissingError, match=r"test_y\.bin is missing"):
        open_pool("stl10", root, "test")
    assert len(open_pool("stl10", root, "train").ids) == 90


# PatchCamelyon


@pytest.mark.parametrize("pool", POOLS["pcam"])
def test_pcam_is_what_was_written(pool: str, trees: dict[str, Path]) -> None:
    from torchvision.datasets import PCAM

    raw = open_pool("pcam", trees["pcam"], pool)
    count = binaries.PCAM_SETS["valid" if pool == "val" else pool]
    assert list(raw.ids) == [f"{row:08d}" for row in range(count)]
    assert list(raw.labels) == binaries.pcam_labels(count)
    for row, (image, label) in enumerate(PCAM(str(trees["pcam"]), split=pool)):
        found = raw.read(row).image
        assert shown(found, binaries.PCAM_NAMES) == binaries.PCAM_NAMES[label]
        assert label == raw.labels[row] and np.array_equal(np.asarray(image), np.asarray(found))


def test_pcam_is_opened_once_a_process(trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import h5py

    raw = open_pool("pcam", trees["pcam"], "train")
    opened: list[str] = []
    true_file = h5py.File

    def counted(path: Any, *arguments: Any, **named: Any) -> Any:
        opened.append(Path(path).name)
        return true_file(path, *arguments, **named)

    monkeypatch.setattr(h5py, "File", counted)
    before = [raw.read(row).content for row in range(24)]
    assert opened == ["camelyonpatch_level_2_split_train_x.h5"]
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)  # as after a fork
    assert [raw.read(row).content for row in range(24)] == before
    assert opened == ["camelyonpatch_level_2_split_train_x.h5"] * 2


def test_pcam_content_covers_labels_and_pieces_of_the_patches(broken: Any) -> None:
    folder = (root := broken("pcam")) / "pcam"
    seen = {open_pool("pcam", root, "val").content}
    path = folder / "camelyonpatch_level_2_split_valid_x.h5"
    content = bytearray(path.read_bytes())
    for position in (len(content) // 2, len(content) - 1):
        content[position] ^= 1
        path.write_bytes(content)
        seen.add(open_pool("pcam", root, "val").content)
    write_h5(folder / "camelyonpatch_level_2_split_valid_y.h5", "y", np.ones((8, 1, 1, 1), np.uint8))
    seen.add(open_pool("pcam", root, "val").content)
    assert len(seen) == 4


def test_damaged_pcam_is_named(broken: Any) -> None:
    folder = (root := broken("pcam")) / "pcam"
    images, labels = (folder / f"camelyonpatch_level_2_split_valid_{part}.h5" for part in "xy")
    whole = images.read_bytes()
    images.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"valid_x\.h5 cannot be opened as HDF5"):
        open_pool("pcam", root, "val")
    images.write_bytes(whole)
    write_h5(labels, "y", np.zeros((9, 1, 1, 1), np.uint8))
    with pytest.raises(DataError, match=r"uint8 \(8, 96, 96, 3\).*it must be uint8 \(9, 96, 96, 3\)"):
        open_pool("pcam", root, "val")
    write_h5(labels, "labels", np.zeros((8, 1, 1, 1), np.uint8))
    with pytest.raises(DataError, match=r"no dataset 'y', but labels"):
        open_pool("pcam", root, "val")
    images.unlink()
    with pytest.raises(DataMissingError, match=r"valid_x\.h5 is missing"):
        open_pool("pcam", root, "val")


def test_pcam_asks_for_the_extra(trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"evalsuite\[hdf5\]"):
        open_pool("pcam", trees["pcam"], "test")


def write_h5(path: Path, key: str, values: Any) -> None:
    """Write a file with one dataset."""
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=values)


# KITTI


def test_kitti_is_what_was_written(trees: dict[str, Path]) -> None:
    of_image, labels = scenes.kitti_images()
    for pool, numbers in scenes.kitti_pools(of_image).items():
        raw = open_pool("kitti_distance", trees["kitti_distance"], pool)
        assert list(raw.ids) == [f"training/image_2/{number:06d}.png" for number in numbers]
        assert list(raw.labels) == [labels[number] for number in numbers]
        assert raw.groups is not None and list(raw.groups) == [of_image[number] for number in numbers]
        assert set(raw.labels) == {0, 1, 2, 3}
        for row, label in enumerate(raw.labels):
            assert shown(raw.read(row).image, scenes.KITTI_NAMES) == scenes.KITTI_NAMES[int(str(label))]


@pytest.mark.parametrize(("count", "tenth"), [(2, 1), (9, 1), (19, 1), (20, 2), (29, 2), (45, 4)])
def test_kitti_draws_videos_as_tfds_does(count: int, tenth: int, tmp_path: Path) -> None:
    of_image = [f"2011_09_{26 + video % 4}_drive_{video:04d}_sync" for video in range(count)] * 2
    write_kitti(tmp_path, of_image, [[("Car", 9.0)]] * len(of_image))
    expected = scenes.kitti_pools(of_image)
    found = {pool: open_pool("kitti_distance", tmp_path, pool) for pool in expected}
    for pool, numbers in expected.items():
        assert [int(Path(name).stem) for name in found[pool].ids] == numbers
    assert [len(set(found[pool].groups or ())) for pool in ("test", "val")] == [tenth, tenth]


def test_kitti_draws_the_videos_numpy_always_drew(tmp_path: Path) -> None:
    """After numpy.random.seed(123), choice(21, 2, False) is [4, 7], and choice(19, 2, False) of the others [8, 9]."""
    of_image = [f"video{number:02d}" for number in range(21)]
    write_kitti(tmp_path, of_image, [[("Car", 9.0)]] * 21)
    pools = {pool: set(open_pool("kitti_distance", tmp_path, pool).groups or ()) for pool in ("test", "val", "train")}
    assert pools["test"] == {"video04", "video07"} and pools["val"] == {"video10", "video11"}
    assert pools["train"] == set(of_image) - pools["test"] - pools["val"]


@pytest.mark.parametrize(
    ("objects", "label"),
    [
        ([("Car", 1.0)], 0),
        ([("Car", -99.0)], 0),
        ([("Van", 8.0)], 0),
        ([("Truck", 8.01)], 1),
        ([("Car", 10.0)], 1),
        ([("Car", 20.0)], 1),
        ([("Car", 20.01)], 2),
        ([("Car", 30.0)], 2),
        ([("Car", 30.0), ("Van", 1.0)], 0),
        ([("Person_sitting", 30.0)], 3),
        ([("Pedestrian", 1.0), ("Cyclist", 1.0), ("Tram", 1.0), ("Misc", 1.0), ("DontCare", -1000.0)], 3),
        ([("Pedestrian", 1.0), ("DontCare", -1000.0), ("Truck", 21.0)], 2),
        ([], 3),
    ],
)
def test_kitti_labels_are_vtabs(objects: list[tuple[str, float]], label: int, tmp_path: Path) -> None:
    """The thresholds and types of task_adaptation's kitti.py; five of the cases are of its own kitti_test.py."""
    write_kitti(tmp_path, ["a", "b"], [objects, objects])
    assert list(open_pool("kitti_distance", tmp_path, "test").labels) == [label]


def test_kitti_says_where_the_mapping_comes_from(broken: Any) -> None:
    base = (root := broken("kitti_distance")) / "Kitti" / "raw"
    (base / "devkit_object" / "mapping" / "train_rand.txt").unlink()
    with pytest.raises(
        DataMissingError, match=r"mapping/train_rand\.txt is missing.*amazonaws\.com/avg-kitti/devkit_obj"
    ):
        open_pool("kitti_distance", root, "val")


def test_damaged_kitti_is_named(broken: Any) -> None:
    base = (root := broken("kitti_distance")) / "Kitti" / "raw"
    sample = str(open_pool("kitti_distance", root, "val").ids[0])
    note = base / "training/label_2" / f"{Path(sample).stem}.txt"
    text = note.read_text()
    for bad, reason in [
        ("Car 0.00 0 -1.58\n", f"{note.name} must have lines of a type and 14 numbers, not 'Car 0.00 0 -1.58'"),
        (CAR.format("near"), "a type and 14 numbers, not 'Car .* near"),
        (CAR.format(-100), "-100"),
    ]:
        note.write_text(bad)
        with pytest.raises(DataError, match=reason):
            open_pool("kitti_distance", root, "val")
    note.write_text(text)
    (base / sample).unlink()
    with pytest.raises(DataMissingError, match=rf"the split 'val' lacks 1 image or label file.*{Path(sample).name}"):
        open_pool("kitti_distance", root, "val")
    order = base / "devkit_object/mapping/train_rand.txt"
    numbers = order.read_text().strip().split(",")
    for wrong in ("0", "169", "x"):
        order.write_text(",".join([numbers[0], wrong, *numbers[2:]]))
        with pytest.raises(DataError, match=f"image 1 the line '{wrong}'.*168 lines"):
            open_pool("kitti_distance", root, "val")


CAR = "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 {} -1.59\n"


def write_kitti(root: Path, of_image: Sequence[str], objects: Sequence[Sequence[tuple[str, float]]]) -> None:
    """Write labels, empty images and the mapping."""
    base = root / "Kitti" / "raw"
    for folder in ("image_2", "label_2"):
        (base / "training" / folder).mkdir(parents=True)
    for number, things in enumerate(objects):
        (base / f"training/image_2/{number:06d}.png").touch()
        lines = [CAR.format(z).replace("Car", kind) for kind, z in things]
        (base / f"training/label_2/{number:06d}.txt").write_text("".join(lines))
    scenes.write_kitti_mapping(base / "devkit_object" / "mapping", of_image)


# CLEVR


@pytest.mark.parametrize("pool", POOLS["clevr_counts"])
def test_clevr_is_what_was_written(pool: str, trees: dict[str, Path]) -> None:
    from torchvision.datasets import CLEVRClassification

    raw = open_pool("clevr_counts", trees["clevr_counts"], pool)
    per_count = scenes.CLEVR_SETS[pool]
    assert Counter(raw.labels) == dict.fromkeys(range(3, 11), per_count)
    assert list(raw.ids) == [f"images/{pool}/CLEVR_{pool}_{index:06d}.png" for index in range(8 * per_count)]
    for row, (image, label) in enumerate(CLEVRClassification(str(trees["clevr_counts"]), split=pool)):
        found = raw.read(row).image
        assert label == raw.labels[row] and np.array_equal(np.asarray(image), np.asarray(found))
        assert shown(found, [str(count) for count in range(3, 11)]) == str(label)


def test_damaged_clevr_is_named(broken: Any) -> None:
    base = (root := broken("clevr_counts")) / "clevr" / "CLEVR_v1.0"
    image = base / "images/val/CLEVR_val_000002.png"
    shutil.copy(image, base / "images/val/CLEVR_val_000777.png")
    with pytest.raises(DataError, match=r"no scene for 1 image.*CLEVR_val_000777\.png"):
        open_pool("clevr_counts", root, "val")
    image.unlink()
    with pytest.raises(DataMissingError, match=r"1 of 24 images of the set 'val' are missing.*CLEVR_val_000002\.png"):
        open_pool("clevr_counts", root, "val")
    scenes_file = base / "scenes/CLEVR_val_scenes.json"
    content = json.loads(scenes_file.read_text())
    scenes_file.write_text(json.dumps({"scenes": content["scenes"] + content["scenes"][:1]}))
    with pytest.raises(DataError, match="names an image more than once"):
        open_pool("clevr_counts", root, "val")
    for text in ("[]", '{"scenes": [{}]}', scenes_file.read_text()[:500]):
        scenes_file.write_text(text)
        with pytest.raises(DataError, match=r"CLEVR_val_scenes\.json is no file of scenes"):
            open_pool("clevr_counts", root, "val")
    scenes_file.unlink()
    with pytest.raises(DataMissingError, match=r"CLEVR_val_scenes\.json is missing"):
        open_pool("clevr_counts", root, "val")


# VOC 2007


@pytest.mark.parametrize("pool", POOLS["voc2007"])
def test_voc_is_what_was_written(pool: str, trees: dict[str, Path]) -> None:
    raw = open_pool("voc2007", trees["voc2007"], pool)
    written = scenes.voc_images(pool)
    assert list(raw.ids) == [f"JPEGImages/{image}.jpg" for image in sorted(written)]
    assert list(raw.labels) == [MultiLabel((name,), (hard,)) for name, hard in written.values()]
    for row, (name, _) in enumerate(written.values()):
        assert shown(raw.read(row).image, scenes.VOC_CLASSES) == name


def test_voc_images_can_have_several_classes_and_none(broken: Any) -> None:
    main = (root := broken("voc2007")) / "VOCdevkit/VOC2007/ImageSets/Main"
    for name, mark in [("sheep", 1), ("diningtable", 1), ("train", 0)]:
        mark_voc(main / f"{name}_val.txt", "000002", mark)
    for name in scenes.VOC_CLASSES:
        mark_voc(main / f"{name}_val.txt", "000004", -1)
    first, second = open_pool("voc2007", root, "val").labels[:2]
    assert first == MultiLabel(("aeroplane", "diningtable", "sheep"), ("bicycle", "train"))
    assert second == MultiLabel(())


def test_damaged_voc_lists_are_named(broken: Any) -> None:
    main = (root := broken("voc2007")) / "VOCdevkit/VOC2007/ImageSets/Main"
    path = main / "sheep_train.txt"
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    for wrong in ("000001  2\n", "000001 x\n", "000001\n", "000001 1 1\n", "000001 1.0\n"):
        path.write_text(wrong + "".join(lines[1:]))
        with pytest.raises(
            DataError, match=rf"line 1 of .*sheep_train\.txt must be an image and 1, 0 or -1: '{wrong[:6]}"
        ):
            open_pool("voc2007", root, "train")
    path.write_text(text + lines[0])
    with pytest.raises(DataError, match=r"line 81 of .*sheep_train\.txt names the image '000001' a second time"):
        open_pool("voc2007", root, "train")
    path.write_text("".join(lines[1:]))
    with pytest.raises(DataError, match=r"sheep_train\.txt does not name 1 of the 80 images.*'000001'"):
        open_pool("voc2007", root, "train")
    path.write_text(text + "000002 -1\n")
    with pytest.raises(DataError, match=r"aeroplane_train\.txt does not name 1 of the 81 images.*'000002'"):
        open_pool("voc2007", root, "train")
    path.unlink()
    (main / "tvmonitor_train.txt").unlink()
    with pytest.raises(
        DataMissingError, match=r"2 of 20 lists are missing.*: sheep_train\.txt, tvmonitor_train\.txt\. "
    ):
        open_pool("voc2007", root, "train")
    assert len(open_pool("voc2007", root, "test").ids) == 40


def test_missing_voc_images_are_named(broken: Any) -> None:
    devkit = (root := broken("voc2007")) / "VOCdevkit/VOC2007"
    (devkit / "JPEGImages/000003.jpg").unlink()
    with pytest.raises(DataMissingError, match=r"the set 'train' lacks 1 image.*000003\.jpg\. .*VOCtrainval_06"):
        open_pool("voc2007", root, "train")


def mark_voc(path: Path, image: str, mark: int) -> None:
    """Change the mark of one image in a list."""
    lines = [f"{image} {mark:2d}" if line.startswith(image) else line for line in path.read_text().splitlines()]
    path.write_text("".join(f"{line}\n" for line in lines))


# The videos, which no adapter reads


def test_only_the_middle_frame_of_the_videos_shows_the_class(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    videos.write_kinetics700(tmp_path)
    videos.write_ucf101(tmp_path)
    names = {folder: name for folder, (_, _, name) in videos.UCF101_CLASSES.items()}
    trees = [
        (tmp_path / "UCF-101", "*/*.avi", names),
        (tmp_path / "kinetics700/train", "*/train*.mp4", videos.KINETICS_FOLDERS),
        (tmp_path / "kinetics700/val", "*/*.mp4", videos.KINETICS_FOLDERS),
    ]
    for base, pattern, known in trees:
        ids = sorted(path.relative_to(base).as_posix() for path in base.glob(pattern) if "_g07_" not in path.name)
        raw = raw_pool_from_files(base, ids, [Path(name).parent.name for name in ids], frame="middle")
        assert set(raw.labels) == set(known)
        for row, label in enumerate(raw.labels):
            assert shown(raw.read(row).image, list(known.values())) == known[str(label)]
            with av.open(str(base / ids[row])) as container:
                frames = [shown(frame.to_image(), list(known.values())) for frame in container.decode(video=0)]
            assert frames.count(known[str(label)]) == 1 and 7 <= len(frames) <= 9
    empty = tmp_path / "kinetics700/train" / videos.KINETICS_EMPTY
    with pytest.raises(DataError, match="cannot be decoded"):
        raw_pool_from_files(empty.parent, [empty.name], ["zumba"], frame="middle").read(0)


def test_the_splits_of_the_videos_differ(tmp_path: Path) -> None:
    sizes = videos.write_ucf101(tmp_path).sizes
    lists = tmp_path / "ucfTrainTestlist"
    tests = []
    for split in (1, 2, 3):
        train = [line.split()[0] for line in (lists / f"trainlist{split:02d}.txt").read_text().splitlines()]
        test = (lists / f"testlist{split:02d}.txt").read_text().splitlines()
        assert (len(train), len(test)) == (sizes["train"][split - 1], sizes["test"][split - 1])
        assert all((tmp_path / "UCF-101" / path).is_file() for path in train + test)
        groups = {path.rsplit("_", 1)[0] for path in train}
        assert not groups & {path.rsplit("_", 1)[0] for path in test}
        assert Counter(group.split("/")[0] for group in groups) == dict.fromkeys(videos.UCF101_CLASSES, 4)
        assert min(Counter(path.split("/")[0] for path in test).values()) >= 2
        tests.append(set(test))
    assert not tests[0] & tests[1] and not tests[1] & tests[2] and not tests[0] & tests[2]
