"""Zero-shot classification with prompt ensembles (paper, section 3.1.4 and the released notebook).

For each class, every template is filled with every name of the class and embedded; each embedding is
L2-normalised, they are averaged, and the mean is L2-normalised again: one weight vector per class.
Scores are 100 x the cosine between an image's embedding and these vectors: they rank classes as the logits of every
model do. For a multi-label task the logits, of the scale that the model was trained with, become probabilities by a
softmax over the classes of each image, because its metric ranks images and not classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from evalsuite.models.base import EMBEDDING
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome, ProtocolInput, size_of
from evalsuite.tasks.spec import PLACEHOLDER, TaskClass
from evalsuite.text import counted, shortened

if TYPE_CHECKING:
    import torch

    from evalsuite.data.base import Fold, Split
    from evalsuite.tasks.spec import TaskSpec

SCORE_SCALE = 100.0
"""Factor of the cosine in scores: the trained temperature of the CLIP models, clipped at 100 (paper, section 2.5)."""

SAME = 1 - 2e-6
"""Cosine from which on two vectors of float32 are one: what rounding leaves of 1."""

ROWS_AT_A_TIME = 65_536

CLASSES_AT_A_TIME = 2_048


class ZeroShotDetails(TypedDict):
    """What a record says of zero-shot: how many templates, how many prompts they made of all names, and the logits.

    logit_scale, logit_bias: the model's own; a logit is scale x cosine + bias.
    """

    templates: int
    prompts: int
    logit_scale: float
    logit_bias: float


class ZeroShot(EvaluationProtocol):
    """The zero-shot protocol."""

    name = "zero_shot"
    prefix = "zero_shot"
    version = 2
    layer = EMBEDDING
    needs_text = True
    scores = "logits"
    multilabel_scores = "probabilities"

    def version_for(self, task: TaskSpec) -> int:
        """Return one less for tasks of one label: version 2 changed the scale, which does not change their scores."""
        return self.version if task.multilabel else self.version - 1

    def temperature(self, details: Mapping[str, Any]) -> float | None:
        """Return the scale of the model relative to that of the scores."""
        scale = details.get("logit_scale")
        return None if scale is None else float(scale) / SCORE_SCALE

    def bias(self, details: Mapping[str, Any]) -> float:
        """Return the bias of a model that was trained with a sigmoid."""
        return float(details.get("logit_bias", 0.0))

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
        warnings = indistinct(weights, given.task.class_keys)
        if given.task.multilabel and given.logits.assumed:
            scale = f"{given.logits.scale:g}"
            warnings.append(f"The model does not say its logit scale, which this metric depends on: {scale} was taken.")
        splits = self.splits(given.folds)
        for number, split in enumerate(splits):
            given.on_progress("zero-shot", number, len(splits))
            found.append(self._scored(given, split, weights))
        given.on_progress("zero-shot", len(splits), len(splits))
        return Outcome(
            folds=found,
            sizes={"test": size_of([len(fold.ids) for fold in found])},
            details=ZeroShotDetails(
                templates=len(given.task.prompt_spec.templates),
                prompts=len(texts),
                logit_scale=given.logits.scale,
                logit_bias=given.logits.bias,
            ),
            warnings=warnings,
            validation=[self._scored(given, split, weights) for split in given.validation],
        )

    def _scored(self, given: ProtocolInput, split: Split, weights: torch.Tensor) -> FoldScores:
        samples = given.read(split, self.layer)
        scores = image_logits(samples.features, weights, given.device)
        if given.task.multilabel:
            scores = (scores * (given.logits.scale / SCORE_SCALE)).softmax(dim=1)  # a bias is the same for all
        return FoldScores(scores.numpy(), samples.labels, samples.ids)


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

    unit = functional.normalize(embeddings.float())
    index = unit.new_tensor(owners, dtype=torch.int64)
    total = unit.new_zeros(n_classes, unit.shape[1]).index_add_(0, index, unit)
    return functional.normalize(total / torch.bincount(index)[:, None])


def indistinct(weights: torch.Tensor, classes: Sequence[str]) -> list[str]:
    """Warn of classes that have one vector: no image can be told apart by them. weights: (n_classes, dim), unit."""
    import torch

    alike: set[int] = set()
    for start in range(0, len(weights), CLASSES_AT_A_TIME):
        part = weights[start : start + CLASSES_AT_A_TIME] @ weights.T
        pairs = torch.nonzero(part > SAME).tolist()
        alike |= {row + start for row, column in pairs if row + start != column}
    if not alike:
        return []
    names = shortened([classes[index] for index in sorted(alike)], 3)
    return [
        f"{counted(len(alike), 'class')} of {len(classes)} have the text embedding of another ({names}): their prompts "
        "are the same, or are so in the tokens that the text encoder reads. Shorten what comes before the difference."
    ]


def image_logits(features: torch.Tensor, weights: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return 100 x cosine of (n, dim) features with (n_classes, dim) unit weights, (n, n_classes) on the CPU."""
    import torch
    from torch.nn import functional

    parts = [
        (SCORE_SCALE * functional.normalize(part.to(device).float()) @ weights.T).cpu()
        for part in torch.split(features, ROWS_AT_A_TIME)
    ]
    return torch.cat(parts)
