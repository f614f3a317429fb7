"""Errors that another process is told of."""

from __future__ import annotations

import pickle

import pytest

from evalsuite.errors import ModelError, place_of, sendable


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("says nothing")


class LocalError(Exception):
    def __reduce__(self) -> str:
        raise TypeError("stays here")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ModelError("a model"), ModelError, "a model"),
        (LocalError("no copy"), RuntimeError, "LocalError: no copy"),
        (MuteError(), MuteError, ""),
        (SystemExit(3), RuntimeError, "SystemExit: 3"),
    ],
)
def test_an_error_reaches_another_process_with_its_place(error: BaseException, kind: type, text: str) -> None:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - any kind
        found = pickle.loads(pickle.dumps(sendable(raised, "the node n")))
    assert type(found) is kind
    assert "test_an_error_reaches" in place_of(found) and "on the node n" in place_of(found)
    if text:
        assert str(found) == text
