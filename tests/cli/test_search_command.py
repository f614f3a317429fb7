"""`evalsuite search`: images by words or by an image, exactly, over features that stay on the disk."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from evalsuite.applied import searching
from tests.processes import WarmCli


def test_words_find_the_images_they_name_in_a_folder(cli: WarmCli, shapes: Path, colours: str, tmp_path: Path) -> None:
    folder = shapes.parent / "train"
    first = cli("search", "a blue sky", "-m", colours, "--folder", folder, "--top", "6", "--cache-dir", "cache")
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()[2:]
    assert len(lines) == 6 and all("blue/" in line for line in lines)
    found = cli("search", "a red wall", "-m", colours, "--folder", folder, "--format", "json", "--cache-dir", "cache")
    hits = json.loads(found.stdout)["hits"]
    assert len(hits) == 18 and [hit["image"].partition("/")[0] for hit in hits[:6]] == ["red"] * 6
    assert [hit["similarity"] for hit in hits] == sorted((hit["similarity"] for hit in hits), reverse=True)


def test_an_image_finds_itself_first_among_the_test_images_of_a_task(
    cli: WarmCli, shapes: Path, colours: str, tmp_path: Path
) -> None:
    image = shapes.parent / "test" / "green" / "001.png"
    common = ("search", "-m", colours, "-t", shapes, "--image", image, "--cache-dir", "cache")
    found = json.loads(cli(*common, "--format", "json").stdout)["hits"]
    assert len(found) == 9 and found[0]["label"] == "green" and found[0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert {hit["image"] for hit in found[:3]} == {f"green/00{number}.png" for number in range(3)}
    page = cli(*common, "--top", "4", "--to", "sheet.html")
    assert page.returncode == 0 and "Wrote 4 images to sheet.html." in page.stdout
    text = (tmp_path / "sheet.html").read_text()
    assert text.count("<img") == text.count("data:image/png;base64,") == 4 and "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)


def test_what_is_wrong_is_one_clear_message(cli: WarmCli, shapes: Path, colours: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    images_only = colours.replace(":factory", ":images_only")
    for arguments, text in (
        (("a dog", "-m", colours), "Say where to look: --task NAME or --folder DIR"),
        (("-m", colours, "--folder", "empty"), "Say what to look for"),
        (("  ", "-m", colours, "--folder", shapes.parent / "test"), "Say what to look for"),
        (("a dog", "-m", colours, "--folder", "empty"), "There is no image in empty."),
        (("-m", colours, "--folder", shapes.parent / "test", "--image", "empty"), "'empty' is a directory"),
        (("a dog", "-m", colours, "--folder", "nowhere"), "There is no image or folder nowhere."),
        (("a dog", "-m", images_only, "--folder", shapes.parent / "test"), "has no text encoder: look for an image"),
    ):
        done = cli("search", *arguments, "--cache-dir", "cache")
        assert done.returncode == 2 and text in done.output, done.output
        assert "Traceback" not in done.output


def test_a_classifier_finds_images_that_are_alike(cli: WarmCli, shapes: Path) -> None:
    folder = shapes.parent / "test"
    image = folder / "red" / "001.png"
    done = cli("search", "-m", "pixels", "--folder", folder, "--image", image, "--cache-dir", "cache")
    assert done.returncode == 0, done.output
    assert done.stdout.splitlines()[2].split() == ["1", "1.0000", "red/001.png"]


@pytest.mark.parametrize("part", [False, True])
def test_features_on_the_disk_are_searched_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: bool
) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "f.npy", rng.normal(size=(500, 16)).astype(np.float16))
    features = np.load(tmp_path / "f.npy", mmap_mode="r")
    rows = np.sort(rng.permutation(500)[:300]) if part else None
    queries = torch.from_numpy(rng.normal(size=(7, 16))).float()
    monkeypatch.setattr(searching, "CHUNK_BYTES", 16 * 2 * 37)
    found = searching.nearest_stored(queries, features, rows, 20)
    bank = torch.from_numpy(np.array(features if rows is None else features[rows])).float()
    wanted = torch.nn.functional.cosine_similarity(queries[:, None], bank[None], dim=2).sort(dim=1, descending=True)
    torch.testing.assert_close(found.similarity, wanted.values[:, :20])
    assert torch.equal(found.rows, wanted.indices[:, :20])
    assert searching.nearest_stored(queries, features[:0], None, 5).rows.shape == (7, 0)
