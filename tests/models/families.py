"""One architecture of every family of open_clip and timm: what is read of it, and the page that says so.

    python -m tests.models.families                       print the page
    python -m tests.models.families --to docs/families.md write it; `make docs` does
    python -m tests.models.families --choose --to ...     look for the smallest of each family again: minutes

A family of open_clip is what has the same image tower, projection and kind of texts; one of timm is a module of it.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import open_clip
import timm

from evalsuite import atomic
from evalsuite.models.loading import skeleton
from evalsuite.models.modules import image_parameters
from evalsuite.models.names import ResolvedModel
from evalsuite.text import counted

PAGE = Path(__file__).parents[2] / "docs" / "families.md"

HEAD = """\
# Layers of every family

Of the smallest architecture of every family of open_clip and timm: the dimensions of what a linear probe reads
(`penultimate`) and of what zero-shot reads (`embedding`), and the layers that `--layer` knows by a name next to them
([models](models.md#layers)). `make docs` writes this page, and the test that holds each row against the library itself
fails where it is stale. Counted with {versions}.
"""

OPEN_CLIP_COLUMNS = (
    "image tower", "projection", "texts", "architecture", "others like it", "penultimate", "embedding", "named",
)  # fmt: skip

STANDARD = ("penultimate", "embedding")

TIMM_COLUMNS = ("module", "architecture", "others in it", "penultimate", "named")


@dataclass(frozen=True)
class Row:
    """A family. architecture: its smallest; members: all of it."""

    library: str
    family: tuple[str, ...]
    architecture: str
    members: tuple[str, ...]

    def line(self, sizes: Mapping[str, int] | None = None) -> str:
        """Return the line of the page. sizes: layer -> dimension; without them they are counted."""
        if sizes is None:
            sizes = skeleton(resolved(self.library, self.architecture)).sizes()  # type: ignore[union-attr]
        standard = [str(sizes[name]) for name in STANDARD if name in sizes]
        named = ", ".join(f"{name} {size}" for name, size in sizes.items() if name not in STANDARD)
        others = str(len(self.members) - 1)
        return _line([*self.family, f"`{self.architecture}`", others, *standard, named])


def resolved(library: str, architecture: str) -> ResolvedModel:
    """Return an architecture with its first published weights, or with a file as if there were one."""
    if library == "timm":
        known = timm.get_pretrained_cfg(architecture) if timm.is_model_pretrained(architecture) else None
        file = None if known else Path("weights.safetensors")
        return ResolvedModel(architecture, architecture, "timm", architecture, checkpoint=file)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    target = f"{architecture}/{tags[0] if tags else 'weights.pt'}"
    file = None if tags else Path("weights.pt")
    return ResolvedModel(architecture, architecture, "open_clip", target, checkpoint=file)


@cache
def modules_of_timm() -> Mapping[str, str]:
    """Return architecture -> the module of timm it is in."""
    return {name: module for module in timm.list_modules() for name in timm.list_models(module=module)}


def family_of(architecture: str) -> tuple[str, str, str]:
    """Return image tower, projection and texts of an architecture of open_clip."""
    config = open_clip.get_model_config(architecture)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if name := vision.get("timm_model_name"):
        pool = {"": ", its own pooling", None: ""}.get(vision.get("timm_pool"), f", pooling {vision.get('timm_pool')}")
        tower = f"timm {modules_of_timm().get(name, name)}{pool}"
        kind = vision.get("timm_proj", "linear")
        projection = {"linear": "a linear head", "mlp": "an MLP head", "none": "none"}.get(kind, "the trunk's own head")
    elif isinstance(vision["layers"], list):
        tower, projection = "ResNet", "attention pool"
    else:
        pools = vision.get("pool_type", "tok"), bool(vision.get("attentional_pool"))
        tower = {("avg", False): "ViT, patches averaged", ("tok", True): "ViT, attentional pooling"}.get(pools, "ViT")
        projection = "a matrix"
    return tower, projection, _texts(config, text)


def _texts(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    caption = "CoCa, " if "multimodal_cfg" in config else ""
    if "hf_model_name" in text:
        return f"{caption}encoder and tokenizer of the hub"
    kind = "a tokenizer of the hub" if "hf_tokenizer_name" in text else "CLIP's tokenizer"
    return f"{caption}{kind}, context {text.get('context_length', 77)}"


def families(library: str) -> dict[tuple[str, ...], list[str]]:
    """Return every family with its architectures."""
    found: dict[tuple[str, ...], list[str]] = {}
    listed = timm.list_models() if library == "timm" else open_clip.list_models()
    own = None if library == "timm" else Path(open_clip.__file__).parent / "model_configs"
    for name in listed:
        if own is not None and not (own / f"{name}.json").is_file():
            continue  # a test has added it
        key = (modules_of_timm()[name],) if library == "timm" else family_of(name)
        found.setdefault(key, []).append(name)
    return dict(sorted(found.items()))


def known_rows(library: str, page: str) -> list[Row]:
    """Return the rows of families whose smallest architecture a page has; nothing is counted."""
    part = page.partition(f"\n## {library}\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([^`]+)`", part))
    return [
        Row(library, family, name, tuple(members))
        for family, members in families(library).items()
        for name in [name for name in members if name in named][:1]
    ]


def all_rows(library: str, page: str) -> list[Row]:
    """Return the rows of all families; where a page does not have the smallest architecture, parameters are counted."""
    known = {row.family: row for row in known_rows(library, page)}
    return [
        known.get(family)
        or Row(library, family, min(members, key=lambda name: (_parameters(library, name), name)), tuple(members))
        for family, members in families(library).items()
    ]


def _parameters(library: str, name: str) -> int:
    bones = skeleton(resolved(library, name))
    return image_parameters(bones.module) if bones is not None else sys.maxsize


def head() -> str:
    """Return what the page begins with."""
    return HEAD.format(versions=" and ".join(f"{name} {version(name)}" for name in ("open_clip_torch", "timm")))


def page_of(tables: Mapping[str, list[Row]]) -> str:
    """Return the page."""
    parts = [head()]
    for library, columns in (("open_clip", OPEN_CLIP_COLUMNS), ("timm", TIMM_COLUMNS)):
        architectures = counted(sum(len(row.members) for row in tables[library]), "architecture")
        many = f"{architectures} in {counted(len(tables[library]), 'family')}"
        lines = [_line(columns), f"|{'---|' * len(columns)}", *(row.line() for row in tables[library])]
        parts.append("\n".join(["", f"## {library}", "", f"{many}.", "", *lines, ""]))
    return "".join(parts)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str]) -> str:
    """Make the page; write it where that is asked for, else return it."""
    parser = argparse.ArgumentParser(prog="python -m tests.models.families", description=__doc__)
    parser.add_argument("--choose", action="store_true", help="look for the smallest architectures again")
    parser.add_argument("--to", type=Path, help="the file to write")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    before = PAGE.read_text("utf-8") if PAGE.is_file() and not options.choose else ""
    page = page_of({name: all_rows(name, before) for name in ("open_clip", "timm")})
    if options.to is None:
        return page
    atomic.write_text(options.to, page)
    return f"Wrote {options.to}.\n"


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
