"""Plurals and shortened lists of messages."""

from __future__ import annotations

import pytest

from evalsuite.text import counted, shortened


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (0, "task", "0 tasks"),
        (1, "task", "1 task"),
        (1, "test class", "1 test class"),
        (2, "test class", "2 test classes"),
        (12345, "image", "12,345 images"),
        (2, "entry", "2 entries"),
        (2, "day", "2 days"),
        (2, "box", "2 boxes"),
        (2, "batch", "2 batches"),
        (2, "template", "2 templates"),
    ],
)
def test_a_number_and_its_noun_agree(count: int, noun: str, expected: str) -> None:
    assert counted(count, noun) == expected


def test_a_list_says_how_many_names_it_leaves_out() -> None:
    assert shortened([]) == ""
    assert shortened(["a"]) == "a"
    assert shortened(["a", "b"], most=2) == "a, b"
    assert shortened(["a", "b", "c", "d"], most=2) == "a, b and 2 more"
