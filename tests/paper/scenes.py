"""KITTI (distance), CLEVR (counts) and Pascal VOC 2007, tiny, in the layouts they are published in."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.paper.picture import Written, picture

KITTI_NAMES = (
    "a photo i took of a car on my left or right side.",
    "a photo i took with a car nearby.",
    "a photo i took with a car in the distance.",
    "a photo i took with no car.",
)
"""The captions of the labels 0 .. 3."""

KITTI_VIDEOS = 21
KITTI_OBJECTS: dict[int, tuple[tuple[tuple[str, float], ...], ...]] = {
    # The closest Car, Van or Truck decides: up to 8 m, up to 20 m, farther, none.
    0: (
        (("Car", 3.21), ("Van", 30.0)),
        (("Truck", 25.5), ("Van", 8.0), ("Pedestrian", 2.0)),
        (("Car", -0.4),),
    ),
    1: (
        (("Pedestrian", 2.5), ("Car", 8.01), ("Car", 44.0)),
        (("Tram", 4.0), ("Van", 20.0)),
        (("Misc", 1.5), ("Truck", 15.0), ("DontCare", -1000.0)),
    ),
    2: (
        (("Cyclist", 3.0), ("Person_sitting", 9.0), ("Car", 20.01)),
        (("Truck", 71.5), ("DontCare", -1000.0)),
        (("Tram", 12.0), ("Van", 33.3)),
    ),
    3: (
        (("Pedestrian", 4.0), ("Tram", 9.9)),
        (("DontCare", -1000.0),),
        (("Cyclist", 30.0), ("Misc", 6.0)),
    ),
}

CLEVR_COUNTS = range(3, 11)
CLEVR_SETS = {"train": 6, "val": 3}
"""Images for each count."""

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The words in the names of the list files, which are the prompt names, too."""

VOC_SETS = {"train": 4, "val": 2, "test": 2}
"""Images for each class."""


def words_of_mt19937(seed: int) -> Iterator[int]:
    """Yield the 32-bit words of MT19937 after Matsumoto and Nishimura's `init_genrand(seed)`."""
    state = [seed]
    for position in range(1, 624):
        last = state[-1]
        state.append((1812433253 * (last ^ (last >> 30)) + position) & 0xFFFFFFFF)
    source = random.Random()
    source.setstate((3, (*state, 624), None))
    while True:
        yield source.getrandbits(32)


def legacy_choice(names: Sequence[str], count: int, words: Iterator[int]) -> list[str]:
    """Draw without replacement as `numpy.random.seed` and `numpy.random.choice` always did.

    A Fisher-Yates shuffle from the back; a position is a masked word, drawn again while it is too large.
    """
    shuffled = list(names)
    for last in range(len(shuffled) - 1, 0, -1):
        mask = (1 << last.bit_length()) - 1
        other = next(word & mask for word in words if word & mask <= last)
        shuffled[last], shuffled[other] = shuffled[other], shuffled[last]
    return shuffled[:count]


