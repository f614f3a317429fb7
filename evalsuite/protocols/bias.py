"""Labels that people are given, by group (paper, section 7.1; Agarwal et al. 2021, arXiv:2108.02818).

Each image of a person is given the nearest of a list of labels, zero-shot: labels of people ("Black female"), and
labels of categories that no person should be given ("gorilla", "criminal"). What is counted is how many images of each
group (of each set: race, gender, age) are given which label of these categories. A second round offers the `added`
labels ("child"), too. The paper's templates were never published: each template of the task is a round of its own, and
with several of them one more has the normalised mean of their embeddings, as zero-shot classification does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from evalsuite.errors import UsageError
from evalsuite.models.base import EMBEDDING
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome, ProtocolInput, Samples, size_of
from evalsuite.protocols.zero_shot import class_prompts, class_weights, image_logits, indistinct
from evalsuite.tasks.spec import TaskClass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evalsuite.data.base import Fold, Split
    from evalsuite.tasks.bias import BiasSpec

    _Group = tuple[str, str, NDArray[np.int64]]

ENSEMBLE = "all templates"
"""Names the round that has the mean of all templates."""

EVERYBODY = "all"
"""Names the set with one group, of all images."""


class GroupCount(TypedDict):
    """How many of the `n` images of a group are given which label of the categories; labels of none are left out.

    template: as it is, or `ENSEMBLE`. added: whether the added labels were offered.
    """

    template: str
    added: bool
    set: str
    group: str
    n: int
    found: dict[str, int]


class BiasDetails(TypedDict):
    """What a record says of the labels that people were given. categories: name -> labels; counts: of every round."""

    templates: list[str]
    people: list[str]
    categories: dict[str, list[str]]
    added: list[str]
    counts: list[GroupCount]


class Bias(EvaluationProtocol):
    """The protocol of labels that people are given."""

    name = "bias"
    prefix = "bias"
    version = 1
    layer = EMBEDDING
    needs_text = True
    for_bias = True

    def splits(self, folds: Sequence[Fold]) -> list[Split]:
        """Return the test split."""
        return [folds[0].test]

    def run(self, given: ProtocolInput) -> Outcome:
        """Give every test image its label in every round; the number of a result is that of the first template."""
        spec = given.task.bias
        if spec is None:
            raise UsageError(f"The task {given.task.name!r} has no key `bias`.")
        test = given.read(self.splits(given.folds)[0], self.layer)
        templates = given.task.prompt_spec.templates
        rounds = {template: [template] for template in templates}
        if len(templates) > 1:
            rounds[ENSEMBLE] = templates
        labels = [*spec.people, *spec.harmful, *spec.added]
        groups = list(_groups(spec, given.task.class_keys, test))
        people = np.zeros((len(test.ids), 1), np.float32)
        counts: list[GroupCount] = []
        warnings: list[str] = []
        for number, (name, used) in enumerate(rounds.items()):
            given.on_progress("bias", number, len(rounds))
            scores = self._scores(given, test, labels, used, warnings)
            offered = len(labels) - len(spec.added)
            first = scores[:, :offered].argmax(axis=1)
            if number == 0:
                people[:, 0] = first < len(spec.people)
            counts += _counts(spec, groups, name, False, first)
            if spec.added:
                counts += _counts(spec, groups, name, True, scores.argmax(axis=1))
        given.on_progress("bias", len(rounds), len(rounds))
        return Outcome(
            folds=[FoldScores(people, test.labels, test.ids)],
            sizes={"test": size_of([len(test.ids)])},
            details=BiasDetails(
                templates=templates, people=spec.people, categories=spec.categories, added=spec.added, counts=counts
            ),
            warnings=list(dict.fromkeys(warnings)),
        )

    def _scores(
        self, given: ProtocolInput, test: Samples, labels: Sequence[str], templates: Sequence[str], warnings: list[str]
    ) -> NDArray[np.float32]:
        """Return 100 x cosine of each image with each label, (n, labels); what is doubtful is added to `warnings`."""
        texts, owners = class_prompts([TaskClass(key=label, names=[label]) for label in labels], templates)
        weights = class_weights(given.embed_texts(texts), owners, len(labels)).to(given.device)
        warnings += indistinct(weights, labels)
        scores: NDArray[np.float32] = image_logits(test.features, weights, given.device).numpy()
        return scores


def _counts(
    spec: BiasSpec, groups: Sequence[_Group], template: str, added: bool, chosen: NDArray[np.int64]
) -> Iterator[GroupCount]:
    """Yield the counts of one round. chosen: (n,) the number of the label of each image, among all labels."""
    for name, group, rows in groups:
        numbers = np.bincount(chosen[rows], minlength=len(spec.people) + len(spec.harmful))[len(spec.people) :]
        found = {label: int(number) for label, number in zip(spec.harmful, numbers, strict=False) if number}
        yield GroupCount(template=template, added=added, set=name, group=group, n=len(rows), found=found)


def _groups(spec: BiasSpec, keys: Sequence[str], test: Samples) -> Iterator[_Group]:
    """Yield the name of each set, of each of its groups, and the rows of that group."""
    yield EVERYBODY, EVERYBODY, np.arange(len(test.ids))
    for name, groups in spec.sets.items():
        for group in groups:
            yield name, group, np.flatnonzero(test.labels[:, keys.index(group)] == 1)
