"""A contrastive loss for captions that repeat."""

from __future__ import annotations

import torch
from torch.nn import functional


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, positive: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Compare images with the different captions of their batch, both ways.

    images: (n, d) and texts: (m, d), unnormalised. positive: (n, m) bool, true where the caption fits
    the image; every row and every column holds at least one. scale: the inverse temperature.

    CLIP's loss takes one caption as right for an image. Here the target is uniform over all that are
    right, else two images of a 5 in one batch would be pushed away from each other's captions.
    """
    logits = scale * functional.normalize(images, dim=1) @ functional.normalize(texts, dim=1).T
    to_text = positive.float() / positive.sum(dim=1, keepdim=True)
    to_image = positive.float() / positive.sum(dim=0, keepdim=True)
    return (functional.cross_entropy(logits, to_text) + functional.cross_entropy(logits.T, to_image.T)) / 2
