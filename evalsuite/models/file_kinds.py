"""What a weight file is, by its first bytes: its name says little, and a failed download has any name."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from evalsuite.errors import ModelError

Kind = Literal["safetensors", "pickle", "npz"]
"""The kinds of files that weights are read from."""

HEAD_BYTES = 512

PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""What a file of torch before 1.6 begins with: a pickle, protocol 2 to 5."""

REFUSED: Mapping[bytes, str] = {
    b"version https://git-lfs": "is a Git LFS pointer, not the weights it stands for. Run `git lfs pull` in its "
    "folder, or download the file itself",
    b"\x89HDF": "is an HDF5 file, as Keras writes it. Convert it to safetensors with the library that wrote it",
    b"GGUF": "is a GGUF file, of quantised weights. Give the safetensors or PyTorch file of the model",
    b"\x1f\x8b": "is compressed (gzip). Unpack it first",
    b"\x08": "looks like an ONNX file, whose network cannot be read. Give the PyTorch weights it was exported from",
}
"""How a file that holds no weights we read begins, and what to do about it."""


def kind_of(path: Path) -> Kind:
    """Return the kind of a weight file; ModelError says what else it is, and what to do."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if not head:
        raise ModelError(f"{path}: is empty. Copy or download it again.")
    if head.startswith(b"PK"):
        return _kind_of_archive(path)
    if head.startswith(PICKLE_STARTS) or head[257:262] == b"ustar":  # torch before 0.1.11 wrote tar archives
        return "pickle"
    if len(head) > 8 and head[8:].lstrip()[:1] == b"{":  # 8 bytes: the length of the JSON header
        return "safetensors"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelError(
            f"{path}: is a web page, not weights: the download went wrong (a login, a licence to accept, a wrong "
            "address). Open it in a browser to see why, and download the file itself."
        )
    for start, what in REFUSED.items():
        if head.startswith(start):
            raise ModelError(f"{path}: {what}.")
    shown = head[:16].decode("ascii", "backslashreplace")
    raise ModelError(
        f"{path}: is no weight file: neither safetensors nor a file of torch.save (it begins with {shown!r}). "
        "Download or copy it again."
    )


def _kind_of_archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, OverflowError, struct.error) as error:
        raise ModelError(f"{path}: is damaged or cut short ({error}). Copy or download it again.") from error
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise ModelError(
            f"{path}: is a TorchScript archive, which holds code. Such files, as OpenAI published them, are converted "
            "by: torch.save(torch.jit.load(PATH, map_location='cpu').state_dict(), 'weights.pt')."
        )
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.endswith("data.pkl") for name in names):
        return "pickle"
    raise ModelError(f"{path}: is a zip archive without weights of torch.save in it. Unpack it, and give a file of it.")