def kitti_pools(videos: Sequence[str]) -> dict[str, list[int]]:
    """Return the image numbers of each pool, from the video of each image: a tenth of the videos test, a tenth val."""
    names = sorted(set(videos))
    count = max(1, 10 * len(names) // 100)
    words = words_of_mt19937(123)
    test = legacy_choice(names, count, words)
    val = legacy_choice([name for name in names if name not in test], count, words)
    pools: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for image, video in enumerate(videos):
        pools["test" if video in test else "val" if video in val else "train"].append(image)
    return pools


def kitti_images() -> tuple[list[str], list[int]]:
    """Return the video and the label of each image; a video has one, two or three images of each label."""
    pairs = [
        (f"2011_09_26_drive_{(7 * video + 5) % 100:04d}_sync", label)
        for video in range(KITTI_VIDEOS)
        for _ in range(1 + video % 3)
        for label in range(4)
    ]
    random.Random(0).shuffle(pairs)
    return [video for video, _ in pairs], [label for _, label in pairs]


def write_kitti_mapping(folder: Path, videos: Sequence[str]) -> None:
    """Write train_rand.txt and train_mapping.txt: a line a frame, video by video in no order of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    order = sorted(range(len(videos)), key=lambda image: (videos[image][::-1], image))
    lines = [f"{videos[image][:10]} {videos[image]} {frame:010d}\n" for frame, image in enumerate(order)]
    place = {image: line for line, image in enumerate(order, 1)}
    (folder / "train_mapping.txt").write_text("".join(lines))
    (folder / "train_rand.txt").write_text(",".join(str(place[image]) for image in range(len(videos))) + "\n")


def write_kitti_distance(root: Path) -> Written:
    """Write Kitti/raw with the devkit's mapping; the `testing` images, which have no labels, mislead."""
    base = root / "Kitti" / "raw"
    videos, labels = kitti_images()
    for folder in ("training/image_2", "training/label_2", "testing/image_2"):
        (base / folder).mkdir(parents=True)
    for image, label in enumerate(labels):
        picture(KITTI_NAMES[label], image, 120, 36).save(base / f"training/image_2/{image:06d}.png")
        lines = [_kitti_line(kind, z) for kind, z in KITTI_OBJECTS[label][image % 3]]
        (base / f"training/label_2/{image:06d}.txt").write_text("".join(lines))
        if image < 8:
            picture(KITTI_NAMES[(label + 1) % 4], image, 120, 36).save(base / f"testing/image_2/{image:06d}.png")
    write_kitti_mapping(base / "devkit_object" / "mapping", videos)
    return Written({name: len(images) for name, images in kitti_pools(videos).items()})


def _kitti_line(kind: str, z: float) -> str:
    """Return a line of 15 fields: x is small, so that a reader of a wrong column sees another distance."""
    if kind == "DontCare":
        return "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10\n"
    return f"{kind} 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 {z:.2f} -1.59\n"


def write_clevr_counts(root: Path) -> Written:
    """Write CLEVR_v1.0 with scene graphs in another order than the files; the test images have none and mislead."""
    base = root / "clevr" / "CLEVR_v1.0"
    (base / "scenes").mkdir(parents=True)
    for number, (name, count) in enumerate(CLEVR_SETS.items()):
        counts = list(CLEVR_COUNTS) * count
        random.Random(number).shuffle(counts)
        (base / "images" / name).mkdir(parents=True)
        scenes = []
        for index, objects in enumerate(counts):
            file = f"CLEVR_{name}_{index:06d}.png"
            picture(str(objects), 1000 * number + index, 60, 40).save(base / "images" / name / file)
            scenes.append(_clevr_scene(name, index, file, objects))
        content = {"info": {"split": name, "version": "1.0"}, "scenes": scenes[::-1]}
        (base / "scenes" / f"CLEVR_{name}_scenes.json").write_text(json.dumps(content))
    (base / "images" / "test").mkdir()
    picture("3", 1, 60, 40).save(base / "images" / "test" / "CLEVR_test_000000.png")
    draw = {"seed": 0, "train": 32, "test": 16}
    return Written({"train": 32, "test": 16}, {"train": "train", "test": "val", "draw": draw})


def _clevr_scene(split: str, index: int, file: str, count: int) -> dict[str, object]:
    """Return a scene graph with the keys of the published ones."""
    thing = {"color": "gray", "size": "large", "shape": "cube", "material": "metal", "rotation": 270.1}
    objects = [{**thing, "3d_coords": [0.1, 0.2, 0.3], "pixel_coords": [10, 20, 9.5]} for _ in range(count)]
    directions = {side: [0.1, 0.2, 0.0] for side in ("left", "right", "front", "behind")}
    return {
        "split": split,
        "image_index": index,
        "image_filename": file,
        "directions": directions,
        "relationships": {side: [[0, 1] for _ in range(count)] for side in directions},
        "objects": objects,
    }


def voc_images(name: str) -> dict[str, tuple[str, str]]:
    """Return the images of a set: the class each shows, and the one of which it has only difficult objects."""
    start = {"train": 1, "val": 2, "test": 5000}[name]
    found = {}
    for number in range(VOC_SETS[name] * len(VOC_CLASSES)):
        shown = number * 7 % len(VOC_CLASSES)
        hard = (shown + 1 + number % 5) % len(VOC_CLASSES)
        found[f"{start + 2 * number:06d}"] = (VOC_CLASSES[shown], VOC_CLASSES[hard])
    return found


def write_voc2007(root: Path) -> Written:
    """Write VOCdevkit/VOC2007 with the lists of all 20 classes.

    The picture of an image is the one class that is marked 1; another one is marked 0 (difficult).
    """
    devkit = root / "VOCdevkit" / "VOC2007"
    lists = devkit / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (devkit / "JPEGImages").mkdir()
    sets = {name: voc_images(name) for name in VOC_SETS}
    for images in sets.values():
        for image, (shown, _) in images.items():
            picture(shown, int(image), 60, 48).save(devkit / "JPEGImages" / f"{image}.jpg", quality=95)
    sets["trainval"] = dict(sorted({**sets["train"], **sets["val"]}.items()))
    for name, images in sets.items():
        (lists / f"{name}.txt").write_text("".join(f"{image}\n" for image in images))
        for key in VOC_CLASSES:
            marks = {image: 1 if key == shown else 0 if key == hard else -1 for image, (shown, hard) in images.items()}
            (lists / f"{key}_{name}.txt").write_text("".join(f"{image} {mark:2d}\n" for image, mark in marks.items()))
    picture("cat", 9, 60, 48).save(devkit / "JPEGImages" / "009999.jpg", quality=95)  # in no list
    return Written({name: len(sets[name]) for name in VOC_SETS})
