"""Models as a person hands them over in Python: names, ready models, torch modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from torch import nn

from evalsuite.errors import UsageError
from evalsuite.models.base import ImageModel, Preprocess
from evalsuite.models.identity import state_digest
from evalsuite.models.modules import Tokenizer, TorchImageModel, bare, device_of_live, wrap_module
from evalsuite.models.names import known_names, open_clip_architectures
from evalsuite.models.spellings import paired
from evalsuite.text import counted, listed

HOW_TO_WRAP = (
    "give its preprocessing, too: evaluate(module, preprocess=...), a function from a PIL image to a (channels, "
    "height, width) tensor; for zero-shot also its tokenizer"
)


def given_models(
    models: Any, preprocess: Preprocess | None = None, tokenizer: Tokenizer | None = None, name: str | None = None
) -> list[str | ImageModel]:
    """Return the models of a call: names of a text with commas or of a list, ready models, and a torch module wrapped.

    preprocess, tokenizer, name: of the one torch module among them; without a name it is called after its class.
    Raises UsageError for what is no model, and for a module that cannot be wrapped.
    """
    found = paired(listed(models), open_clip_architectures(), known_names()) if _is_text(models) else listed(models)
    modules = [model for model in found if _is_bare(model)]
    if len(modules) > 1:
        raise UsageError(
            f"There are {counted(len(modules), 'torch module')}: make a model of each with "
            "evalsuite.wrap_module(module, preprocess, tokenizer, name=...)."
        )
    for model in found:
        if not isinstance(model, str | ImageModel) and not _is_bare(model):
            raise UsageError(
                f"An object of the type {type(model).__name__} is no model: give a name (`evalsuite ls models`), a "
                "torch module with preprocess=..., or an object with info, preprocess and encode_images."
            )
    if not modules and (preprocess, tokenizer, name) != (None, None, None):
        raise UsageError("preprocess, tokenizer and name belong to a torch module, and none is given.")
    return [_wrapped(model, preprocess, tokenizer, name) if _is_bare(model) else model for model in found]


def home_of(models: Sequence[str | ImageModel]) -> str | None:
    """Return the GPU that the first live module among the models is on; None where it is on none."""
    for model in models:
        if not isinstance(model, str) and (device := device_of_live(model)) is not None:
            return str(device) if device.type == "cuda" else None
    return None


def parameters_digest(model: ImageModel) -> str:
    """Return what stands for the weights of a model: of a live module its parameters, without buffers.

    Processes that train together have the same parameters, but each its own running means of batch normalisation.
    """
    if not isinstance(model, TorchImageModel) or model.mark is None:
        return model.info.fingerprint
    return state_digest(model.module, buffers=False)


def _is_text(models: Any) -> bool:
    return isinstance(models, str) and "," in models


def _is_bare(model: Any) -> TypeGuard[nn.Module]:
    return isinstance(model, nn.Module) and not isinstance(model, ImageModel)


def _wrapped(
    module: nn.Module, preprocess: Preprocess | None, tokenizer: Tokenizer | None, name: str | None
) -> TorchImageModel:
    called = name or type(bare(module)).__name__
    if preprocess is None:
        raise UsageError(f"The model {called!r} is a torch module: {HOW_TO_WRAP}.")
    return wrap_module(module, preprocess, tokenizer, name=called)
