"""Pools made of some rows of another: everything that is known of a sample follows it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evalsuite.data.base import LoadedSample, Owner, PoolOrigin, RawPool
from evalsuite.data.sharing import chosen_rows

OF_THE_POOL = {"content", "origin", "owner", "names", "warnings"}
"""What is said of a pool as a whole."""


class Reader:
    """Reads images whose bytes are the number of the row."""

    def __call__(self, row: int) -> LoadedSample:
        """Return the image of a row."""
        return LoadedSample(Image.new("L", (1, 1), row), bytes([row]))

    def content(self, row: int) -> bytes:
        """Return the bytes of a row."""
        return bytes([row])

    encoded = content


@given(st.lists(st.integers(0, 8), unique=True))
def test_every_field_of_a_sample_follows_its_row(rows: list[int]) -> None:
    raw = RawPool(
        ids=[f"i{row}" for row in range(9)], labels=[f"l{row}" for row in range(9)], read=Reader(),
        sizes=np.arange(9), mtimes=np.arange(9) + 10, content="digest", groups=[f"g{row}" for row in range(9)],
        origin=PoolOrigin({"f": "s"}), states=np.arange(18).reshape(9, 2), names=("n",), warnings=("w",),
        owner=Owner("t", "p", "f", "r"), captions=[(f"c{row}",) for row in range(9)],
    )  # fmt: skip
    found = chosen_rows(raw, np.array(rows, np.int64))
    for name in {field.name for field in fields(RawPool)} - {"read"}:
        whole, part = getattr(raw, name), getattr(found, name)
        assert len(str(whole)) > 2, f"this test says nothing of {name}"
        if name in OF_THE_POOL:
            assert part == whole, name
        else:
            assert np.array(part).tolist() == [np.array(whole)[row].tolist() for row in rows], name
    for place, row in enumerate(rows):
        assert found.read(place).content == found.read.content(place) == found.read.encoded(place) == bytes([row])
