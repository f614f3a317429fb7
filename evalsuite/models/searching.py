"""Find weights that open_clip, timm and torchvision have published, by a part of their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Published:
    """Weights that can be named. pixels: side of the input image; text: whether it encodes texts, yes or no."""

    name: str
    pixels: int | None
    text: str


def published_like(patterns: Sequence[str]) -> Iterator[Published]:
    """Yield the weights whose name has a part that matches a pattern, whatever the case.

    Of open_clip, then of timm, then of torchvision.
    """
    import open_clip
    import timm
    from torchvision import models

    wanted = [f"*{pattern.casefold()}" for pattern in patterns]

    def like(name: str) -> bool:
        parts = (name, *name.split("/"))
        return any(fnmatchcase(part.casefold(), pattern) for part in parts for pattern in wanted)

    for arch, tag in open_clip.list_pretrained():
        if like(f"{arch}/{tag}"):
            size = open_clip.get_model_config(arch)["vision_cfg"].get("image_size")
            yield Published(f"open_clip:{arch}/{tag}", size if isinstance(size, int) else None, "yes")
    for name in timm.list_pretrained():
        if like(name):
            config = timm.get_pretrained_cfg(name)
            yield Published(f"timm:{name}", config.input_size[-1] if config else None, "no")
    for name in models.list_models(module=models):
        for entry in models.get_model_weights(name):
            if like(f"{name}.{entry.name}"):
                yield Published(f"torchvision:{name}.{entry.name}", int(entry.transforms().crop_size[0]), "no")
