"""What a paper says of its figures and tables next to the numbers: results/published/figures and /retrieval."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalsuite.records import Strict
from evalsuite.resources import data_dir
from evalsuite.results.numbers import Number, Origin
from evalsuite.results.published import read_description

Percent = Annotated[float, Field(ge=0, le=100)]

CUTOFFS = (1, 5, 10)
"""The k of table 13."""


class Statement(Strict):
    """Something that the paper says of a figure and that numbers can bear out.

    printed: the figure with the decimals that the paper prints; or above: it is only said to be above this. needs: what
    is missing where the numbers that ship cannot tell.
    """

    name: str
    text: str
    where: str
    printed: str | None = Field(default=None, pattern=r"^-?\d+(\.\d+)?$")
    above: float | None = None
    needs: str = ""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Statement:
        if (self.printed is None) == (self.above is None):
            raise ValueError(f"the claim {self.name!r} needs `printed` or `above`")
        return self

    @property
    def decimals(self) -> int:
        """How many decimals are printed."""
        return len((self.printed or "").partition(".")[2])

    def agrees(self, found: float) -> bool:
        """Return whether a number is what is said, in as many decimals."""
        if self.printed is None:
            return self.above is not None and found > self.above
        return abs(round(found, self.decimals) - float(self.printed)) < 1e-9


class Training(Strict):
    """What the training of a model took."""

    model: str
    days: float
    devices: int
    device: str
    where: str

    @property
    def device_days(self) -> float:
        """Days of one device."""
        return self.days * self.devices


class FiguresFile(Strict):
    """What one paper says. claims: "figure 8" -> what is said of it; same_encoder: row -> the row of equal cost."""

    name: str
    citation: str
    claims: dict[str, list[Statement]]
    training: list[Training]
    same_encoder: dict[str, str]


class Recalls(Strict):
    """Recall at 1, 5 and 10 in percent, of captions and of images."""

    text: tuple[Percent, Percent, Percent]
    image: tuple[Percent, Percent, Percent]


class RetrievalRow(Strict):
    """The recalls of one model, on one task or on both. where: papers that print the same, for rows of others."""

    slug: str
    model: str
    protocol: Literal["retrieval", "fine_tuned"] = "retrieval"
    where: str = ""
    flickr30k: Recalls | None = None
    coco_captions: Recalls | None = None


class RetrievalTable(Strict):
    """The rows of one paper."""

    name: str
    origin: str
    citation: str
    units: Literal["percent"]
    rows: list[RetrievalRow]
    caveats: list[str] = Field(default_factory=list)

    def numbers(self) -> Iterator[Number]:
        """Yield every recall as a number of its own, named as the records here name them."""
        for row in self.rows:
            for task in ("flickr30k", "coco_captions"):
                recalls: Recalls | None = getattr(row, task)
                for side, values in recalls.model_dump().items() if recalls else ():
                    for k, recall in zip(CUTOFFS, values, strict=True):
                        yield Number(
                            model=row.slug,
                            name=row.model,
                            protocol=row.protocol,
                            task=task,
                            metric=f"{side}_recall_at_{k}",
                            value=recall / 100,
                            is_main=False,
                            origin=Origin("published", self.name, self.origin),
                            source=f"{self.citation}; {row.where}" if row.where else self.citation,
                        )


@cache
def read_figures() -> FiguresFile:
    """Read what the CLIP paper says of its figures; SpecError names what is wrong in the file."""
    return read_description(data_dir("results/published") / "figures" / "clip_paper.yaml", FiguresFile)


@cache
def read_retrieval() -> RetrievalTable:
    """Read the paper's table 13; SpecError names what is wrong in the file."""
    return read_description(data_dir("results/published") / "retrieval" / "clip_paper.yaml", RetrievalTable)
