"""Where things are kept by default."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from evalsuite import resources
from evalsuite.errors import UsageError


def home() -> Path:
    """Return $EVALSUITE_HOME, else the platform's folder for user data."""
    if value := os.environ.get("EVALSUITE_HOME"):
        return expanded(value)
    import platformdirs

    return _there(platformdirs.user_data_path)


def default_output() -> Path:
    """Return where results go: the `results` folder of `home()`; results/runs of a checkout without $EVALSUITE_HOME."""
    checkout = None if os.environ.get("EVALSUITE_HOME") else resources.checkout_dir()
    return checkout / "results" / "runs" if checkout else home() / "results"


def imported_dir() -> Path:
    """Return where `evalsuite import` keeps other people's results: the `imported` folder of `home()`."""
    return home() / "imported"


def default_cache() -> Path:
    """Return where features go: $EVALSUITE_CACHE, else the platform's cache folder."""
    if value := os.environ.get("EVALSUITE_CACHE"):
        return expanded(value)
    if os.environ.get("EVALSUITE_HOME"):
        return home() / "cache"
    import platformdirs

    return _there(platformdirs.user_cache_path)


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder for its ~; UsageError where nobody is called so, or has none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{path}: nobody here has that name and a home folder; write the whole path.") from None


def _there(folder_of: Callable[[str], Path]) -> Path:
    """Return a folder of the user's; UsageError where the user has no home, and it would lie in a folder called ~."""
    try:
        path = folder_of("evalsuite")
    except RuntimeError:  # newer platformdirs say so themselves
        path = Path("~")
    if not path.is_absolute():
        raise UsageError("This user has no home folder (HOME is not set): name a folder with EVALSUITE_HOME=DIR.")
    return path


def default_data_root() -> Path:
    """Return where datasets are looked for: $EVALSUITE_DATA, else the `data` folder of `home()`."""
    if value := os.environ.get("EVALSUITE_DATA"):
        return expanded(value)
    return home() / "data"


def is_offline(asked: bool = False) -> bool:
    """Return whether the network must not be touched: asked for, or HF_HUB_OFFLINE is set."""
    return asked or os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "on", "yes", "true"}
