"""A person's images as a pool."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from evalsuite.applied.pictures import open_images


def test_a_file_is_one_image_however_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "may").mkdir(parents=True)
    for name in ("first.png", "may/second.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path / "photos" / "may")
    pool = open_images([Path("../first.png"), Path("second.png"), tmp_path / "photos" / "may" / ".." / "first.png"])
    assert pool.ids == ("first.png", "may/second.png")
    assert pool.read(0).image.size == (2, 2)
