"""Find weights that open_clip, timm and torchvision have published, by a part of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

from evalsuite.seals import read_named, write_named

FOLDER = "model-names"
"""Folder of the cache with the lists."""

PACKAGES = ("open_clip_torch", "timm", "torchvision")
"""Whose weights are listed."""


@dataclass(frozen=True)
class Published:
    """Weights that can be named. pixels: side of the input image; text: whether it encodes texts, yes or no."""

    name: str
    pixels: int | None
    text: str


def published_like(
    patterns: Sequence[str], cache_dir: Path, starting: Callable[[], None] = lambda: None
) -> list[Published]:
    """Return the weights whose name has a part that matches a pattern, whatever the case.

    Of open_clip, then of timm, then of torchvision. cache_dir: where the list is kept for the installed versions.
    starting: called before the libraries are imported to make it, which takes seconds.
    """
    wanted = [f"*{pattern.casefold()}" for pattern in patterns]

    def like(full: str) -> bool:
        name = full.partition(":")[2]
        parts = (name, *name.split("/"))
        return any(fnmatchcase(part.casefold(), pattern) for part in parts for pattern in wanted)

    return [weights for weights in _kept(cache_dir, starting) if like(weights.name)]


def _kept(cache_dir: Path, starting: Callable[[], None]) -> list[Published]:
    versions = "-".join(version(package) for package in PACKAGES)
    file = cache_dir / FOLDER / f"{versions}.json"
    try:
        return [Published(**row) for row in read_named(file)["weights"]]
    except (OSError, ValueError, TypeError, KeyError):  # not there, or damaged: it is made again
        starting()
    found = list(_all())
    with suppress(OSError):  # a cache that cannot be written: it is made again each time
        write_named(file, {"weights": [asdict(weights) for weights in found]})
    return found


def _all() -> Iterator[Published]:
    import open_clip
    import timm
    from torchvision import models

    for arch, tag in open_clip.list_pretrained():
        size = open_clip.get_model_config(arch)["vision_cfg"].get("image_size")
        yield Published(f"open_clip:{arch}/{tag}", size if isinstance(size, int) else None, "yes")
    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name)
        yield Published(f"timm:{name}", config.input_size[-1] if config else None, "no")
    for name in models.list_models(module=models):
        for entry in models.get_model_weights(name):
            yield Published(f"torchvision:{name}.{entry.name}", int(entry.transforms().crop_size[0]), "no")
