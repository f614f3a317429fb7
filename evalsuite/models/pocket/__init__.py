"""`pocket`: a CLIP of under 4 MB that ships with the package, so that nothing need be downloaded.

It is open_clip's CLIP in a small configuration, trained by `training/pocket` of the repository on
captioned images drawn there. It reads digits, letters, some eighty words, and coloured shapes; nothing
else. Importing this module, and asking for the fingerprint, loads neither torch nor open_clip.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from evalsuite.errors import ModelError
from evalsuite.models.base import Logits
from evalsuite.models.names import ResolvedModel

if TYPE_CHECKING:
    from evalsuite.models.modules import TorchImageTextModel
    from evalsuite.models.skeletons import Skeleton

CONFIG_FILE = "config.json"
MERGES_FILE = "merges.txt.gz"
WEIGHTS_FILE = "weights.safetensors"

PARAMETERS = 754_510
GFLOPS = 0.006
"""Of the image encoder, counted as evalsuite/models/sizes.py does."""

_FOLDER = Path(__file__).parent


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> TorchImageTextModel:
    """Load the shipped model."""
    return load_pocket()


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str:
    """Return the fingerprint of the shipped model."""
    return pocket_fingerprint()


def known_logits(resolved: ResolvedModel, *, cache_dir: Path | None) -> Logits:
    """Return the scale of the shipped model's logits."""
    from safetensors.numpy import load

    return Logits(math.exp(float(load(read_part(_FOLDER, WEIGHTS_FILE))["logit_scale"])))


def skeleton(resolved: ResolvedModel) -> Skeleton:
    """Return the network without weights."""
    from evalsuite.models.pocket.model import skeleton_from

    return skeleton_from(_FOLDER)


def about(resolved: ResolvedModel) -> Iterator[tuple[str, str]]:
    """Yield what is known without loading it: lines for a person."""
    from evalsuite.models.pocket.model import about as about_folder

    return about_folder(_FOLDER)


def load_pocket(folder: Path = _FOLDER) -> TorchImageTextModel:
    """Load the shipped model, or one that `training.pocket.train` wrote into `folder`.

    Raises ModelError if a file is missing or the weights do not fit the configuration.
    """
    from evalsuite.models.pocket.model import load_from

    return load_from(folder)


def pocket_fingerprint(folder: Path = _FOLDER) -> str:
    """Return the sha256, in hex, over weights, tokenizer and configuration (which sets preprocessing)."""
    whole = hashlib.sha256()
    for name in (WEIGHTS_FILE, MERGES_FILE, CONFIG_FILE):
        # Digests of equal length: bytes moved from one file to the next cannot go unseen.
        whole.update(hashlib.sha256(read_part(folder, name)).digest())
    return whole.hexdigest()


def read_part(folder: Path, name: str) -> bytes:
    """Read one file of a model's folder."""
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(
            f"The pocket model's file {folder / name} cannot be read ({error.strerror}). Reinstall evalsuite, "
            "or write the folder again with: python -m training.pocket.train --output DIR"
        ) from error
