"""Find, fetch, identify and read weight files, safely.

Nothing here runs code from a checkpoint: pickles are read with `weights_only=True`, TorchScript archives
are refused. A file of the hub is taken from the local cache where it is there, without asking the network:
the weights behind a tag are not meant to change, and the fingerprint of a plan then holds for the run.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError
from evalsuite.hashing import file_sha256
from evalsuite.models.names import ResolvedModel
from evalsuite.text import shortened

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


@dataclass(frozen=True)
class UrlFile:
    """A file that open_clip or timm takes from an older weights URL, and where it keeps it."""

    url: str
    path: Path


WeightsPlace = Path | HubFile | UrlFile | None
"""Where weights are: a checkpoint of the user's, a file of the hub or of a URL, or nowhere."""


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


def find_weights(place: WeightsPlace, cache_dir: Path | None) -> WeightsFile | None:
    """Return the weights if they are on this machine (HF_HOME is honoured), without asking the network.

    cache_dir: where digests are remembered, by path, size and modification time.
    """
    match place:
        case Path():
            digest = _digest(place, cache_dir)
            return WeightsFile(place, digest, f"{place.name} {digest}")
        case UrlFile(url, path) if path.is_file():
            return WeightsFile(path, _digest(path, cache_dir), url)
        case HubFile(repository, filenames):
            from huggingface_hub import try_to_load_from_cache

            for filename in filenames:
                cached = try_to_load_from_cache(repository, filename)
                if isinstance(cached, str):
                    return _of_hub(place, Path(cached), cache_dir)
    return None


def obtain_weights(
    place: WeightsPlace, resolved: ResolvedModel, checkpoint_form: str, *, offline: bool, cache_dir: Path | None
) -> WeightsFile:
    """Return the weights of a model from this machine, or download them from the hub.

    checkpoint_form: how the user names a checkpoint of this architecture.
    Raises ModelError within seconds when they are not available; it says what to do on a machine without network.
    """
    found = find_weights(place, cache_dir)
    if found is not None:
        return found
    backend, target = resolved.backend, resolved.target
    remedy = (
        f"On a machine with network run `evalsuite run --model {resolved.name} --tasks embedded` and copy its "
        f"hub cache (HF_HOME) here, or give a checkpoint: {checkpoint_form}"
    )
    match place:
        case HubFile(repository):
            wanted = f"{resolved.name} ({backend} {target}, hub repository {repository})"
            return _of_hub(place, _download(place, wanted, remedy, offline=offline), cache_dir)
        case UrlFile(url, path):
            raise ModelError(
                f"the weights of {resolved.name} ({backend} {target}) are not on the hub: download {url} to {path} "
                f"and run again. {remedy}"
            )
        case _:
            raise ModelError(f"{backend} has no pretrained weights for {target}. {remedy}")


def _download(hub: HubFile, wanted: str, remedy: str, *, offline: bool) -> Path:
    from huggingface_hub import constants, hf_hub_download

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
    return path


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


def misfit(path: Path, architecture: str, error: RuntimeError) -> ModelError:
    """Return an error that says what does not fit between a checkpoint and an architecture, in few words.

    error: what torch's `load_state_dict` raised; the words looked for are its own.
    """
    text = str(error)
    kinds = (
        ("lacks", _keys_after("Missing key(s) in state_dict", text)),
        ("has the unknown", _keys_after("Unexpected key(s) in state_dict", text)),
        ("has other sizes for", sorted(re.findall(r"size mismatch for (\S+):", text))),
    )
    reasons = "; ".join(f"it {verb} {shortened(keys, 3)}" for verb, keys in kinds if keys)
    if not reasons:
        return ModelError(f"{path}: cannot be loaded into {architecture}: {_first_line(error)}")
    return ModelError(f"{path}: does not fit {architecture}: {reasons}. The architecture is probably another one.")


def _keys_after(heading: str, text: str) -> list[str]:
    found = re.search(re.escape(heading) + r": (.*)", text)
    return sorted(re.findall(r'"([^"]+)"', found[1])) if found else []


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


def _of_hub(hub: HubFile, path: Path, cache_dir: Path | None) -> WeightsFile:
    digest = _digest(path, cache_dir)
    return WeightsFile(path, digest, f"{hub.repository}@{path.parent.name} {path.name} {digest}")


def _digest(path: Path, cache_dir: Path | None) -> str:
    return f"sha256:{file_sha256(path, cache_dir)}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
