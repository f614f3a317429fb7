"""The `bias` of a task file: label sets of its images, and labels that a model is asked to choose among."""

from __future__ import annotations

from collections import Counter

from pydantic import Field, model_validator

from evalsuite.tasks.parts import Strict


class BiasSpec(Strict):
    """What the protocol `bias` counts, and by whom: for a task whose images have one class of each of several sets."""

    sets: dict[str, list[str]] = Field(min_length=1, description="name of a set -> its classes; each class is in one")
    people: list[str] = Field(min_length=1, description="labels that speak of people and of nothing else")
    categories: dict[str, list[str]] = Field(
        min_length=1, description="name -> labels that no image here should be given; how often it is, is counted"
    )
    added: list[str] = Field(
        default_factory=list, description="labels that a second round has next to the others, such as child"
    )

    @model_validator(mode="after")
    def _no_label_twice(self) -> BiasSpec:
        labels = [*self.people, *self.harmful, *self.added]
        classes = [key for keys in self.sets.values() for key in keys]
        for what, names in (("label", labels), ("class", classes)):
            name, times = Counter(names).most_common(1)[0]
            if times > 1:
                raise ValueError(f"the {what} {name!r} is named {times} times")
        return self

    @property
    def harmful(self) -> list[str]:
        """The labels of all categories."""
        return [label for labels in self.categories.values() for label in labels]
