"""Note what is needed to run a measurement again: versions, the state of the checkout, the platform."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from evalsuite.records import Provenance
from evalsuite.resources import checkout_dir

PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "transformers",
    "datasets",
    "huggingface_hub",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "pillow",
    "av",
    "h5py",
    "safetensors",
)
"""Packages whose version can change a number: decoding, resizing, weights, arithmetic, metrics."""

_GIT_TIMEOUT = 10.0


def collect(device: str, precision: str, seed: int, command: str, decoder: str = "pillow") -> Provenance:
    """Return the provenance of a measurement made now in this process."""
    checkout = checkout_dir()
    commit, dirty = git_state(checkout) if checkout else (None, None)
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        evalsuite=_version("evalsuite") or "",
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        platform=platform.platform(),
        device=device,
        precision=precision,
        decoder=f"{decoder} {_version(decoder)}",
        seed=seed,
    )


@cache
def git_state(checkout: Path) -> tuple[str | None, bool | None]:
    """Return the commit of `checkout` and whether files differ from it; None where git cannot tell.

    Asked once per process: what a process runs is what it imported when it started.
    """
    found = _git(checkout, "rev-parse", "--show-toplevel", "HEAD")
    if found is None or len(found.splitlines()) != 2:
        return None, None
    top, commit = found.splitlines()
    if Path(top).resolve() != checkout.resolve():  # a copy without .git inside somebody else's repository
        return None, None
    changes = _git(checkout, "status", "--porcelain")
    return commit, None if changes is None else bool(changes.strip())


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None when there is no git, no repository, or no answer in time."""
    # Without optional locks `status` does not write the index, which may be read-only or in use by its owner.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        finished = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_GIT_TIMEOUT,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout if finished.returncode == 0 else None


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
