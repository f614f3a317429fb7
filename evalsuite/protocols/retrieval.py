"""Retrieval of captions by images and of images by captions (paper, appendix E.1, table 13).

Every caption is put into the template of the task (the paper prefixes "a photo of"), embedded and normalised; with
several templates, the normalised embeddings of a caption are averaged and normalised again, as zero-shot does for a
class. All images of the test split are compared with all of its captions by the cosine. Recall at k of captions: the
share of images one of whose captions is among the k nearest; of images: the share of captions whose image is among the
k nearest. Of equal cosines the earlier one in the order of the samples is nearer, so that an encoder that tells nothing
apart finds next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from evalsuite.models.base import EMBEDDING
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome, ProtocolInput, size_of
from evalsuite.protocols.zero_shot import class_weights
from evalsuite.tasks.spec import PLACEHOLDER

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from evalsuite.data.base import Fold, Split

CUTOFFS = (1, 5, 10)
"""The k of table 13."""

CHUNK_ELEMENTS = 1 << 24
"""Cosines compared at a time: 64 MB of them."""


class RetrievalDetails(TypedDict):
    """What a record says of retrieval. captions: of each image; templates: that each caption is put into."""

    captions: int
    templates: int


class Retrieval(EvaluationProtocol):
    """The protocol of retrieval, both ways."""

    name = "retrieval"
    prefix = "retrieval"
    version = 1
    layer = EMBEDDING
    needs_text = True
    for_captions = True

    def splits(self, folds: Sequence[Fold]) -> list[Split]:
        """Return the test splits."""
        return [fold.test for fold in folds]

    def run(self, given: ProtocolInput) -> Outcome:
        """Rank all captions for every image, and all images for every caption."""
        found = []
        templates = given.task.prompt_spec.templates
        splits = self.splits(given.folds)
        for number, split in enumerate(splits):
            given.on_progress("retrieval", number, len(splits))
            test = given.read(split, self.layer)
            captions = test.captions or []
            texts = [
                template.replace(PLACEHOLDER, caption) for own in captions for caption in own for template in templates
            ]
            count = sum(map(len, captions))
            owners = np.repeat(np.arange(count), len(templates)).tolist()
            text = class_weights(given.embed_texts(texts), owners, count).to(given.device)
            scores = hits(test.features.to(given.device), text, [len(own) for own in captions])
            found.append(FoldScores(scores, test.labels, test.ids))
        given.on_progress("retrieval", len(splits), len(splits))
        return Outcome(
            folds=found,
            sizes={"test": size_of([len(fold.ids) for fold in found])},
            details=RetrievalDetails(captions=given.task.captions or 0, templates=len(templates)),
        )


def hits(images: torch.Tensor, texts: torch.Tensor, counts: Sequence[int]) -> NDArray[np.float32]:
    """Return the `evalsuite.metrics.RECALLS` of each image, (n, 6).

    images: (n, dim) features. texts: (m, dim) unit vectors of the captions, those of an image after one another, so
    many of each as `counts` says.
    """
    import torch
    from torch.nn import functional

    images = functional.normalize(images.float(), dim=1)
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(images.device)
    of_images, of_texts = _caption_ranks(images, texts, owners), _image_ranks(images, texts, owners)
    columns = [(of_images < k).double() for k in CUTOFFS]
    shares = torch.tensor(counts, dtype=torch.float64, device=images.device)
    for k in CUTOFFS:
        found = torch.zeros(len(counts), dtype=torch.float64, device=images.device)
        columns.append(found.index_add_(0, owners, (of_texts < k).double()) / shares)
    scores: NDArray[np.float32] = torch.stack(columns, dim=1).float().cpu().numpy()
    return scores


def _caption_ranks(images: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """Return how many captions are nearer to each image than the nearest of its own, (n,)."""
    import torch

    place, ranks = torch.arange(len(texts), device=texts.device), []
    for rows in torch.split(torch.arange(len(images), device=images.device), max(1, CHUNK_ELEMENTS // len(texts))):
        cosines = images[rows] @ texts.T
        own = cosines.masked_fill(owners[None] != rows[:, None], -torch.inf)
        best = own.max(dim=1, keepdim=True).values
        first = (own == best).int().argmax(dim=1, keepdim=True)  # of equal ones, the earliest
        ranks.append(((cosines > best) | ((cosines == best) & (place[None] < first))).sum(dim=1))
    return torch.cat(ranks)


def _image_ranks(images: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """Return how many images are nearer to each caption than its own, (m,)."""
    import torch

    place, ranks = torch.arange(len(images), device=images.device), []
    for rows in torch.split(torch.arange(len(texts), device=texts.device), max(1, CHUNK_ELEMENTS // len(images))):
        cosines, own = texts[rows] @ images.T, owners[rows][:, None]
        value = cosines.gather(1, own)
        ranks.append(((cosines > value) | ((cosines == value) & (place[None] < own))).sum(dim=1))
    return torch.cat(ranks)
