"""The recipe: every number that the weights depend on, other than the drawings themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from evalsuite.models.pocket.model import PocketConfig


@dataclass(frozen=True)
class Recipe:
    """Sizes, the mix of images, and the optimiser's settings.

    `mix` is the share of each source of `bank.SOURCES` in a batch, in expectation.
    """

    seed: int = 0
    samples: int = 400_000
    batch_size: int = 128
    strokes_per_digit: int = 4_000
    shapes_per_concept: int = 24
    mix: dict[str, float] = field(
        default_factory=lambda: {
            "strokes": 0.50,
            "digit_fonts": 0.12,
            "letters": 0.15,
            "words": 0.08,
            "shapes": 0.15,
        }
    )
    max_merges: int = 1_000
    learning_rate: float = 2e-3
    final_share: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    warmup_steps: int = 100
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    log_every_samples: int = 50_000
    width: int = 12
    embed_dim: int = 64

    @property
    def steps(self) -> int:
        """Optimiser steps: the samples, in whole batches."""
        return max(1, self.samples // self.batch_size)


def model_config(recipe: Recipe, vocabulary: int) -> PocketConfig:
    """Describe the network: a ModifiedResNet with one block a stage, and a two-layer text transformer."""
    return PocketConfig(
        embed_dim=recipe.embed_dim,
        vision_cfg={"layers": [1, 1, 1, 1], "width": recipe.width, "image_size": 32},
        text_cfg={"context_length": 24, "vocab_size": vocabulary, "width": 64, "heads": 4, "layers": 2},
        mean=0.4,
        std=0.35,
    )
