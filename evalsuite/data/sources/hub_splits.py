"""Splits of dataset repositories on the Hugging Face hub: downloaded once, then read from the cache."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite import atomic
from evalsuite.data.base import PoolOrigin
from evalsuite.data.download.hub import Repository
from evalsuite.data.place import DataPlace
from evalsuite.data.sources.copies import COPIES
from evalsuite.errors import DataMissingError
from evalsuite.hashing import combined_sha256, files_sha256
from evalsuite.seals import read_sealed, write_sealed

INDEX_NAME = "hub-splits.json"
"""In the cache: which arrow files a split of a repository was prepared as, and from which commit."""

_DATA_SUFFIXES = (
    *(".parquet", ".arrow", ".tar", ".zip", ".gz", ".csv", ".jsonl", ".json"),
    *(".png", ".jpg", ".jpeg", ".webp"),
)


@dataclass(frozen=True)
class HubSplits:
    """The splits of one repository (and configuration) as they are in the cache of a place."""

    repository: Repository
    config: str | None
    place: DataPlace

    @property
    def arrow_cache(self) -> str:
        """Return where the `datasets` library keeps its arrow files."""
        return str(self.place.cache_dir / COPIES)

    def is_cached(self, split: str) -> bool:
        """Say whether a split was downloaded into this cache before."""
        return self._cached_entry(split) is not None

    def open(self, split: str) -> tuple[Any, str, PoolOrigin]:
        """Return the split as a `datasets.Dataset`, the identity of its files, and what is recorded of them.

        A split that is in the cache is taken from there, at the commit it was downloaded from, without the
        network. Else the revision is resolved to a commit, and that commit is downloaded. No code of the
        repository is run.
        """
        import datasets

        entry = self._cached_entry(split)
        if entry is not None and not self._is_intact(entry):
            folder = Path(entry["arrow"][0]).parent
            self.place.progress.note(f"Warning: the copy of the split {split!r} in {folder} is damaged.")
            if not self.place.offline:
                atomic.remove_folder(folder)  # else it would be taken again
            entry = None
        if entry is not None:
            dataset = datasets.concatenate_datasets([datasets.Dataset.from_file(file) for file in entry["arrow"]])
        elif self.place.offline:
            raise DataMissingError(
                f"The split {split!r} of {self.repository.name} is not in the cache, or damaged, and the network "
                "must not be used (--offline or HF_HUB_OFFLINE). Run once without, or put its parquet files under the "
                "data root."
            )
        else:
            dataset, entry = self._download(split)
        origin = PoolOrigin(entry["files"], self.repository.name, self.repository.revision, entry["commit"])
        return dataset, str(entry["content"]), origin

    def _download(self, split: str) -> tuple[Any, dict[str, Any]]:
        import datasets

        # Older versions ask on the terminal unless they are told.
        known = inspect.signature(datasets.load_dataset).parameters
        options = {"trust_remote_code": False} if "trust_remote_code" in known else {}
        try:
            info = self.repository.look_up(files=True)
            dataset = datasets.load_dataset(
                self.repository.name,
                name=self.config,
                revision=info.sha,
                split=split,
                cache_dir=self.arrow_cache,
                **options,
            )
        except Exception as error:
            raise DataMissingError(self.repository.explain(f"split {split!r}", error)) from error
        # Checksums of large files; a README that changes is no other dataset.
        files = {
            sibling.rfilename: sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
            for sibling in info.siblings or []
            if sibling.rfilename.lower().endswith(_DATA_SUFFIXES)
        }
        arrow = [str(file["filename"]) for file in dataset.cache_files]
        identity = [part for name, digest in sorted(files.items()) for part in (name, str(digest))]
        entry = {
            "commit": info.sha,
            "content": combined_sha256([self.repository.name, *(identity or [str(info.sha)])]),
            "files": files,
            "arrow": arrow,
            "sha256": files_sha256([Path(file) for file in arrow], self.place.cache_dir, self.place.progress),
        }
        # Of two processes that note a split at once, one may have to download again.
        write_sealed(self.place.cache_dir / INDEX_NAME, {**self._read_index(), self._key(split): entry})
        return dataset, entry

    def _is_intact(self, entry: dict[str, Any]) -> bool:
        """Tell whether the files of a split are those that were prepared; 0.1.0 noted no checksums."""
        files = [Path(file) for file in entry["arrow"]]
        known = entry.get("sha256")
        return known is None or files_sha256(files, self.place.cache_dir, self.place.progress) == known

    def _cached_entry(self, split: str) -> dict[str, Any] | None:
        entry = self._read_index().get(self._key(split))
        if not isinstance(entry, dict) or not {"commit", "content", "files", "arrow"} <= entry.keys():
            return None
        return entry if entry["arrow"] and all(Path(file).is_file() for file in entry["arrow"]) else None

    def _read_index(self) -> dict[str, Any]:
        try:
            stored = read_sealed(self.place.cache_dir / INDEX_NAME)
        except (OSError, ValueError, RecursionError):
            return {}
        return stored if isinstance(stored, dict) else {}

    def _key(self, split: str) -> str:
        return "|".join((self.repository.name, self.config or "", self.repository.revision, split))
