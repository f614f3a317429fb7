"""Find, fetch and identify weight files.

A file of the hub is taken from the local cache where it is there, without asking the network:
the weights behind a tag are not meant to change, and the fingerprint of a plan then holds for the run.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

from evalsuite.errors import ModelError
from evalsuite.hashing import file_sha256
from evalsuite.models.checkpoints import first_line

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
    """A file of a hub repository under one of several names, best first. revision: branch, tag or commit."""

    repository: str
    filenames: tuple[str, ...]
    revision: str | None = None


@dataclass(frozen=True)
class UrlFile:
    """A file that a library takes from a URL, and where it keeps it.

    sha256: how the checksum begins, where the library says so: such a file is downloaded. Others are of forms that
    need not be readable.
    """

    url: str
    path: Path
    sha256: str = ""


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

    cache_dir: where digests are remembered, by path and `file_key`.
    """
    match place:
        case Path():
            digest = _digest(place, cache_dir)
            return WeightsFile(place, digest, f"{place.name} {digest}")
        case UrlFile(url, path, _) if path.is_file():
            return WeightsFile(path, _digest(path, cache_dir), url)
        case HubFile(repository, filenames, revision):
            from huggingface_hub import try_to_load_from_cache

            for filename in filenames:
                cached = try_to_load_from_cache(repository, filename, revision=revision)
                if isinstance(cached, str):
                    return _of_hub(place, Path(cached), cache_dir)
    return None


def download_weights(hub: HubFile, wanted: str, remedy: str, *, offline: bool, cache_dir: Path | None) -> WeightsFile:
    """Download weights from the hub.

    wanted: the model in the words of the user; remedy: what to do on a machine without network.
    Raises ModelError within seconds when it is not available.
    """
    path = download_file(hub, f"the weights of {wanted}", remedy, offline=offline)
    return _of_hub(hub, path, cache_dir)


@overload
def download_file(
    hub: HubFile, wanted: str, remedy: str, *, offline: bool, optional: Literal[False] = False
) -> Path: ...


@overload
def download_file(hub: HubFile, wanted: str, remedy: str, *, offline: bool, optional: bool) -> Path | None: ...


def download_file(hub: HubFile, wanted: str, remedy: str, *, offline: bool, optional: bool = False) -> Path | None:
    """Download a file of the hub; arguments and errors are those of `download_weights`.

    optional: None where the repository has none of the names.
    """
    from huggingface_hub import constants, hf_hub_download

    missing = f"{wanted} are not in the local cache ({constants.HF_HUB_CACHE}) and cannot be downloaded"
    if offline or constants.HF_HUB_OFFLINE:
        raise ModelError(f"{missing} (offline was asked for). {remedy}")
    try:
        filename = _first_on_hub(hub)
        path = Path(hf_hub_download(hub.repository, filename, revision=hub.revision)) if filename else None
    except Exception as error:
        # The exceptions of the HTTP library below huggingface_hub differ from version to version.
        raise ModelError(f"{missing} ({type(error).__name__}: {first_line(error)}). {remedy}") from error
    if path is None and not optional:
        raise ModelError(f"{missing} (the repository has none of {', '.join(hub.filenames)}). {remedy}")
    return path


def download_url(file: UrlFile, wanted: str, remedy: str, *, offline: bool, cache_dir: Path | None) -> WeightsFile:
    """Download a file whose checksum is known; arguments and errors are those of `download_weights`."""
    from urllib.request import Request, urlopen

    from huggingface_hub import constants
    from torch.hub import download_url_to_file

    missing = f"the weights of {wanted} are not at {file.path} and cannot be downloaded from {file.url}"
    if offline or constants.HF_HUB_OFFLINE:
        raise ModelError(f"{missing} (offline was asked for). {remedy}")
    try:
        urlopen(Request(file.url, method="HEAD"), timeout=CONNECT_SECONDS).close()
        file.path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(file.url, str(file.path), file.sha256, progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: another checksum
        raise ModelError(f"{missing} ({type(error).__name__}: {first_line(error)}). {remedy}") from error
    return WeightsFile(file.path, _digest(file.path, cache_dir), file.url)


def _first_on_hub(hub: HubFile) -> str | None:
    """Ask the hub, once and not for long, which of the names it has: its own retries take half a minute."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for filename in hub.filenames:
        with suppress(EntryNotFoundError):
            url = hf_hub_url(hub.repository, filename, revision=hub.revision)
            get_hf_file_metadata(url, timeout=CONNECT_SECONDS)
            return filename
    return None


def _of_hub(hub: HubFile, path: Path, cache_dir: Path | None) -> WeightsFile:
    digest = _digest(path, cache_dir)
    return WeightsFile(path, digest, f"{hub.repository}@{path.parent.name} {path.name} {digest}")


def _digest(path: Path, cache_dir: Path | None) -> str:
    return f"sha256:{file_sha256(path, cache_dir)}"
