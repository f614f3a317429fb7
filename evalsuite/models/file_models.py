"""Models that somebody's own function returns: `path/to/file.py:factory`, or an entry point of a package."""

from __future__ import annotations

import hashlib
import inspect
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import torch
from torch import nn

from evalsuite.code_files import CodeFile, without_compiled_code
from evalsuite.code_identity import identify
from evalsuite.errors import INTERRUPTIONS, EvalsuiteError, ModelError, UsageError, said
from evalsuite.models.base import ImageModel, ImageTextModel, ModelInfo, Preprocess, move
from evalsuite.models.identity import fingerprint
from evalsuite.models.modules import wrap_module
from evalsuite.models.names import ENTRY_POINT_GROUP, ResolvedModel

REQUIRED = ("info", "preprocess", "encode_images")

ACCEPTED = (
    "a model with info, preprocess and encode_images (see evalsuite.models.base), or a tuple (module, preprocess) "
    "or (module, preprocess, tokenizer)"
)


@dataclass(eq=False)
class GivenModel:
    """A model as its author wrote it, with a fingerprint that also covers the source and the weights."""

    model: ImageModel
    info: ModelInfo
    preprocess: Preprocess

    def to(self, device: torch.device | str) -> Self:
        """Move the author's model, if it can be moved."""
        move(self.model, device)
        return self

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Encode images with the author's model, without gradients."""
        with torch.no_grad():
            return self.model.encode_images(batch)


class GivenTextModel(GivenModel):
    """A model as its author wrote it, with its text encoder."""

    model: ImageTextModel

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Encode texts with the author's model, without gradients."""
        with torch.no_grad():
            return self.model.encode_texts(texts)


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> ImageModel:
    """Import the file or the package, call its function and check what it returns."""
    with without_compiled_code():
        return _load(resolved)


def _load(resolved: ResolvedModel) -> ImageModel:
    if resolved.backend == "entry_point":
        with _blaming(f"{resolved.name}: {resolved.target} fails on import"):
            factory: Callable[[], object] = EntryPoint(resolved.name, resolved.target, ENTRY_POINT_GROUP).load()
        module = inspect.getmodule(factory)
        source = Path(inspect.getsourcefile(module) or "") if module else Path()
        code = CodeFile.read(source).sha256 if source.is_file() else ""
    else:
        path, _, attribute = resolved.target.rpartition(":")
        with _blaming(f"{path} cannot be read"):
            file = CodeFile.read(Path(path))
        code = file.sha256
        factory = _factory(_run_file(file, resolved), attribute, resolved)
    with _blaming(f"{resolved.name} failed"):
        return from_factory(factory(), resolved, code)


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> None:
    """Return None: only running the code tells what it makes."""


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    """Turn what somebody's code raises into a ModelError that names its line; it may not end the run, either."""
    try:
        yield
    except (EvalsuiteError, *INTERRUPTIONS):
        raise
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f" at {last.filename}, line {last.lineno}" if Path(last.filename).is_file() else ""
        raise ModelError(f"{what}{where}: {type(error).__name__}: {said(error)}") from error


def from_factory(made: object, resolved: ResolvedModel, source: str) -> ImageModel:
    """Make a model of what a factory returned. source: the hash of the code, for the fingerprint.

    Raises ModelError that says what is missing.
    """
    if isinstance(made, tuple):
        if len(made) not in (2, 3) or not isinstance(made[0], nn.Module):
            kinds = ", ".join(type(part).__name__ for part in made)
            raise ModelError(f"{resolved.name} returned the tuple ({kinds}); it must return {ACCEPTED}.")
        return wrap_module(*made, name=resolved.name, slug=resolved.slug, source=source, backend=resolved.backend)
    missing = [attribute for attribute in REQUIRED if not hasattr(made, attribute)]
    if missing:
        raise ModelError(
            f"{resolved.name} returned {type(made).__name__}, which lacks {', '.join(missing)}; "
            f"it must return {ACCEPTED}."
        )
    info = getattr(made, "info", None)
    if not isinstance(info, ModelInfo):
        raise ModelError(f"{resolved.name}: info is {type(info).__name__}; it must be a ModelInfo.")
    found = identify(made)
    mark = fingerprint(backend=resolved.backend, own=info.fingerprint, source=source, object=found.digest)
    changes = {
        "name": resolved.name,
        "slug": resolved.slug,
        "backend": resolved.backend,
        "fingerprint": mark,
        "not_described": found.unknown,
    }
    model: Any = made  # has the three attributes: checked above
    kind = GivenTextModel if isinstance(made, ImageTextModel) else GivenModel
    return kind(model, info.model_copy(update=changes), model.preprocess)


def _run_file(file: CodeFile, resolved: ResolvedModel) -> ModuleType:
    with _blaming(f"{file.path}: fails on import"):
        module = file.run(f"evalsuite_model_{hashlib.sha256(os.fsencode(file.path)).hexdigest()[:12]}")
    if module is None:
        raise UsageError(f"The model {resolved.name!r}: {file.path} cannot be imported.")
    return module


def _factory(module: ModuleType, attribute: str, resolved: ResolvedModel) -> Callable[[], object]:
    factory = getattr(module, attribute, None)
    if not callable(factory):
        functions = [name for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"]
        raise UsageError(
            f"The model {resolved.name!r}: the file has no function {attribute!r}. "
            f"It has: {', '.join(functions) or 'none'}."
        )
    made: Callable[[], object] = factory
    return made
