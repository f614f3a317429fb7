"""What a protocol is given and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from evalsuite.models.base import UNKNOWN_LOGITS, Logits

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from evalsuite.data.base import Fold, Split
    from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Samples:
    """Features of one layer, (n, dim) in the stored dtype on the CPU, with labels, ids, groups and captions."""

    features: torch.Tensor
    labels: NDArray[Any]
    ids: list[str]
    groups: list[str] | None = None
    captions: list[tuple[str, ...]] | None = None


@dataclass(frozen=True)
class ProtocolInput:
    """Everything a protocol may use. It sees no image, no file and no model.

    read: (split, layer) -> Samples. embed_texts: texts -> (n, dim) float32, unnormalised. logits: the model's own.
    on_progress: told (what, done, total).
    """

    task: TaskSpec
    folds: Sequence[Fold]
    read: Callable[[Split, str], Samples]
    embed_texts: Callable[[Sequence[str]], torch.Tensor]
    device: torch.device
    seed: int = 0
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None
    logits: Logits = UNKNOWN_LOGITS


@dataclass(frozen=True)
class FoldScores:
    """Scores of one test split: (n, classes) float32, higher is more likely; labels as in `Samples`."""

    scores: NDArray[np.float32]
    labels: NDArray[Any]
    ids: list[str]


@dataclass
class Outcome:
    """What a protocol found: the scores of every fold, and what a reader may want to know.

    details: for the record; each protocol declares the keys of its own as a TypedDict.
    """

    folds: list[FoldScores]
    sizes: dict[str, int | list[int]]
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NoOptions:
    """The options of a protocol without any."""


ScoreKind = Literal["logits", "probabilities", "binary_logits"]
"""What scores mean: logits of a softmax over the classes, probabilities, or a logit of each class against the rest."""


class EvaluationProtocol(ABC):
    """Features in, scores out: the base of a protocol.

    name: in results and on the command line. prefix: what its flags begin with (`probe`: --probe-tolerance). Options:
    a frozen dataclass, whose fields declared by `evalsuite.options.option` become flags, keys and keywords; all fields
    are recorded, and those that are not the default tell results apart. version: raised when the numbers it gives
    change, so that stored results are computed again. layer: the layer of the model that it reads. needs_text: whether
    it needs a text encoder. needs_training: whether it reads more than the test split. scores, multilabel_scores: what
    its scores mean; None: nobody can say how sure it is. for_captions: whether it is for captions, not classes.
    """

    name: ClassVar[str]
    prefix: ClassVar[str]
    Options: ClassVar[type] = NoOptions
    version: ClassVar[int]
    layer: ClassVar[str]
    needs_text: ClassVar[bool] = False
    needs_training: ClassVar[bool] = False
    scores: ClassVar[ScoreKind | None] = None
    multilabel_scores: ClassVar[ScoreKind | None] = None
    for_captions: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    def version_for(self, task: TaskSpec) -> int:
        """Return the version that decides whether a stored result of a task still holds."""
        return self.version

    def temperature(self, details: Mapping[str, Any]) -> float | None:
        """Return what stored logits are multiplied with to be the model's own; None: the details do not say it."""
        return 1.0

    @abstractmethod
    def splits(self, folds: Sequence[Fold]) -> list[Split]:
        """Return the splits it will read."""

    @abstractmethod
    def run(self, given: ProtocolInput) -> Outcome:
        """Evaluate."""


def in_fold(text: str, number: int, count: int) -> str:
    """Return `text`, with the number of the fold where there are several."""
    return text if count == 1 else f"{text}, fold {number + 1}/{count}"


def size_of(counts: Sequence[int]) -> int | list[int]:
    """Return one number where all folds agree, else one per fold."""
    return counts[0] if len(set(counts)) == 1 else list(counts)


def unsuited(protocol: EvaluationProtocol, task: TaskSpec) -> str | None:
    """Say why a protocol has no meaning for a task of classes, or of captions; None: it has one."""
    if protocol.for_captions == (task.captions is not None):
        return None
    if protocol.for_captions:
        return f"The task {task.name!r} has classes and no captions."
    return f"The images of the task {task.name!r} have captions and no classes: use --protocol retrieval."
