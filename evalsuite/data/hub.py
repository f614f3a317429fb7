"""Splits of dataset repositories on the Hugging Face hub: downloaded once, then read from the cache."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Literal

from evalsuite.atomic import write_json
from evalsuite.data.context import SourceContext
from evalsuite.errors import DataMissingError
from evalsuite.hashing import combined_sha256
from evalsuite.tasks.sources import HuggingFaceSource, WebDatasetSource

INDEX_NAME = "hub-splits.json"
"""In the cache: which arrow files a split of a repository was prepared as, and from which commit."""

_DATA_SUFFIXES = (
    ".parquet",
    ".arrow",
    ".tar",
    ".zip",
    ".gz",
    ".csv",
    ".jsonl",
    ".json",
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
)


def arrow_cache(context: SourceContext) -> str:
    """Return where the `datasets` library keeps its arrow files."""
    return str(context.place.cache_dir / "datasets")


def is_cached(spec: HuggingFaceSource, context: SourceContext) -> bool:
    """Say whether every split of the source was downloaded into this cache before."""
    return all(_cached_entry(spec, split, context) is not None for split in spec.pools.values())


def open_split(spec: HuggingFaceSource, pool: str, context: SourceContext) -> tuple[Any, str]:
    """Return the split as a `datasets.Dataset` and the identity of its files.

    A split that is in the cache is taken from there, at the commit it was downloaded from, without the
    network. Else the revision is resolved to a commit, and that commit is downloaded. No code of the
    repository is run.
    """
    split = spec.pools[pool]
    entry = _cached_entry(spec, split, context)
    if entry is not None:
        dataset = _open_arrow(entry["arrow"])
    elif context.place.offline:
        raise DataMissingError(
            f"The split {split!r} of {spec.repo} is not in the cache, and the network must not be used (--offline or "
            "HF_HUB_OFFLINE). Run once without, or put its parquet files under the data root."
        )
    else:
        dataset, entry = _download(spec, split, context)
    context.resolved.update({"repo": spec.repo, "revision": spec.revision, "commit": entry["commit"]})
    context.resolved.setdefault("files", {})[pool] = entry["files"]
    return dataset, str(entry["content"])


def _download(spec: HuggingFaceSource, split: str, context: SourceContext) -> tuple[Any, dict[str, Any]]:
    import datasets
    from huggingface_hub import HfApi

    # Older versions ask on the terminal unless they are told.
    known = inspect.signature(datasets.load_dataset).parameters
    options = {"trust_remote_code": False} if "trust_remote_code" in known else {}
    try:
        info = HfApi().dataset_info(str(spec.repo), revision=spec.revision, files_metadata=True)
        dataset = datasets.load_dataset(
            spec.repo,
            name=spec.config,
            revision=info.sha,
            split=split,
            cache_dir=arrow_cache(context),
            **options,
        )
    except Exception as error:
        raise DataMissingError(explain(spec, f"split {split!r}", error)) from error
    # Checksums of large files; a README that changes is no other dataset.
    files = {
        sibling.rfilename: sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        for sibling in info.siblings or []
        if sibling.rfilename.lower().endswith(_DATA_SUFFIXES)
    }
    identity = [part for name, digest in sorted(files.items()) for part in (name, str(digest))]
    entry = {
        "commit": info.sha,
        "content": combined_sha256([str(spec.repo), *(identity or [str(info.sha)])]),
        "files": files,
        "arrow": [str(file["filename"]) for file in dataset.cache_files],
    }
    _remember(spec, split, context, entry)
    return dataset, entry


def explain(spec: HuggingFaceSource | WebDatasetSource, part: str, error: Exception) -> str:
    """Say what went wrong with the hub and what to do about it. part: what of the repository was asked for."""
    text = f"{spec.repo} ({part}, revision {spec.revision}) cannot be had from the hub: "
    files = "the shards" if spec.kind == "webdataset" else "the parquet files"
    advice = {
        "gated": f"it is gated. Accept its conditions at https://huggingface.co/datasets/{spec.repo}, then type: "
        "hf auth login (or set HF_TOKEN).",
        "no revision": "there is no such revision. Mend `revision` in the task file.",
        "no repository": "there is no such repository, or it is private: then type hf auth login (or set HF_TOKEN).",
        "unreachable": f"the hub cannot be reached ({error}). Check the network (HF_ENDPOINT, proxies), or put "
        f"{files} under the data root.",
        "other": f"{type(error).__name__}: {error}",
    }
    return text + advice[failure(error)]


def status_of(error: Exception) -> int | None:
    """Return the HTTP status the hub answered with, if that is how the error came about."""
    statuses = (getattr(getattr(cause, "response", None), "status_code", None) for cause in _chain(error))
    return next((status for status in statuses if status is not None), None)


def failure(error: Exception) -> Literal["gated", "no revision", "no repository", "unreachable", "other"]:
    """Sort what the libraries of the hub raise, by the error and by what caused it."""
    from huggingface_hub import errors

    causes = _chain(error)
    status = status_of(error)
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes) or status == 403:
        return "gated"
    if any(isinstance(cause, errors.RevisionNotFoundError) for cause in causes):
        return "no revision"
    if any(isinstance(cause, errors.RepositoryNotFoundError) for cause in causes) or status == 401:
        return "no repository"
    network = ("ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout", "Timeout", "TimeoutException")
    names = {base.__name__ for cause in causes for base in type(cause).__mro__}
    if names.intersection(network) or any(isinstance(cause, errors.LocalEntryNotFoundError) for cause in causes):
        return "unreachable"
    return "other"


def _chain(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in causes:
        causes.append(current)
        current = current.__cause__ or current.__context__
    return causes


def _open_arrow(files: list[str]) -> Any:
    import datasets

    return datasets.concatenate_datasets([datasets.Dataset.from_file(file) for file in files])


def _cached_entry(spec: HuggingFaceSource, split: str, context: SourceContext) -> dict[str, Any] | None:
    entry = _read_index(context).get(_key(spec, split))
    if not isinstance(entry, dict) or not {"commit", "content", "files", "arrow"} <= entry.keys():
        return None
    return entry if entry["arrow"] and all(Path(file).is_file() for file in entry["arrow"]) else None


def _remember(spec: HuggingFaceSource, split: str, context: SourceContext, entry: dict[str, Any]) -> None:
    """Note a split in the index; of two processes that do so at once, one may have to download again."""
    write_json(context.place.cache_dir / INDEX_NAME, {**_read_index(context), _key(spec, split): entry})


def _read_index(context: SourceContext) -> dict[str, Any]:
    try:
        stored = json.loads((context.place.cache_dir / INDEX_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _key(spec: HuggingFaceSource, split: str) -> str:
    return "|".join((str(spec.repo), spec.config or "", spec.revision, split))
