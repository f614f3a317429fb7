"""Images that a task both trains and tests on: byte for byte, or so near that chance does not explain it.

How near two different images of a task come is told by its training images: each has a nearest other one. Distances to
the nearest of many points follow a law of extremes: where features have m dimensions of their own, the share of images
whose nearest is within a distance r is 1 - exp(-(r / c)^m) (as in Levina and Bickel 2004, "Maximum likelihood
estimation of intrinsic dimension", section 2). m and c are read off two quantiles of the training images; the threshold
is the cosine that in all test images together fewer than `EXPECTED` would reach by chance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite.applied.pictures import Encoded
from evalsuite.applied.searching import nearest_stored
from evalsuite.data.drawing import draw_some
from evalsuite.nearest import Neighbours, merged

EXPECTED = 0.01
"""Different test images, in all, that may be taken for near duplicates by chance."""

QUANTILES = (0.05, 0.2)
"""Of the distances of training images, that the law is read off: low ones, where the densest classes are, but not so
low that duplicates within the training images decide."""

LEAST_REFERENCE = 40
"""Training images that the law needs: with these, the lower quantile is the second nearest."""

ROUNDING = 1e-6
"""Distances (1 - cosine) below are those of equal features: half precision and products in float32 differ so."""

SHOWN_BELOW = 24
"""Pairs below the threshold that are kept: who looks at them sees whether it should be lower."""

Kind = Literal["exact", "near"]


@dataclass(frozen=True)
class Images:
    """Images of one split or of several, in one order, whose features are stored."""

    parts: tuple[Encoded, ...]

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self.parts)

    @cached_property
    def places(self) -> list[tuple[Encoded, int]]:
        """The pool and the row of each."""
        return [(part, row) for part in self.parts for row in part.rows]

    @cached_property
    def ids(self) -> list[str]:
        """The sample id of each."""
        return [part.pool.ids[row] for part, row in self.places]

    @cached_property
    def digests(self) -> list[str]:
        """The sha256 of the bytes of each, "" where nobody knows it."""
        return [part.features.stamp(part.pool.ids[row]).sha256 for part, row in self.places]

    @cached_property
    def groups(self) -> list[str] | None:
        """What each belongs to; None where nothing says so."""
        if any(part.pool.groups is None for part in self.parts):
            return None
        return list(
            chain.from_iterable((part.pool.groups[row] for row in part.rows) for part in self.parts if part.pool.groups)
        )

    def labels(self) -> NDArray[np.int64]:
        """Return the class of each."""
        found: NDArray[np.int64] = np.concatenate([part.pool.labels[part.rows] for part in self.parts])
        return found

    def read(self, layer: str, numbers: NDArray[np.int64] | None = None) -> torch.Tensor:
        """Return the features (n, D) of some, by rising number; None: of all."""
        found, before = [], 0
        for part in self.parts:
            rows = range(len(part.rows)) if numbers is None else numbers[(numbers >= before)] - before
            chosen = [part.rows[row] for row in rows if row < len(part.rows)]
            found.append(replace(part, rows=chosen).read(layer))
            before += len(part.rows)
        return torch.cat(found)

    def nearest(self, queries: torch.Tensor, layer: str, k: int) -> Neighbours:
        """Return the k images nearest to each query (m, D), whose features stay on the disk."""
        found, before = None, 0
        for part in self.parts:
            near = nearest_stored(queries, *part.mapped(layer), k)
            near = Neighbours(near.similarity, near.rows + before)
            found = near if found is None else merged(found, near, k)
            before += len(part.rows)
        if found is None:
            raise ValueError("There are no images to look among.")
        return found


@dataclass(frozen=True)
class Pair:
    """A test image and a training image that are one. test, train: numbers of `Images`; similarity: their cosine."""

    kind: Kind
    test: int
    train: int
    similarity: float


@dataclass(frozen=True)
class Duplicates:
    """What was found between the test and the training images of a fold.

    pairs: one for each test image that is a duplicate, exact ones first, then by falling similarity; below: the nearest
    that are none, at most `SHOWN_BELOW`. nearest: (n,) the cosine of each test image to its nearest training image;
    reference: (m,) of training images to their nearest other one. threshold: from where on a pair counts as near.
    """

    pairs: tuple[Pair, ...]
    below: tuple[Pair, ...]
    nearest: NDArray[np.float64]
    reference: NDArray[np.float64]
    threshold: float


def find_duplicates(
    test: Images, train: Images, layer: str, device: torch.device, threshold: float | None = None, seed: int = 0
) -> Duplicates:
    """Return the test images that are training images, too. threshold: a cosine; None: see the module.

    As many training images as there are test images, or all, say what different images are like.
    """
    found = train.nearest(test.read(layer).to(device), layer, 1)
    similarity, rows = found.similarity[:, 0].double().cpu().numpy(), found.rows[:, 0].cpu().numpy()
    reference = nearest_others(train, draw_some(train.ids, len(test), seed), layer, device)
    least = usual_threshold(reference, len(test)) if threshold is None else threshold
    first: dict[str, int] = {}
    for number, digest in enumerate(train.digests):
        first.setdefault(digest, number)
    first.pop("", None)
    exact = [Pair("exact", n, first[digest], 1.0) for n, digest in enumerate(test.digests) if digest in first]
    known = {pair.test for pair in exact}
    ranked = [
        Pair("near", int(number), int(rows[number]), min(1.0, float(similarity[number])))
        for number in np.argsort(-similarity, kind="stable")
        if number not in known
    ]
    count = sum(pair.similarity >= least for pair in ranked)
    below = tuple(ranked[count : count + SHOWN_BELOW])
    return Duplicates((*exact, *ranked[:count]), below, similarity, reference, least)


def nearest_others(images: Images, chosen: NDArray[np.int64], layer: str, device: torch.device) -> NDArray[np.float64]:
    """Return the cosine of each chosen image, by rising number, to the nearest other one; none where it is alone."""
    if len(images) < 2:
        return np.empty(0)
    queries = images.read(layer, chosen).to(device)
    found = images.nearest(queries, layer, 2)
    rows, similarity = found.rows.cpu().numpy(), found.similarity.double().cpu().numpy()
    others: NDArray[np.float64] = np.where(rows[:, 0] == chosen, similarity[:, 1], similarity[:, 0])
    return others


def usual_threshold(reference: NDArray[np.float64], tested: int) -> float:
    """Return the cosine that fewer than `EXPECTED` of so many different images reach; see the module.

    reference: (m,) cosines of images to their nearest other one. Where there are too few, only equal features count.
    """
    if len(reference) < LEAST_REFERENCE:
        return 1 - ROUNDING
    distances = np.log(np.maximum(1 - np.quantile(reference, [1 - share for share in QUANTILES]), ROUNDING))
    rates = np.log(-np.log1p(-np.array(QUANTILES)))
    power = (rates[1] - rates[0]) / max(distances[1] - distances[0], np.finfo(np.float64).eps)
    wanted = np.log(-np.log1p(-EXPECTED / max(tested, 1)))
    distance = np.exp(distances[0] + (wanted - rates[0]) / power)
    return 1 - max(float(distance), ROUNDING)
