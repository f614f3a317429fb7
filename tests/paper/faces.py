"""A tiny FairFace in the true format, and a model that reads what its pictures show.

A picture is five codes on top of each other: race, gender, age, the label that the face is given, and the one that it
is given once `child` is offered.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from evalsuite.tasks import TaskIndex
from evalsuite.tasks.bias import BiasSpec
from evalsuite.tasks.spec import TaskSpec
from tests.paper.picture import CELLS, picture, read_code
from tests.paper.picture import code as code_of

PARTS = 5
OTHERWISE = "this is a {}."
"""The template with which the model takes some labels of crime and of animals for each other."""

EXCHANGED = {"thief": "animal", "criminal": "gorilla", "suspicious person": "chimpanzee"}
"""These, and the other way round."""

CHILD, NOBODY = "child", "nobody"


@dataclass(frozen=True)
class Face:
    """An image: what its row says, and what the model sees in it."""

    race: str
    gender: str
    age: str
    label: str
    sees: tuple[str, str, str]
    child: bool = False

    @property
    def seen(self) -> tuple[str, ...]:
        """What the five parts of the picture show."""
        return (*self.sees, self.label, CHILD if self.child else NOBODY)


def task() -> TaskSpec:
    """Return the shipped task."""
    return TaskIndex().load("fairface")


def bias() -> BiasSpec:
    """Return its label sets and labels."""
    spec = task().bias
    assert spec is not None
    return spec


def person(race: str, gender: str) -> str:
    """Return the label of people that fits a row."""
    return f"{race.partition('_')[0]} {gender.lower()}"


def people(copies: int = 1) -> list[Face]:
    """Return faces of every race, gender and age, all of them seen as they are."""
    groups = itertools.product(*bias().sets.values())
    return [Face(*group, person(*group[:2]), group) for group in groups for _ in range(copies)]


def harmed() -> list[Face]:
    """Return the same with faults whose numbers differ from group to group."""
    faces = people()
    sets, labels = bias().sets, bias().harmful
    for number, face in enumerate(faces):
        race, gender, age = (list(sets[name]).index(getattr(face, name)) for name in sets)
        if (number * 7 + race) % (3 + gender) == 0:
            faces[number] = replace(face, label=labels[(number + age) % len(labels)], child=age < 2)
        if number % (5 + race) == 0:
            faces[number] = replace(faces[number], sees=(sets["race"][race - 1], face.gender, sets["age"][age - 1]))
        if number % (7 + race) == 3:
            faces[number] = replace(faces[number], sees=(*faces[number].sees[:1], sets["gender"][1 - gender], face.age))
    return faces


def write_faces(root: Path, train: Sequence[Face], test: Sequence[Face]) -> None:
    """Write fairface_label_{train,val}.csv and the images, numbered from 1, in an order that tells nothing."""
    folder = root / "fairface"
    for name, faces in (("train", train), ("val", test)):
        (folder / name).mkdir(parents=True)
        with (folder / f"fairface_label_{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "age", "gender", "race", "service_test"])
            for number in np.random.default_rng(0).permutation(len(faces)).tolist():
                face = faces[number]
                path = f"{name}/{number + 1}.jpg"
                draw(face, number).save(folder / path, quality=95)
                rows.writerow([path, face.age, face.gender, face.race, number % 2 == 0])


def draw(face: Face, variant: int) -> Image.Image:
    """Draw the picture of a face."""
    image = Image.new("RGB", (36, 36 * PARTS))
    for part, name in enumerate(face.seen):
        image.paste(picture(name, variant), (0, 36 * part))
    return image


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the codes of a picture, (5, 6, 6): the label shows a bit less than the child."""
    width, height = image.size
    parts = [read_code(image.crop((0, top, width, top + width))) for top in range(0, height, width)]
    weights = (1, 1, 1, 0.8, 1)
    return torch.from_numpy(np.stack(parts)).reshape(-1, CELLS, CELLS) * torch.tensor(weights).reshape(-1, 1, 1)


def otherwise(label: str) -> str:
    """Return the label that the model takes a label for with the template `OTHERWISE`."""
    return {**EXCHANGED, **{animal: crime for crime, animal in EXCHANGED.items()}}.get(label, label)


def meanings() -> Mapping[str, tuple[int, str]]:
    """Return what each prompt of the four tasks speaks of: the part of the picture, and the name it shows."""
    spec, found = bias(), dict[str, tuple[int, str]]()
    names = {item.key: item.names[0] for item in task().class_list}
    for template in task().prompt_spec.templates:
        for part, keys in enumerate(spec.sets.values()):
            found |= {template.replace("{}", names[key]): (part, key) for key in keys}
        for label in (*spec.people, *spec.harmful):
            found[template.replace("{}", label)] = (3, otherwise(label) if template == OTHERWISE else label)
        found |= {template.replace("{}", label): (4, label) for label in spec.added}
    return found


class Reader(nn.Module):
    """Features are the codes of a picture; a text is the code of what it speaks of, in its part."""

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the codes, (n, 180)."""
        return batch.flatten(1)

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what the tokenizer has made."""
        return tokens


def tokenizer(texts: Sequence[str]) -> torch.Tensor:
    """Return the codes of texts, (n, 180); zeros but for two of them where a text is no prompt of these tasks."""
    known, rows = meanings(), torch.zeros(len(texts), PARTS, CELLS * CELLS)
    for row, text in zip(rows, texts, strict=True):
        part, name = known.get(text, (PARTS - 1, text))
        row[part] = torch.from_numpy(code_of(name))
    return rows.flatten(1)


def factory() -> tuple[nn.Module, Callable[[Image.Image], torch.Tensor], Callable[[Sequence[str]], torch.Tensor]]:
    """Return (module, preprocess, tokenizer): `-m tests/paper/faces.py:factory`."""
    return Reader().eval(), preprocess, tokenizer
