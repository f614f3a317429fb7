"""Turn the name of a model into what it stands for, without loading or importing anything heavy.

A plan asks `resolve` for every model it is given; only a job calls `loading.load_model`. So this module
imports no torch, no open_clip and no timm, and what it knows about them it reads from their data files.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

from evalsuite.config import expanded
from evalsuite.errors import UsageError
from evalsuite.models.aliases import Alias, alias_names, alias_of_target, find_alias, rows_without_alias
from evalsuite.models.repositories import CONFIG, TEXT_TYPES, Repository
from evalsuite.models.spellings import HUB_PREFIXES, instead, respelled
from evalsuite.registry import did_you_mean

BackendName = Literal[
    "open_clip", "timm", "hf", "hub", "torchvision", "features", "pixels", "pocket", "file", "entry_point", "module"
]
"""Where a model comes from; `hub`: a repository that says itself who reads it; `module`: handed over in Python."""

ENTRY_POINT_GROUP = "evalsuite.models"

LONGEST = 1_000
"""Letters of a name, with the path of a checkpoint in it."""

BUILT_IN: tuple[Literal["pixels", "pocket"], ...] = ("pixels", "pocket")

CHECKPOINT_SUFFIXES = frozenset({".bin", ".ckpt", ".npz", ".pt", ".pth", ".safetensors"})

QUICKGELU_OPTION = "?quickgelu"

FORMS = (
    ("ViT-B/32, resnet/50 ...", "a model of the paper (evalsuite ls models)"),
    ("open_clip:ARCH/TAG", "e.g. open_clip:ViT-B-32/laion2b_s34b_b79k"),
    ("open_clip:ARCH/TAG@path/to/weights.pt", "a checkpoint with the QuickGELU and preprocessing of TAG"),
    ("open_clip:ARCH/path/to/weights.pt", "a checkpoint; add ?quickgelu if it was trained with QuickGELU"),
    ("timm:NAME", "e.g. timm:resnet50.tv_in1k"),
    ("timm:NAME@path/to/weights.safetensors", "a checkpoint"),
    ("hf:ORG/NAME, hf:path/to/folder", "a model of transformers, from the hub or a folder"),
    ("hf-hub:ORG/NAME", "a repository of open_clip or timm"),
    ("torchvision:NAME, torchvision:NAME.TAG", "e.g. torchvision:resnet50.IMAGENET1K_V2"),
    ("features:path/to/folder", "features that are computed already"),
    ("path/to/my_model.py:factory", "a function that returns a model"),
    ("pixels, pocket", "built in, need no download"),
)
"""How a model is named, and what that is."""

IN_SHORT = (
    "A model is a name of `evalsuite ls models`, open_clip:ARCH/TAG, timm:NAME, hf:ORG/NAME, hf-hub:ORG/NAME, "
    "torchvision:NAME, features:DIR or my_model.py:factory; that list says more of these forms."
)

_GENERIC = re.compile(
    r"((epoch|step|iter|ckpt|checkpoint|model|state|version)[-_=]?)?(\d+|last|best|final|latest)?|"
    r"(pytorch_|open_clip_)*(model|weights)|consolidated|epoch.*step.*"
)
"""Names of files that every training gives, and that tell nothing of the model."""

_FOLDERS = re.compile(r"checkpoints?|ckpts?|weights|models?|snapshots|blobs|[0-9a-f]{40}|epoch[-_]?\d+")
"""Names of folders that tell as little."""

_FACTORY = re.compile(r"(?P<path>.+\.py):(?P<factory>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class ResolvedModel:
    """What a model name stands for.

    name: as typed. slug: `family/model`, safe as a relative path. target: the name within the backend
    (`ViT-B-32/openai`, `resnet50.tv_in1k`, `my_model.py:factory`). checkpoint: the weights file, where one was
    given. tag: the published weights it was trained like. quickgelu: asked for with `?quickgelu`. former_slug: under
    which older results of it are stored, where that is another.
    """

    name: str
    slug: str
    backend: BackendName
    target: str
    alias: Alias | None = None
    checkpoint: Path | None = None
    tag: str = ""
    quickgelu: bool = False
    former_slug: str | None = None
    repository: Repository | None = None
    image_size: int | None = None

    @property
    def is_code(self) -> bool:
        """Whether somebody's own code makes the model."""
        return self.backend in ("file", "entry_point")

    @property
    def has_text(self) -> bool | None:
        """Whether it encodes texts; None where only loading tells."""
        known = {"open_clip": True, "pocket": True, "timm": False, "pixels": False, "torchvision": False}
        if self.backend == "hf" and self.repository is not None:
            config = self.repository.read(CONFIG)
            return None if config is None else config.get("model_type") in TEXT_TYPES
        return known.get(self.backend)


