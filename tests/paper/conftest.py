"""The tiny datasets, written once, and torchvision without its checksums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.paper import launch
from tests.paper.picture import Written
from tests.paper.tree import write_tree


@dataclass(frozen=True)
class Tree:
    """Where the datasets and their task files are. Nothing in here may be changed: copy what you want to break."""

    root: Path
    written: dict[str, Written]

    @property
    def data(self) -> Path:
        """The data root."""
        return self.root / "data"

    @property
    def tasks(self) -> Path:
        """The folder of the task files."""
        return self.root / "tasks"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """All 27 datasets."""
    root = tmp_path_factory.mktemp("paper") / "tree"
    return Tree(root, write_tree(root))


@pytest.fixture
def no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision take CIFAR and Flowers-102 that are not the real ones."""
    for module in launch.CHECKED:
        monkeypatch.setattr(module, "check_integrity", launch.exists)
