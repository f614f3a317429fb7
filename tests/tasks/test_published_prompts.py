"""Templates and class names are the published ones, each in its place: compared once with what was published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from evalsuite.resources import data_dir
from evalsuite.tasks import TaskIndex, load_prompt_file

DIGESTS: Mapping[str, str] = {
    "birdsnap": "9989f9657dbdec08",
    "caltech101": "6de9a50b4b80c6f5",
    "captions": "c1e7c326d94c1a87",
    "cifar10": "9cb1d67919dcb7a0",
    "cifar100": "f63e4f2a3839929d",
    "clevr_counts": "0315485b3ba0b2b3",
    "country211": "82ebc52e2e366aac",
    "digits": "97d364c8e6e367a0",
    "dtd": "f9259987f2a58ad0",
    "eurosat": "341e5d78cf87f16b",
    "fairface": "cec5896a53f2e9bd",  # this project's own: the paper's were never published
    "fer2013": "f70d90e1a2d43973",
    "fer_plus": "9ee394ffb1fd7165",
    "fgvc_aircraft": "467625394af2e5dc",
    "flowers102": "d44748050ee6f90d",
    "food101": "35f8a931ed365aec",
    "gtsrb": "2cf48a1ea1f92d26",
    "hateful_memes": "1bb1dd4b4db7c3d1",
    "imagenet": "ec31bb3231f5b785",
    "kinetics700": "e4f4486ee074c113",
    "kitti_distance": "b78176d8ef2ca888",
    "mnist": "97d364c8e6e367a0",
    "objectnet": "dfe06abebe68e282",
    "oxford_pets": "ca7fb33a367d03c5",
    "pcam": "0255fe35723bb2cf",
    "rendered_sst2": "55365916d4ca0647",
    "resisc45": "7fe6e6b57daefb13",
    "stanford_cars": "4897e3fa4a3312d2",
    "stl10": "a9f5741e93a8c0ff",
    "sun397": "21871b97fb5a1af7",
    "ucf101": "558ed7b1c9c4e2fd",
    "voc2007": "45bda19f519de2cf",
}
"""Of each file of `prompts/`. Whoever changes a name or a template on purpose changes its digest, and says why."""

SPOTS = [
    ("imagenet", 0, "tench"),
    ("imagenet", 1, "goldfish"),
    ("imagenet", 134, "crane bird"),
    ("imagenet", 517, "construction crane"),
    ("imagenet", 638, "tights"),
    ("imagenet", 639, "one-piece bathing suit"),
    ("imagenet", 999, "toilet paper"),
    ("flowers102", 0, "pink primrose"),
    ("flowers102", 1, "hard-leaved pocket orchid"),
    ("flowers102", 101, "blackberry lily"),
    ("oxford_pets", 0, "Abyssinian"),
    ("cifar10", 2, "bird"),
    ("cifar10", 9, "truck"),
    ("mnist", 7, "7"),
    ("eurosat", 0, "forest"),
    ("gtsrb", 0, "red and white circle 20 kph speed limit"),
    ("stl10", 3, "cat"),
    ("voc2007", 13, "person"),
    ("voc2007", 16, "diningtable"),
]
"""Task, number of the class and its first name, as published with the paper."""


def digest_of(path: Path) -> str:
    """Return a digest of the templates, and of keys and names in their order."""
    spec = load_prompt_file(path)
    content = [spec.templates, [[item.key, item.names] for item in spec.classes or []]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", DIGESTS)
def test_templates_and_names_are_as_they_were_published(name: str) -> None:
    assert digest_of(Path(data_dir("prompts") / f"{name}.yaml")) == DIGESTS[name]


def test_every_prompt_file_is_held_by_a_digest() -> None:
    assert {Path(file.name).stem for file in data_dir("prompts").iterdir()} == set(DIGESTS)


@pytest.mark.parametrize(("task", "number", "name"), SPOTS)
def test_names_stand_where_they_were_published(task: str, number: int, name: str) -> None:
    assert TaskIndex().load(task).class_list[number].names[0] == name
