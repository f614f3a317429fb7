"""Find the data folders that ship with the project: tasks, prompts and published results."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from evalsuite.errors import EvalsuiteError

DataDir = Literal["tasks", "prompts", "results/published"]

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: DataDir) -> Path:
    """Return the folder `name`: the data of an installed wheel, else the checkout's top-level folder.

    Raises EvalsuiteError when neither is there, which means a broken installation.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        folder = root / name
        if folder.is_dir():
            return folder
    raise EvalsuiteError(
        f"The data folder {name!r} is neither in {_PACKAGE / '_data'} nor in {_PACKAGE.parent}: "
        "the installation is incomplete; install evalsuite again."
    )


def checkout_dir() -> Path | None:
    """Return the checkout this package runs from, or None when it runs from an installed wheel."""
    root = _PACKAGE.parent
    is_checkout = (root / "pyproject.toml").is_file() and (root / "tasks").is_dir()
    return root if is_checkout and not (_PACKAGE / "_data").is_dir() else None
