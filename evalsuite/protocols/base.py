"""What a protocol is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite.data.base import Fold, Split
from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Samples:
    """Features of one layer, (n, dim) in the stored dtype on the CPU, with labels, ids and groups."""

    features: torch.Tensor
    labels: NDArray[Any]
    ids: list[str]
    groups: list[str] | None = None


@dataclass(frozen=True)
class ProtocolInput:
    """Everything a protocol may use. It sees no image, no file and no model.

    read: (split, layer) -> Samples. embed_texts: texts -> (n, dim) float32, unnormalised.
    on_progress: told (what, done, total).
    """

    task: TaskSpec
    folds: Sequence[Fold]
    read: Callable[[Split, str], Samples]
    embed_texts: Callable[[Sequence[str]], torch.Tensor]
    device: torch.device
    seed: int = 0
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None


@dataclass(frozen=True)
class FoldScores:
    """Scores of one test split: (n, classes) float32, higher is more likely; labels as in `Samples`."""

    scores: NDArray[np.float32]
    labels: NDArray[Any]
    ids: list[str]


@dataclass
class Outcome:
    """What a protocol found: the scores of every fold, and what a reader may want to know."""

    folds: list[FoldScores]
    sizes: dict[str, int | list[int]]
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class EvaluationProtocol(Protocol):
    """Features in, scores out.

    layer: the layer it reads. needs_text: whether it needs a text encoder. needs_training: whether it reads
    more than the test split. version: raised when the
    numbers it gives change, so that stored results are computed again.
    """

    @property
    def name(self) -> str:
        """The name in results and on the command line."""

    @property
    def layer(self) -> str:
        """The layer of the model it reads."""

    @property
    def needs_text(self) -> bool:
        """Whether the model must have a text encoder."""

    @property
    def needs_training(self) -> bool:
        """Whether it reads the splits for training, too."""

    @property
    def version(self) -> int:
        """Number of the algorithm."""

    def options(self) -> Mapping[str, Any]:
        """Return its options, defaults included, as plain data."""

    def splits(self, folds: Sequence[Fold]) -> list[Split]:
        """Return the splits it will read."""

    def run(self, given: ProtocolInput) -> Outcome:
        """Evaluate."""


def in_fold(text: str, number: int, count: int) -> str:
    """Return `text`, with the number of the fold where there are several."""
    return text if count == 1 else f"{text}, fold {number + 1}/{count}"


def size_of(counts: Sequence[int]) -> int | list[int]:
    """Return one number where all folds agree, else one a fold."""
    return counts[0] if len(set(counts)) == 1 else list(counts)
