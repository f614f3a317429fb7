"""A model that reads what a picture shows and what a prompt names, and so is right if the task files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from evalsuite.models.base import ModelInfo
from evalsuite.protocols.zero_shot import class_prompts
from evalsuite.tasks.spec import TaskSpec
from tests.paper.picture import CELLS, code, read_code

DIM = CELLS * CELLS


class Oracle:
    """Features are the code an image shows; a text is the code of the class name in it.

    names: text -> class name, of every prompt that may come.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self.info = ModelInfo(
            name="oracle",
            slug="oracle",
            backend="test",
            fingerprint="oracle",
            input_size=CELLS,
            layers={"penultimate": DIM, "embedding": DIM},
        )

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Return the code as an image of one channel: (1, 6, 6)."""
        return torch.from_numpy(read_code(image)).reshape(1, CELLS, CELLS)

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the codes, twice."""
        codes = batch.flatten(1)
        return {"penultimate": codes, "embedding": codes}

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the code of the class name in each text; KeyError for one that is no prompt of the task."""
        names = [self._names[text] for text in texts]
        codes = {name: torch.from_numpy(code(name)) for name in set(names)}
        return torch.stack([codes[name] for name in names])


def oracle_for(task: TaskSpec) -> Oracle:
    """Return the oracle of a task: it knows which name each prompt was made of."""
    templates = task.prompt_spec.templates
    names = [name for item in task.class_list for _ in templates for name in item.names]
    texts, _ = class_prompts(task.class_list, templates)
    return Oracle(dict(zip(texts, names, strict=True)))
