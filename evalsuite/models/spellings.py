"""Names as other tools write them, and what they stand for here; of what cannot be read, what to write instead."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from evalsuite.config import expanded
from evalsuite.errors import UsageError
from evalsuite.models.aliases import find_alias

OTHER_PREFIXES = re.compile(r"(openclip|open-clip|openclip_hub):", re.IGNORECASE)
"""What some write for `open_clip:`."""

HUB_PREFIXES = re.compile(r"(open_clip:|timm:)?(hf-hub|hf_hub|hf|huggingface):|https?://(huggingface\.co|hf\.co)/")
"""What some write before the name of a repository of the hub."""

OPENAI = re.compile(r"openai/clip-vit-(base|large)-patch(\d+)(-336)?")
SIGLIP = re.compile(r"google/siglip(2?)-(base|large|so400m|giant-opt)-patch(\d+)-(\d+)")
DINOV2 = re.compile(r"(?:facebook/)?dinov2(-with-registers)?-(small|base|large|giant)|dinov2_vit([sblg])14(_reg)?")
TIMM_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
"""Names of timm are lower-case; repositories of open_clip under its name on the hub are not."""

OTHER_FORMATS = frozenset(
    {".onnx", ".engine", ".trt", ".tflite", ".h5", ".keras", ".pb", ".gguf", ".mlpackage", ".plan"}
)
"""Files of networks that are not weights of PyTorch."""


def respelled(name: str, architectures: Collection[str]) -> str | None:
    """Return the name here for the name of another tool; None where it is not known to be one.

    architectures: of open_clip.
    """
    if OTHER_PREFIXES.match(name):
        return OTHER_PREFIXES.sub("open_clip:", name, count=1)
    prefix, colon, rest = name.partition(":")
    if colon and prefix.casefold() == "clip" and find_alias(rest):
        return rest
    for separator in (",", "/", ":"):  # CLIP_benchmark, DataComp and open_clip's own tables
        arch, found, weights = name.partition(separator)
        if found and weights and arch in architectures:
            return f"open_clip:{arch}/{weights}"
    repository = HUB_PREFIXES.sub("", name, count=1).rstrip("/")
    if repository.count("/") > 1 or (repository == name and Path(name).exists()):
        return None
    return _of_transformers(repository, architectures) or _of_hub(repository)


def _of_transformers(repository: str, architectures: Collection[str]) -> str | None:
    """Return the same weights in open_clip or timm, of repositories that are in the format of transformers."""
    if found := OPENAI.fullmatch(repository):
        size, patch, large = found.groups()
        alias = find_alias(f"ViT-{size[0].upper()}/{patch}{'@336px' if large else ''}")
        return alias.names[0] if alias else None
    if found := SIGLIP.fullmatch(repository):
        version, size, patch, pixels = found.groups()
        letters = {"base": "B", "large": "L", "so400m": "SO400M", "giant-opt": "gopt"}[size]
        plain = f"ViT-{letters}-{patch}-SigLIP{version}"
        known = [arch for arch in (f"{plain}-{pixels}", plain) if arch in architectures]
        return f"open_clip:{known[0]}/webli" if known and (known[0] != plain or pixels == "224") else None
    if found := DINOV2.fullmatch(repository):
        registers, size, letter, hub_registers = found.groups()
        size = size or {"s": "small", "b": "base", "l": "large", "g": "giant"}[letter]
        return f"timm:vit_{size}_patch14_{'reg4_' if registers or hub_registers else ''}dinov2.lvd142m"
    return None


def _of_hub(repository: str) -> str | None:
    """Return the name here of a repository that timm or open_clip take weights from."""
    owner, slash, name = repository.partition("/")
    if not slash or not name:
        return None
    if owner == "timm" and TIMM_NAME.fullmatch(name):
        return f"timm:{name}"
    if "open_clip" not in sys.modules and not _named_by_open_clip(repository):
        return None
    import open_clip

    found = [
        (arch, tag)
        for arch, tag in open_clip.list_pretrained()
        if str(open_clip.get_pretrained_cfg(arch, tag).get("hf_hub", "")).startswith(f"{repository}/")
    ]
    found.sort(key=lambda pair: (pair[0] != name, pair[0].endswith("-quickgelu")))
    return f"open_clip:{found[0][0]}/{found[0][1]}" if found else None


def _named_by_open_clip(repository: str) -> bool:
    """Tell whether a repository may be one of open_clip's, by the text that names them: importing it takes seconds."""
    spec = importlib.util.find_spec("open_clip")
    folders = list(spec.submodule_search_locations or []) if spec else []
    try:
        return any(f"{repository}/" in Path(folder, "pretrained.py").read_text("utf-8") for folder in folders)
    except OSError:  # another version names them elsewhere
        return True


def instead(name: str, weights: Collection[str], *, guess: bool) -> str | None:
    """Return what to write instead of a name that cannot be read, in a sentence; None where there is nothing to say.

    weights: suffixes of weight files. guess: whether a name with a slash may be meant as a repository of the hub.
    """
    path = Path(name.rpartition(":")[2])
    if path.suffix.casefold() in OTHER_FORMATS:
        return (
            f"{path.suffix} files are not read: give the PyTorch weights that it was made of, or a function of your "
            "own that runs it (my_model.py:factory)."
        )
    if path.suffix.casefold() in weights:
        return f"Say of which architecture the file is: open_clip:ARCH/TAG@{path} or timm:NAME@{path}."
    if expanded(name).is_dir():
        return (
            "It is a folder without a configuration of transformers, open_clip or timm. Name the weights in it, "
            "open_clip:ARCH/FOLDER/FILE or timm:NAME@FOLDER/FILE; for features that are computed, features:FOLDER.\n"
            "If it has images to evaluate on, `evalsuite new task --from-folder` writes a task file of them."
        )
    if name.startswith(("~", "/", ".")) and not expanded(name).exists():
        return f"There is no file or folder {expanded(name)}."
    if guess and re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return (
            f"If it is a repository of the hub, say in whose format: hf:{name} (transformers) or hf-hub:{name} "
            "(open_clip, timm)."
        )
    return None


def paired(names: Sequence[str], architectures: Collection[str], known: Collection[str]) -> list[str]:
    """Join what a comma parted: `ViT-B-32,openai` is one model.

    names: as they were between commas. architectures: of open_clip. known: names that are models by themselves.
    """
    found: list[str] = []
    for name in names:
        if found and found[-1] in architectures and re.fullmatch(r"[a-z0-9_]+", name) and name not in known:
            found[-1] = f"{found[-1]},{name}"
        else:
            found.append(name)
    return found


def with_weights(names: Sequence[str], pretrained: Sequence[str]) -> list[str]:
    """Return the names of models whose architecture and weights were given apart, as open_clip's own tools take them.

    Raises UsageError where there is not one of them for each model.
    """
    if len(names) != len(pretrained):
        raise UsageError(
            f"--pretrained was given {len(pretrained)} times and --model {len(names)} times: give one for each model, "
            "or write open_clip:ARCH/WEIGHTS."
        )
    return [_with(name, weights) for name, weights in zip(names, pretrained, strict=True)]


def _with(name: str, weights: str) -> str:
    if name.startswith("timm:"):
        return f"{name}@{weights}" if "/" in weights or Path(weights).suffix else f"{name}.{weights}"
    return f"open_clip:{OTHER_PREFIXES.sub('', name).removeprefix('open_clip:').replace('/', '-')}/{weights}"
