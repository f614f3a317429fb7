"""Text embeddings are stored by the very texts, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalsuite.features.texts import EmbeddedTexts, text_embeddings

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=TEXTS, second=TEXTS)
def test_each_row_is_of_the_text_that_was_asked_for(tmp_path: Path, first: list[str], second: list[str]) -> None:
    def encode(texts: Sequence[str]) -> EmbeddedTexts:
        rows = [[float(len(text)), *(float(ord(letter)) for letter in text.ljust(3, "\0"))] for text in texts]
        return EmbeddedTexts(torch.tensor(rows, dtype=torch.float64), [len(texts) - 1])

    for texts in (first, second, second[::-1], first):
        found = text_embeddings(tmp_path, texts, encode)
        assert torch.equal(found.embedding, encode(texts).embedding.float()) and found.embedding.dtype == torch.float32
        assert found.cut == [len(texts) - 1]


def test_texts_are_encoded_once(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def encode(texts: Sequence[str]) -> EmbeddedTexts:
        asked.append(texts)
        return EmbeddedTexts(torch.zeros(len(texts), 2))

    for texts in (["a", "b"], ["a", "b"], ["b", "a"], ["ab"]):
        text_embeddings(tmp_path, texts, encode)
    assert asked == [["a", "b"], ["b", "a"], ["ab"]]
