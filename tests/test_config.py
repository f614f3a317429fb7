"""Where things are kept by default."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evalsuite import config
from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError


@pytest.mark.parametrize("folder", [config.home, config.default_cache, config.default_data_root, config.imported_dir])
def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, folder: Callable[[], Path]) -> None:
    for name in ("EVALSUITE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what Python does where it finds no home
    with pytest.raises(UsageError, match="EVALSUITE_HOME=DIR"):
        folder()
    monkeypatch.setenv("EVALSUITE_HOME", "/elsewhere")
    assert folder().is_relative_to("/elsewhere")


@pytest.mark.parametrize(
    ("name", "read"),
    [("HOME", config.home), ("CACHE", config.default_cache), ("DATA", config.default_data_root)],
)
def test_a_home_folder_of_nobody_is_told(name: str, read: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"EVALSUITE_{name}", "~nobody-is-called-so/data")
    with pytest.raises(UsageError, match="~nobody-is-called-so/data: nobody here"):
        read()


def test_a_cache_whose_name_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/c\xff"))
    with pytest.raises(UsageError, match=r"is no UTF-8\. Name another --cache-dir"):
        DataPlace(cache_dir=strange)
