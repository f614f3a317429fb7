"""Find, fetch, identify and read weight files, safely.

Nothing here runs code from a checkpoint: pickles are read with `weights_only=True`, TorchScript archives
are refused. A file of the hub is taken from the local cache where it is there, without asking the network:
the weights behind a tag are not meant to change, and the fingerprint of a plan then holds for the run.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError
from evalsuite.hashing import file_sha256

CONNECT_SECONDS = 5.0
"""How long the hub may take to say whether a file exists, before we say that there is no network."""


@dataclass(frozen=True)
class WeightsFile:
    """A weight file on this machine. digest: 'sha256:...' of its bytes. source: where it came from, readable."""

    path: Path
    digest: str
    source: str


@dataclass(frozen=True)
class HubFile:
    """A file of a hub repository under one of several names, best first."""

    repository: str
    filenames: tuple[str, ...]


def hub_candidates(filename: str) -> tuple[str, ...]:
    """Return the names to look for in place of `filename`: its safetensors twin first.

    The default names are those of timm (`pytorch_model.bin`) and open_clip (`open_clip_pytorch_model.bin`),
    whose twins have no `pytorch_`.
    """
    path = Path(filename)
    if path.suffix not in {".bin", ".pth", ".pt"}:
        return (filename,)
    stem = path.stem.replace("pytorch_model", "model")
    return (path.with_name(f"{stem}.safetensors").as_posix(), filename)


def checkpoint_file(path: Path, cache_dir: Path | None) -> WeightsFile:
    """Identify a checkpoint that the user gave."""
    digest = file_digest(path, cache_dir)
    return WeightsFile(path, digest, f"{path.name} {digest}")


def cached_hub_file(hub: HubFile, cache_dir: Path | None) -> WeightsFile | None:
    """Return the file from the local hub cache (HF_HOME is honoured), or None."""
    from huggingface_hub import try_to_load_from_cache

    for filename in hub.filenames:
        path = try_to_load_from_cache(hub.repository, filename)
        if isinstance(path, str):
            return _identify_hub_file(hub, Path(path), cache_dir)
    return None


def fetch_hub_file(hub: HubFile, *, wanted: str, remedy: str, offline: bool, cache_dir: Path | None) -> WeightsFile:
    """Return the file from the local cache, or download it.

    wanted: the model in the words of the user; remedy: what to do on a machine without network.
    Raises ModelError within seconds when it is neither here nor to be had.
    """
    from huggingface_hub import constants, hf_hub_download

    cached = cached_hub_file(hub, cache_dir)
    if cached is not None:
        return cached
    missing = f"the weights of {wanted} are not in the local cache ({constants.HF_HUB_CACHE}) and cannot be downloaded"
    if offline or constants.HF_HUB_OFFLINE:
        raise ModelError(f"{missing} (offline was asked for). {remedy}")
    try:
        filename = _first_on_hub(hub)
        path = Path(hf_hub_download(hub.repository, filename)) if filename else None
    except Exception as error:
        # The exceptions of the HTTP library below huggingface_hub differ from version to version.
        raise ModelError(f"{missing} ({type(error).__name__}: {_first_line(error)}). {remedy}") from error
    if path is None:
        raise ModelError(f"{missing} (the repository has none of {', '.join(hub.filenames)}). {remedy}")
    return _identify_hub_file(hub, path, cache_dir)


def downloaded_url(url: str, folder: Path, *, wanted: str, remedy: str, cache_dir: Path | None) -> WeightsFile:
    """Return the file that open_clip or timm stored for an older weights URL; ModelError says what to fetch."""
    path = folder / url.rpartition("/")[2]
    if not path.is_file():
        raise ModelError(
            f"the weights of {wanted} are not on the hub: download {url} to {path} and run again. {remedy}"
        )
    return WeightsFile(path, file_digest(path, cache_dir), url)


def file_digest(path: Path, cache_dir: Path | None) -> str:
    """Return 'sha256:...' of a file, remembered in `cache_dir` by path, size and modification time."""
    return f"sha256:{file_sha256(path, cache_dir)}"


def read_state_dict(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running code from it: name -> tensor.

    Unwraps what training scripts add: `state_dict`, `model`, and the prefixes of DataParallel and
    torch.compile. Raises ModelError for anything that is not plain weights.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    import torch

    if not isinstance(content, Mapping) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(f"{path}: holds no weights (a mapping of names to tensors was expected).")
    return {str(name).removeprefix("module.").removeprefix("_orig_mod."): value for name, value in content.items()}


def describe_keys(missing: Sequence[str], unexpected: Sequence[str], shapes: Sequence[str] = ()) -> str:
    """Say what does not fit between a checkpoint and an architecture, the first few of each kind."""
    kinds = (
        ("lacks", missing),
        ("has the unknown", unexpected),
        ("has other sizes for", shapes),
    )
    return "; ".join(
        f"it {verb} {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for verb, keys in kinds
        if keys
    )


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: is no readable safetensors file: {_first_line(error)}") from error


def _read_pickle(path: Path) -> object:
    import torch

    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # only the zip format of torch >= 1.6 can be mapped
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: needs Python code to load, which is refused because a checkpoint may come from anybody "
            f"({_first_line(error)}). If you trust it, save its weights alone on your machine: "
            "torch.save(torch.load(PATH, weights_only=False)['state_dict'], 'weights.pt')."
        ) from error
    except RuntimeError as error:
        raise ModelError(
            f"{path}: is no checkpoint that can be read safely ({_first_line(error)}). A TorchScript archive, such as "
            "the files OpenAI published, can be converted: "
            "torch.save(torch.jit.load(PATH, map_location='cpu').state_dict(), 'weights.pt')."
        ) from error
    except (OSError, EOFError, ValueError) as error:
        raise ModelError(f"{path}: is no readable checkpoint: {_first_line(error)}") from error


def _first_on_hub(hub: HubFile) -> str | None:
    """Ask the hub, once and not for long, which of the names it has: its own retries take half a minute."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for filename in hub.filenames:
        with suppress(EntryNotFoundError):
            get_hf_file_metadata(hf_hub_url(hub.repository, filename), timeout=CONNECT_SECONDS)
            return filename
    return None


def _identify_hub_file(hub: HubFile, path: Path, cache_dir: Path | None) -> WeightsFile:
    digest = file_digest(path, cache_dir)
    return WeightsFile(path, digest, f"{hub.repository}@{path.parent.name} {path.name} {digest}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
