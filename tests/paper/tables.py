"""Tiny datasets whose labels are in tables, lists and .mat files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from tests.paper.picture import Written, picture
from tests.paper.saving import TEST, TRAIN, VAL, per_class, read_names, save, write_lines

FER2013 = ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")
"""First prompt name of each code 0 .. 6."""

BIRDS = {
    "Allens_Hummingbird": (4, "Allen's Hummingbird", "Selasphorus sasin", "Allens Hummingbird"),
    "American_Three_toed_Woodpecker": (
        19, "American Three-toed Woodpecker", "Picoides dorsalis", "American Three toed Woodpecker",
    ),
    "Acadian_Flycatcher": (1, "Acadian Flycatcher", "Empidonax virescens", "Acadian Flycatcher"),
    "Black_and_white_Warbler": (49, "Black-and-white Warbler", "Mniotilta varia", "Black and white Warbler"),
    "Swainsons_Hawk": (431, "Swainson's Hawk", "Buteo swainsoni", "Swainsons Hawk"),
    "Swainsons_Thrush": (432, "Swainson's Thrush", "Catharus ustulatus", "Swainsons Thrush"),
}  # fmt: skip
"""Folder -> (id, common name, scientific name, name in the prompts)."""

CARS = (1, 4, 114, 113, 174, 196)
"""Classes with images, 1-based: their names are the lines of stanford_cars.txt."""

FLOWERS = {
    1: "pink primrose",
    2: "hard-leaved pocket orchid",
    12: "colt's foot",
    16: "globe flower",
    60: "pink and yellow dahlia",
    93: "air plant",
    102: "blackberry lily",
}
"""Label in imagelabels.mat -> name in the prompts; torchvision writes 16, 60 and 93 otherwise."""

AIRCRAFT = ("707-320", "BAE-125", "F-16A/B", "F/A-18", "Fokker 50", "Yak-42")

MEMES = ("meme", "hatespeech meme")


def write_fer2013(root: Path) -> Written:
    """Write icml_face_data.csv with the three usages mixed.

    One row of PublicTest shows another emotion than its label says, so that a score on it is not 1.
    """
    usages = ["Training"] * TRAIN + ["PublicTest"] * VAL + ["PrivateTest"] * TEST
    rows = ["emotion, Usage, pixels"]
    for variant in sorted(range(len(usages)), key=lambda number: (number % 3, number)):
        for label, name in enumerate(FER2013):
            wrong = variant == TRAIN and label == 0
            pixels = np.asarray(picture(FER2013[1] if wrong else name, variant, 48).convert("L"))
            rows.append(f"{label},{usages[variant]},{' '.join(map(str, pixels.reshape(-1).tolist()))}")
    write_lines(root / "fer2013" / "icml_face_data.csv", rows)
    return Written(per_class(len(FER2013), val=VAL))


def write_birdsnap(root: Path) -> Written:
    """Write the lists and the images that could still be fetched: one a list is missing in each class."""
    folder = root / "birdsnap"
    species = [f"{number}\t{common}\t{science}\t{name}" for name, (number, common, science, _) in BIRDS.items()]
    write_lines(folder / "species.txt", ["id\tcommon\tscientific\tdir", *species])
    images, test = [], []
    for name, (number, _, _, shown) in BIRDS.items():
        lost = {0, TRAIN + 1}
        for variant in range(TRAIN + TEST + len(lost)):
            path = f"{name}/{number * 1000 + variant}.jpg"
            images.append(f"https://example.org/{number}_{variant}.jpg\t{variant:032x}\t{path}\t{number}\t0\t0\t30\t30")
            if variant > TRAIN:
                test.append(path)
            if variant not in lost:
                save(folder / "images" / path, shown, variant)
    header = "url\tmd5\tpath\tspecies_id\tbb_x1\tbb_y1\tbb_x2\tbb_y2"
    write_lines(folder / "images.txt", [header, *images])
    write_lines(folder / "test_images.txt", ["path", *test])
    return Written(per_class(len(BIRDS)))


def write_stanford_cars(root: Path) -> Written:
    """Write the images in mixed order and the .mat files; the labelled test list lies next to the devkit."""
    folder, names = root / "stanford_cars", read_names("stanford_cars.txt")
    (folder / "devkit").mkdir(parents=True)
    for split, first, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        rows: list[tuple[Any, ...]] = []
        for variant in range(first, first + count):
            for label in CARS[variant % len(CARS) :] + CARS[: variant % len(CARS)]:
                file = f"{len(rows) + 1:05d}.jpg"
                save(folder / f"cars_{split}" / file, names[label - 1], variant, width=48, height=36)
                rows.append((1, 1, 40, 30, np.uint8(label), file))
        place = folder / "devkit" / "cars_train_annos.mat"
        if split == "test":
            place = folder / "cars_test_annos_withlabels.mat"
            unlabelled = [(*row[:4], row[5]) for row in rows]
            _save_annotations(folder / "devkit" / "cars_test_annos.mat", unlabelled, ["fname"])
        _save_annotations(place, rows, ["class", "fname"])
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    return Written(per_class(len(CARS)))


def write_flowers102(root: Path) -> Written:
    """Write the images with the labels in turn, and the two .mat files; the labels in them begin at 1."""
    folder = root / "flowers-102"
    labels: list[int] = []
    sets: dict[str, list[int]] = {"trnid": [], "valid": [], "tstid": []}
    for variant, name in enumerate(["tstid"] * TEST + ["trnid"] * TRAIN + ["valid"] * VAL):
        for label, flower in FLOWERS.items():
            labels.append(label)
            sets[name].append(len(labels))
            save(folder / "jpg" / f"image_{len(labels):05d}.jpg", flower, variant)
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    savemat(folder / "setid.mat", {name: np.array([ids], np.uint16) for name, ids in sets.items()})
    return Written(per_class(len(FLOWERS), val=VAL))


def write_fgvc_aircraft(root: Path) -> Written:
    """Write the images, the hundred variants, and the lists; two variants have a slash in their names."""
    data = root / "fgvc-aircraft-2013b" / "data"
    write_lines(data / "variants.txt", read_names("fgvc_aircraft.txt"))
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for variant, split in enumerate(["train"] * TRAIN + ["val"] * VAL + ["test"] * TEST):
        for number, name in enumerate(AIRCRAFT):
            image = f"{(number * 7919 + variant * 104729) % 10_000_000:07d}"
            save(data / "images" / f"{image}.jpg", name, variant, width=48, height=36)
            lists[split].append(f"{image} {name}")
    for split, lines in lists.items():
        write_lines(data / f"images_variant_{split}.txt", lines)
    write_lines(data / "images_variant_trainval.txt", sorted(lists["train"] + lists["val"]))
    return Written(per_class(len(AIRCRAFT), val=VAL))


def write_hateful_memes(root: Path) -> Written:
    """Write img/ and the lists; dev_unseen and test_seen, which are not the paper's test, show the other label."""
    folder = root / "hateful_memes"
    counts = {"train": 2 * TRAIN, "dev_seen": 2 * TEST, "dev_unseen": TEST, "test_seen": TEST}
    number = 1234
    for split, count in counts.items():
        rows: list[Mapping[str, Any]] = []
        for variant in range(count):
            for label in (0, 1):
                shown = label if split in ("train", "dev_seen") else 1 - label
                image = f"img/{number:05d}.png"
                save(folder / image, MEMES[shown], variant + 100 * len(split), mode="RGBA" if variant == 1 else "RGB")
                rows.append({"id": number, "img": image, "label": label, "text": "its their character not their color"})
                number += 1
        write_lines(folder / f"{split}.jsonl", _json(rows))
    return Written(per_class(2, train=counts["train"], test=counts["dev_seen"]))


def _save_annotations(path: Path, rows: Sequence[tuple[Any, ...]], last: Sequence[str]) -> None:
    """Write the struct array `annotations`: the corners of a box, then the fields `last`."""
    fields: list[tuple[str, Any]] = [(field, object) for field in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", *last)]
    savemat(path, {"annotations": np.array([rows], dtype=fields)})


def _json(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [json.dumps(row) for row in rows]