def resolve(name: str) -> ResolvedModel:
    """Parse a model name.

    Raises UsageError for a name that means nothing, offering the nearest names and every form a name
    can have, and for a checkpoint or a Python file that is not there.
    """
    if name in BUILT_IN:
        return ResolvedModel(name, name, name, name)
    if len(name) > LONGEST or not name.isprintable():
        raise UsageError(f"{name[:60]!r} is no name of a model: it is too long, or has characters that are no text.")
    alias = find_alias(name)
    if alias is not None:
        return ResolvedModel(name, alias.slug, alias.backend, alias.target, alias)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _PREFIXES and (prefix == "hf" or not HUB_PREFIXES.match(name)):
        return _PREFIXES[prefix](name, rest)
    factory = _FACTORY.fullmatch(name)
    if factory is not None:
        return _resolve_file(name, Path(factory["path"]), factory["factory"])
    if name.endswith(".py"):
        raise UsageError(f"The model {name!r} names a file but no function in it: write {name}:FUNCTION.")
    installed = plugins()
    if name in installed:
        return ResolvedModel(name, slugify(f"plugin/{name}"), "entry_point", installed[name])
    here = respelled(name, open_clip_architectures())
    if here is not None:
        return replace(resolve(here), name=name)
    hub = HUB_PREFIXES.match(name)
    if hub is not None:
        written = (hub[1] or "").rstrip(":")
        return _of_repository(name, name[hub.end() :].rstrip("/"), _HUB_BACKENDS.get(written, "hub"))
    if expanded(name).is_dir():
        return _of_folder(name)
    raise UsageError(_unknown(name))


