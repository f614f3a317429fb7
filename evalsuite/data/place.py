"""Where datasets are, and what may be done to get them: made once at the door and handed on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evalsuite import config
from evalsuite.progress import Progress

SILENT = Progress()


@dataclass(frozen=True)
class DataPlace:
    """Where datasets are looked for and what is allowed.

    data_root: the folder of all datasets. cache_dir: for checksums and the arrow files of the `datasets` library.
    offline: no network is touched. trust_adapters: Python adapters from outside the package may run.
    progress: is told how downloads go on.
    """

    data_root: Path
    cache_dir: Path
    offline: bool = False
    trust_adapters: bool = False
    progress: Progress = SILENT

    @classmethod
    def of(
        cls,
        data_root: str | Path | None = None,
        cache_dir: str | Path | None = None,
        *,
        offline: bool = False,
        trust_adapters: bool = False,
        progress: Progress = SILENT,
    ) -> DataPlace:
        """Return a place with the defaults for what is None; HF_HUB_OFFLINE counts as `offline`."""
        return cls(
            Path(data_root or config.default_data_root()).expanduser(),
            Path(cache_dir or config.default_cache()).expanduser(),
            config.is_offline(offline),
            trust_adapters,
            progress,
        )
