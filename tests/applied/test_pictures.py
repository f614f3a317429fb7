"""A person's images as a pool."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from evalsuite.applied.pictures import open_images
from evalsuite.errors import UsageError


def test_a_file_is_one_image_however_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "may").mkdir(parents=True)
    for name in ("first.png", "may/second.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path / "photos" / "may")
    pool = open_images([Path("../first.png"), Path("second.png"), tmp_path / "photos" / "may" / ".." / "first.png"])
    assert pool.ids == ("first.png", "may/second.png")
    assert pool.read(0).image.size == (2, 2)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    assert open_images([folder]).ids == ("a.png",)
    (folder / "a.png").rename(folder / os.fsdecode(b"\xe9.png"))
    with pytest.raises(UsageError, match=r"no UTF-8. Rename the file"):
        open_images([folder])