def plugins() -> dict[str, str]:
    """Return the models of installed packages: name -> `module:function`."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}


def known_names() -> list[str]:
    """Return every name that `--model` takes as it is: built in, of the paper, of installed packages."""
    return [*BUILT_IN, *alias_names(), *plugins()]


def slugify(text: str) -> str:
    """Return `text` in lower case with '/', letters, digits, '.', '_' and '-' only, safe as a relative path.

    >>> slugify("clip/ViT-L/14@336px")
    'clip/vit-l-14-336px'
    """
    family, _, model = text.partition("/")
    parts = [re.sub(r"[^a-z0-9._-]+", "-", part.casefold()).strip("-._") for part in (family, model)]
    return "/".join(part for part in parts if part) or "model"


def open_clip_slug(arch: str, weights: str) -> str:
    """Return the slug of an open_clip model: the alias's where there is one; of a checkpoint the file's name counts.

    weights: a tag, or the path of a checkpoint, which need not be on this machine.
    """
    if _is_path(weights):
        return slugify(f"open_clip/{arch}-{file_label(Path(weights))}")
    return _published("", "open_clip", f"{arch}/{weights}").slug


def file_label(path: Path) -> str:
    """Return what tells a weight file from others: its name, after its folder's where every training gives this name.

    >>> file_label(Path("logs/run-1/checkpoints/epoch_32.pt")), file_label(Path("logs/run-1/tuned.pt"))
    ('run-1-epoch_32', 'tuned')
    """
    if not _GENERIC.fullmatch(path.stem.casefold()):
        return path.stem
    folders = (
        part for part in reversed(path.parent.parts) if part.strip("/.") and not _FOLDERS.fullmatch(part.casefold())
    )
    return "-".join([*list(folders)[:1], path.stem])


def folder_label(folder: Path) -> str:
    """Return what tells a folder with a model from others: its name, after its parent's where every training gives it.

    >>> folder_label(Path("runs/birds/checkpoint-500")), folder_label(Path("runs/birds"))
    ('birds-checkpoint-500', 'birds')
    """
    name = folder.name.casefold()
    generic = _GENERIC.fullmatch(name) or _FOLDERS.fullmatch(name)
    return "-".join([folder.parent.name, folder.name] if generic and folder.parent.name else [folder.name])


def open_clip_architectures() -> list[str]:
    """Return the architectures open_clip knows, from its data files, or from itself where it is imported."""
    imported = sys.modules.get("open_clip")
    if imported is not None:  # a process may have added its own with open_clip.add_model_config
        return list(imported.list_models())
    spec = importlib.util.find_spec("open_clip")
    folders = list(spec.submodule_search_locations or []) if spec else []
    return sorted(file.stem for folder in folders for file in Path(folder, "model_configs").glob("*.json"))


def _resolve_open_clip(name: str, rest: str) -> ResolvedModel:
    arch, _, weights = rest.partition("/")
    if not arch or not weights:
        raise UsageError(
            f"The model {name!r} must be open_clip:ARCH/TAG or open_clip:ARCH/PATH, "
            "for example open_clip:ViT-B-32/openai; an architecture has no slash in its name."
        )
    known = open_clip_architectures()
    if known and arch not in known:
        raise UsageError(f"open_clip has no architecture {arch!r} (in {name!r}).{did_you_mean(arch, known)}")
    tag, weights = _split_tag(weights)
    weights, question, option = weights.partition("?")
    if question and f"?{option}" != QUICKGELU_OPTION:
        raise UsageError(f"Unknown option {question + option!r} in {name!r}; known: {QUICKGELU_OPTION}.")
    if not tag and not _is_path(weights):
        if question:
            raise UsageError(f"{name!r}: {QUICKGELU_OPTION} is for checkpoint files; a tag has its own setting.")
        return _published(name, "open_clip", rest)
    if tag and question:
        raise UsageError(f"{name!r}: leave out {QUICKGELU_OPTION}: the tag {tag!r} says whether there is QuickGELU.")
    checkpoint = _existing(weights, name)
    slugs = _file_slugs(f"open_clip/{arch}", checkpoint)
    target = f"{arch}/{weights}"
    return ResolvedModel(name, slugs[0], "open_clip", target, None, checkpoint, tag, bool(question), slugs[1])


def _file_slugs(model: str, checkpoint: Path) -> tuple[str, str | None]:
    """Return the slug of a checkpoint, and the one under which 0.1.0 stored its results, where that is another."""
    slug, former = slugify(f"{model}-{file_label(checkpoint)}"), slugify(f"{model}-{checkpoint.resolve().stem}")
    return slug, former if former != slug else None


def _split_tag(weights: str) -> tuple[str, str]:
    """Return the tag and the path of `TAG@PATH`; of anything else, no tag."""
    tag, at, path = weights.partition("@")
    if not at or not tag or not path or _is_path(tag) or Path(weights.partition("?")[0]).is_file():
        return "", weights
    return tag, path


def _resolve_timm(name: str, rest: str) -> ResolvedModel:
    target, at, path = rest.partition("@")
    if not target or "/" in target or ":" in target or (at and not path):
        raise UsageError(f"The model {name!r} must be timm:NAME or timm:NAME@PATH, for example timm:resnet50.tv_in1k.")
    if not at:
        return _published(name, "timm", target)
    checkpoint = _existing(path, name)
    slug, former = _file_slugs(f"timm/{target}", checkpoint)
    return ResolvedModel(name, slug, "timm", target, None, checkpoint, former_slug=former)


def _published(name: str, backend: BackendName, target: str) -> ResolvedModel:
    own = slugify(f"{backend}/{target}")
    # What open_clip calls ARCH-quickgelu is ARCH with the setting that a tag brings with it anyway.
    alias = alias_of_target(backend, target) or alias_of_target(backend, target.replace("-quickgelu/", "/"))
    if alias is None:
        return ResolvedModel(name, own, backend, target)
    return ResolvedModel(name, alias.slug, backend, alias.target, alias, former_slug=own if own != alias.slug else None)


def _resolve_hf(name: str, rest: str) -> ResolvedModel:
    return _of_repository(name, rest, "hf")


def _of_repository(name: str, text: str, backend: BackendName) -> ResolvedModel:
    repository = Repository.parse(text, name)
    slug = slugify(f"{backend}/{repository.label}")
    return ResolvedModel(name, slug, backend, text, repository=repository)


def _of_folder(name: str) -> ResolvedModel:
    """Return what a folder holds that is given without a prefix, where its configuration says so."""
    found = Repository.parse(str(expanded(name).absolute()), name).format
    if found is None:
        raise UsageError(_unknown(name))
    return _of_repository(name, str(expanded(name).absolute()), found)


def _resolve_torchvision(name: str, rest: str) -> ResolvedModel:
    target, at, path = rest.partition("@")
    if not re.fullmatch(r"\w+(\.\w+)?", target) or (at and not path):
        raise UsageError(
            f"The model {name!r} must be torchvision:NAME, torchvision:NAME.WEIGHTS or torchvision:NAME@PATH, for "
            "example torchvision:resnet50.IMAGENET1K_V2."
        )
    if not at:
        return ResolvedModel(name, slugify(f"torchvision/{target}"), "torchvision", target)
    checkpoint = _existing(path, name)
    slug = slugify(f"torchvision/{target}-{file_label(checkpoint)}")
    return ResolvedModel(name, slug, "torchvision", target, None, checkpoint)


def _resolve_features(name: str, rest: str) -> ResolvedModel:
    folder = expanded(rest)
    if not rest or not folder.is_dir():
        raise UsageError(f"The model {name!r} must be features:DIR, and {rest!r} is no folder.")
    folder = folder.absolute()
    return ResolvedModel(name, slugify(f"features/{folder_label(folder)}"), "features", str(folder))


def _resolve_file(name: str, path: Path, factory: str) -> ResolvedModel:
    file = expanded(path)
    if not file.is_file():
        raise UsageError(f"The model {name!r} names the file {str(file)!r}, which is not there.")
    return ResolvedModel(name, slugify(f"file/{file.stem}-{factory}"), "file", f"{file.resolve()}:{factory}")


_PREFIXES: dict[str, Callable[[str, str], ResolvedModel]] = {
    "open_clip": _resolve_open_clip,
    "timm": _resolve_timm,
    "hf": _resolve_hf,
    "torchvision": _resolve_torchvision,
    "features": _resolve_features,
}

_HUB_BACKENDS: dict[str, BackendName] = {"open_clip": "open_clip", "timm": "timm"}


def _is_path(weights: str) -> bool:
    return "/" in weights or "\\" in weights or weights[0] in "~." or Path(weights).suffix in CHECKPOINT_SUFFIXES


def _existing(path: str, name: str) -> Path:
    checkpoint = expanded(path)
    if not checkpoint.is_file():
        raise UsageError(f"The model {name!r} names the checkpoint {str(checkpoint)!r}, which is not a file.")
    return checkpoint.absolute()


def _unknown(name: str) -> str:
    why = rows_without_alias().get(name.casefold())
    if why is not None:
        return f"{name} is a row of the paper's table 10 without weights that have a name here. {why}"
    near = did_you_mean(name, known_names())
    lines = [f"Unknown model {name!r}.{near}"]
    hint = instead(name, CHECKPOINT_SUFFIXES, guess=not near)
    if hint is not None:
        return "\n".join([*lines, hint])
    dashed = name.replace("/", "-")
    if dashed in open_clip_architectures():
        lines.append(f"open_clip has this architecture: say which weights, open_clip:{dashed}/TAG.")
    elif ":" not in name and "/" not in name:
        lines.append(f"If it is a name of timm, write timm:{name}.")
    return "\n".join([*lines, IN_SHORT])
