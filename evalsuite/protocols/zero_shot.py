"""Zero-shot classification with prompt ensembles (paper, section 3.1.4 and the released notebook).

For each class, every template is filled with every name of the class and embedded; each embedding is
L2-normalised, they are averaged, and the mean is L2-normalised again: one weight vector per class.
Logits are 100 x the cosine between an image's embedding and these vectors. For a multi-label task
the logits become probabilities by a softmax over the classes of each image, because its metric ranks
images and not classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from evalsuite.models.base import EMBEDDING
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome, ProtocolInput, size_of
from evalsuite.tasks.spec import PLACEHOLDER, TaskClass

if TYPE_CHECKING:
    import torch

    from evalsuite.data.base import Fold, Split

LOGIT_SCALE = 100.0
"""The trained temperature of the CLIP models, clipped at 100 (paper, section 2.5)."""

ROWS_AT_A_TIME = 65_536


class ZeroShotDetails(TypedDict):
    """What a record says of zero-shot: how many templates, and how many prompts they made of all names."""

    templates: int
    prompts: int


class ZeroShot(EvaluationProtocol):
    """The zero-shot protocol."""

    name = "zero_shot"
    prefix = "zero_shot"
    version = 1
    layer = EMBEDDING
    needs_text = True
    scores = "logits"
    multilabel_scores = "probabilities"

    def splits(self, folds: Sequence[Fold]) -> list[Split]:
        """Return the test splits, each once: folds that only train differently share one."""
        unique: dict[tuple[str, bytes], Split] = {}
        for fold in folds:
            unique.setdefault((fold.test.pool, fold.test.rows.tobytes()), fold.test)
        return list(unique.values())

    def run(self, given: ProtocolInput) -> Outcome:
        """Classify every test image by the class whose prompts are nearest."""
        texts, owners = class_prompts(given.task.class_list, given.task.prompt_spec.templates)
        weights = class_weights(given.embed_texts(texts), owners, len(given.task.class_list)).to(given.device)
        found = []
        splits = self.splits(given.folds)
        for number, split in enumerate(splits):
            given.on_progress("zero-shot", number, len(splits))
            test = given.read(split, self.layer)
            scores = image_logits(test.features, weights, given.device)
            if given.task.multilabel:
                scores = scores.softmax(dim=1)
            found.append(FoldScores(scores.numpy(), test.labels, test.ids))
        given.on_progress("zero-shot", len(splits), len(splits))
        return Outcome(
            folds=found,
            sizes={"test": size_of([len(fold.ids) for fold in found])},
            details=ZeroShotDetails(templates=len(given.task.prompt_spec.templates), prompts=len(texts)),
        )


def class_prompts(classes: Sequence[TaskClass], templates: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return every prompt, and the index of the class each belongs to."""
    texts: list[str] = []
    owners: list[int] = []
    for index, item in enumerate(classes):
        for template in templates:
            for name in item.names:
                texts.append(template.replace(PLACEHOLDER, name))
                owners.append(index)
    return texts, owners


def class_weights(embeddings: torch.Tensor, owners: Sequence[int], n_classes: int) -> torch.Tensor:
    """Average normalised prompt embeddings into one unit vector per class.

    embeddings: (n_prompts, dim); owners: class index of each. Returns (n_classes, dim) float32.
    """
    import torch
    from torch.nn import functional

    unit = functional.normalize(embeddings.float(), dim=1)
    index = torch.tensor(owners, device=unit.device)
    total = torch.zeros(n_classes, unit.shape[1], device=unit.device).index_add_(0, index, unit)
    return functional.normalize(total / torch.bincount(index, minlength=n_classes)[:, None], dim=1)


def image_logits(features: torch.Tensor, weights: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return 100 x cosine of (n, dim) features with (n_classes, dim) unit weights, (n, n_classes) on the CPU."""
    import torch
    from torch.nn import functional

    parts = [
        (LOGIT_SCALE * functional.normalize(part.to(device).float(), dim=1) @ weights.T).cpu()
        for part in torch.split(features, ROWS_AT_A_TIME)
    ]
    return torch.cat(parts) if parts else torch.empty(0, len(weights))
