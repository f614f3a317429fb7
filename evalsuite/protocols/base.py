"""What a protocol is given and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from evalsuite.models.base import UNKNOWN_LOGITS, Logits
from evalsuite.tasks.loading import OWN_PROMPTS, PromptChoice, apply_prompts

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
    validation: for a protocol that does not train, samples to fit a temperature on, for each fold it scores; none where
    nobody asked. on_progress: told (what, done, total).
    """

    task: TaskSpec
    folds: Sequence[Fold]
    read: Callable[[Split, str], Samples]
    embed_texts: Callable[[Sequence[str]], torch.Tensor]
    device: torch.device
    seed: int = 0
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None
    logits: Logits = UNKNOWN_LOGITS
    validation: Sequence[Split] = ()


@dataclass(frozen=True)
class FoldScores:
    """Scores of one test split: (n, classes) float32, higher is more likely; labels as in `Samples`."""

    scores: NDArray[np.float32]
    labels: NDArray[Any]
    ids: list[str]


@dataclass(frozen=True)
class Head:
    """A linear classifier: logits are features @ weights.T + intercepts.

    weights: (C, D), intercepts: (C,), float64.
    """

    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]


@dataclass
class Outcome:
    """What a protocol found: the scores of every fold, and what a reader may want to know.

    details: for the record; each protocol declares the keys of its own as a TypedDict. validation: scores of samples
    that the fit has not seen, for each fold: a temperature is fitted on them. heads: what was fitted, for each fold,
    where it is linear: `--save-head` keeps the first.
    """

    folds: list[FoldScores]
    sizes: dict[str, int | list[int]]
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    validation: Sequence[FoldScores] = ()
    heads: Sequence[Head] = ()


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
    its scores mean; None: nobody can say how sure it is. has_head: whether what it fits is linear and can be kept.
    prompts: those it takes in place of the task's own. for_captions: whether it is for captions, not classes.
    for_bias: whether it is for the key `bias` of a task.
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
    for_bias: ClassVar[bool] = False
    has_head: ClassVar[bool] = False
    prompts: PromptChoice = OWN_PROMPTS

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    def with_prompts(self, choices: Sequence[PromptChoice]) -> list[EvaluationProtocol]:
        """Return this protocol for each choice of prompts; just itself where it reads no text."""
        if not self.needs_text:
            return [self]
        found = [copy(self) for _ in choices]
        for one, choice in zip(found, choices, strict=True):
            one.prompts = choice
        return found

    @property
    def label(self) -> str:
        """Its name, with the prompts where they are not the task's own."""
        return self.name if self.prompts == OWN_PROMPTS else f"{self.name} (prompts {self.prompts.label})"

    def prompted(self, task: TaskSpec) -> TaskSpec:
        """Return the task with the prompts that this protocol takes; SpecError where they are not of its classes."""
        return apply_prompts(task, self.prompts)

    def not_applicable(self, task: TaskSpec) -> str | None:
        """Say why this protocol has no meaning for a task; None: it has one."""
        return None

    def version_for(self, task: TaskSpec) -> int:
        """Return the version that decides whether a stored result of a task still holds."""
        return self.version

    def temperature(self, details: Mapping[str, Any]) -> float | None:
        """Return what stored logits are multiplied with to be the model's own; None: the details do not say it."""
        return 1.0

    def bias(self, details: Mapping[str, Any]) -> float:
        """Return what is added to stored logits, after their temperature; a model that has one is read by a sigmoid."""
        return 0.0

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
    """Say why a protocol has no meaning for a task, of classes, captions or label sets; None: it has one."""
    if protocol.for_bias != (task.bias is not None):
        if protocol.for_bias:
            return f"The task {task.name!r} has no key `bias`; fairface has."
        return f"The images of the task {task.name!r} have a label of each of several sets: use --protocol bias."
    if protocol.for_captions == (task.captions is not None):
        return protocol.not_applicable(task)
    if protocol.for_captions:
        return f"The task {task.name!r} has classes and no captions."
    return f"The images of the task {task.name!r} have captions and no classes: use --protocol retrieval."
