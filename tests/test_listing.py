"""A folder that may not be listed is an error everywhere: what lies in it is not missing without a word."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalsuite.applied.pictures import open_images
from evalsuite.features.merging import plan_features
from evalsuite.features.verifying import verify_model
from evalsuite.listing import matching, walk
from evalsuite.models.feature_folders import FeatureFolder, Stated
from evalsuite.results.imported import read_imported
from evalsuite.results.merging import plan_results
from evalsuite.results.store import load_stored

Close = Callable[[Path], None]


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> Close:
    """Return what makes a folder one that may not be listed: root may list every one."""

    def closed(folder: Path) -> None:
        for name in ("scandir", "listdir"):
            real = getattr(os, name)

            def refusing(path: Any = ".", real: Any = real) -> Any:
                if not isinstance(path, int) and Path(path) == folder:
                    raise PermissionError(13, "Permission denied", str(path))
                return real(path)

            monkeypatch.setattr(os, name, refusing)

    return closed


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    "pattern",
    ["*", "*.tar", "a/*.tar", "*/*.tar", "**/*.tar", "a/**/*.tar", "[ab]/?.tar", "a/1.tar", "c/*", "**/b"],
)
def test_patterns_mean_what_they_mean_to_python(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "a/1.tar", "a/.2.tar", "a/b/3.tar", "b/c/4.tar", "b/5.txt", "6.tar")
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a")
    assert matching(tmp_path, pattern) == sorted(tmp_path.glob(pattern))


def test_what_is_not_there_matches_nothing(tmp_path: Path) -> None:
    make(tmp_path, "file")
    assert matching(tmp_path / "gone", "*/*") == matching(tmp_path / "file", "**/*") == matching(tmp_path, "*/*") == []
    assert list(walk(tmp_path / "gone")) == []


@pytest.mark.parametrize("pattern", ["*/*.tar", "**/*.tar", "a/*.tar", "**"])
def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path: Path, close: Close, pattern: str) -> None:
    make(tmp_path, "a/1.tar", "b/2.tar")
    close(tmp_path / "a")
    with pytest.raises(PermissionError, match=r"/a'"):
        matching(tmp_path, pattern)


def features_of(root: Path) -> object:
    return FeatureFolder(root, Stated(), None).files()


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda root: open_images([root]), "a/1.png"),
        (lambda root: plan_results([root], root / "to"), "results/m-01234567/t.p.json"),
        (lambda root: plan_features([root], root / "to"), "cache/m-01234567/t.test-0/pool.json"),
        (features_of, "task/test.npy"),
    ],
)
def test_nothing_is_left_out_in_silence(
    tmp_path: Path, close: Close, read: Callable[[Path], object], name: str
) -> None:
    make(tmp_path, name, "other/2.png", "other/2.npy")
    close((tmp_path / name).parent)
    with pytest.raises(PermissionError):
        read(tmp_path)


def test_imports_that_may_not_be_listed(tmp_path: Path, close: Close, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.config.imported_dir", lambda: tmp_path)
    assert read_imported() == ()
    close(tmp_path)
    with pytest.raises(PermissionError):
        read_imported()


def test_texts_that_may_not_be_listed_are_a_problem(tmp_path: Path, close: Close) -> None:
    make(tmp_path, "texts/1.safetensors")
    close(tmp_path / "texts")
    assert "Permission denied" in " ".join(verify_model(tmp_path)[2])


def test_records_that_may_not_be_looked_at_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder that one may list and not enter."""
    make(tmp_path, "m-01234567/t.p.json")
    real = os.stat

    def refusing(path: Any, **options: Any) -> Any:
        if str(path).endswith(".json"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", refusing)
    stored, warnings = load_stored([tmp_path])
    assert stored == [] and len(warnings) == 1 and "t.p.json was left out: it cannot be read" in warnings[0]
