"""The `splits`, `sizes` and `split_fidelity` of a task file, or of one of its sources."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from evalsuite.tasks.parts import Strict

MOST_FOLDS = 1_000
"""Folds of a task."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy takes for one."""


class Draw(Strict):
    """How many samples of each split are used, drawn without regard to their class; none: all."""

    seed: Seed = 0
    train: int | None = Field(default=None, ge=1)
    val: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)

    def describe(self) -> str:
        """Say in words what is drawn."""
        counts = {"train": self.train, "val": self.val, "test": self.test}
        drawn = ", ".join(f"{count:,} of {name}" for name, count in counts.items() if count is not None)
        return f"Of them, the seed {self.seed} draws {drawn}."


class OfficialSplits(Strict):
    """Splits that are pools, or lists of the source, of their own."""

    rule: Literal["official"] = "official"
    train: str = "train"
    val: str | None = Field(default=None, description="none: the protocol holds out a tenth of train")
    test: str = "test"
    draw: Draw | None = Field(default=None, description="use only so many samples of a split, drawn by a seed")

    @property
    def names(self) -> list[str]:
        """The pools and lists that the rule speaks of."""
        return [name for name in (self.train, self.val, self.test) if name is not None]

    def describe(self) -> str:
        """Say in words where the splits come from."""
        text = f"Published splits: {', '.join(f'`{name}`' for name in self.names)}."
        return text if self.draw is None else f"{text} {self.draw.describe()}"


class SampledSplits(Strict):
    """Splits drawn from one pool: a number per class, a fraction of each class, or the `rest`."""

    rule: Literal["sample"]
    pool: str = "all"
    seed: Seed = 0
    train: int | float | Literal["rest"]
    val: int | float | Literal["rest"] | None = None
    test: int | float | Literal["rest"] = "rest"

    @property
    def names(self) -> list[str]:
        """The pools and lists that the rule speaks of."""
        return [self.pool]

    def describe(self) -> str:
        """Say in words where the splits come from."""
        parts = [("train", self.train), ("val", self.val), ("test", self.test)]
        amounts = ", ".join(f"{name} {_in_words(amount)}" for name, amount in parts if amount is not None)
        return f"Drawn from all samples by the seed {self.seed}, class by class: {amounts}."


class FoldSplits(Strict):
    """Several train/test splits whose scores are averaged; `{}` is the number of the fold."""

    rule: Literal["folds"]
    count: int = Field(ge=2, le=MOST_FOLDS)
    first: int = Field(default=0, ge=0)
    train: str
    val: str | None = None
    test: str

    @property
    def names(self) -> list[str]:
        """The pools and lists that the rule speaks of."""
        return [name for name in (self.train, self.val, self.test) if name is not None]

    def describe(self) -> str:
        """Say in words where the splits come from."""
        return f"{self.count} folds whose scores are averaged: `{self.train}` to train, `{self.test}` to test."


def _in_words(amount: int | float | str) -> str:
    if amount == "rest":
        return "the rest"
    return f"{amount} per class" if isinstance(amount, int) else f"{float(amount):.0%} of each class"


def _official_by_default(value: Any) -> Any:
    return {"rule": "official", **value} if isinstance(value, dict) else value


SplitRule = Annotated[
    Annotated[OfficialSplits | SampledSplits | FoldSplits, Field(discriminator="rule")],
    BeforeValidator(_official_by_default),
]


class Sizes(Strict):
    """How many samples each split must have; a list gives one number per fold."""

    train: int | list[int] | None = None
    val: int | list[int] | None = None
    test: int | list[int] | None = None
    exact: bool = True
