"""The headline claims of a paper, as the data next to its tables states them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from evalsuite.records import Strict


class ClaimedRows(Strict):
    """The rows a claim speaks of; the best of them by average counts."""

    models: str = Field(description="a model, a family or a pattern: resnet/50, bit-m, clip/vit-*")
    protocol: str


class Claim(Strict):
    """A claim and how to check it on tables.

    measure: `average_difference` (points of the subject's average above the other's), `tasks_won` (tasks on which
    the subject's score is higher) or `tasks_within_best` (tasks on which it is not below the interval of the best
    score under its protocol). The claim holds where the measure is above `holds_above`; it is confirmed where it
    is `figure` in as many decimals.
    """

    name: str
    text: str
    where: str = Field(description="section, table or figure")
    measure: Literal["average_difference", "tasks_won", "tasks_within_best"]
    subject: ClaimedRows
    against: ClaimedRows | None = None
    figure: float
    holds_above: float = 0

    @model_validator(mode="after")
    def _has_its_rows(self) -> Claim:
        if (self.against is None) != (self.measure == "tasks_within_best"):
            raise ValueError(f"the claim {self.name!r}: {self.measure} and `against` do not go together")
        return self
