"""Draw all the ink masks once, before training: augmentation makes the variety from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from training.pocket.captions import Concept
from training.pocket.drawing import FONT_COUNT, Mask, draw_shapes, draw_strokes, draw_text

SOURCES = ("strokes", "digit_fonts", "letters", "words", "shapes")
"""Where an image comes from; a digit comes from two of them."""


@dataclass(frozen=True)
class Bank:
    """Masks, and what each shows.

    masks: (n, CANVAS, CANVAS) uint8; concept: (n,) int64, an index into the concepts.
    ranges: source -> the half-open range of its images.
    """

    masks: torch.Tensor
    concept: torch.Tensor
    ranges: dict[str, tuple[int, int]]


def draw_bank(concepts: tuple[Concept, ...], strokes_per_digit: int, shapes_per_concept: int, seed: int) -> Bank:
    """Draw the images of every source; the same arguments give the same bank, byte for byte."""
    rng = np.random.default_rng(seed)
    masks: list[Mask] = []
    shown: list[int] = []
    ranges: dict[str, tuple[int, int]] = {}
    for source in SOURCES:
        start = len(masks)
        for index, concept in enumerate(concepts):
            drawn = list(_draw(source, concept, strokes_per_digit, shapes_per_concept, rng))
            masks += drawn
            shown += [index] * len(drawn)
        ranges[source] = (start, len(masks))
    return Bank(torch.from_numpy(np.stack(masks)), torch.tensor(shown), ranges)


def _draw(source: str, concept: Concept, strokes: int, shapes: int, rng: np.random.Generator) -> Iterator[Mask]:
    """Draw the images that one source has of one concept, perhaps none."""
    if source == "strokes" and concept.kind == "digit":
        for _ in range(strokes):
            yield draw_strokes(int(concept.drawn[0]), rng)
    elif source == "shapes" and concept.kind == "shape":
        for _ in range(shapes):
            yield draw_shapes(concept.drawn[0], concept.count, rng)
    elif {"digit_fonts": "digit", "letters": "letter", "words": "word"}.get(source) == concept.kind:
        for text in concept.drawn:
            for font in range(FONT_COUNT):
                yield draw_text(text, font)
