"""Where datasets are, and what may be done to get them: made once at the door and handed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from evalsuite import config
from evalsuite.errors import UsageError
from evalsuite.options import option
from evalsuite.progress import Progress
from evalsuite.text import is_unicode


@dataclass(frozen=True)
class DataPlace:
    """Where datasets are looked for and what is allowed; `progress` is told how downloads go on.

    HF_HUB_OFFLINE counts as `offline`. Paths become absolute: code of models may change the working directory.
    """

    data_root: Path = option(
        factory=config.default_data_root,
        metavar="DIR",
        help="Folder of the datasets, as torchvision lays them out. [default: $EVALSUITE_DATA]",
    )
    cache_dir: Path = option(
        factory=config.default_cache,
        metavar="DIR",
        help="Folder of the stored features. [default: $EVALSUITE_CACHE or the user's cache folder]",
    )
    offline: bool = option(False, help="Touch no network (also HF_HUB_OFFLINE=1).")
    trust_adapters: bool = option(False, help="Run Python adapters that are named by task files outside the package.")
    progress: Progress = field(default_factory=Progress, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_root", config.expanded(self.data_root).absolute())
        object.__setattr__(self, "cache_dir", config.expanded(self.cache_dir).absolute())
        if not is_unicode(str(self.cache_dir)):  # the libraries that read its files could not open them
            raise UsageError(f"The name of the folder {str(self.cache_dir)!r} is no UTF-8. Name another --cache-dir.")
        object.__setattr__(self, "offline", config.is_offline(self.offline))
