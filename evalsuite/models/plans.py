"""What open_clip and timm share: an architecture and weights that are somewhere, and the model they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from evalsuite.errors import ModelError
from evalsuite.hashing import file_key
from evalsuite.models.base import Preprocess
from evalsuite.models.checkpoints import first_line, read_checkpoint
from evalsuite.models.file_kinds import kind_of
from evalsuite.models.identity import LAYER_RULES, describe_config, fingerprint
from evalsuite.models.modules import Network, Tokenizer, TorchImageModel, examine
from evalsuite.models.names import ResolvedModel
from evalsuite.models.preprocessing import RgbFirst
from evalsuite.models.weights import (
    HubFile,
    UrlFile,
    WeightsFile,
    WeightsPlace,
    download_url,
    download_weights,
    find_weights,
)


@dataclass(frozen=True)
class Plan:
    """What loading a network will do, known without loading it.

    architecture, preprocessing, layers: as they enter the fingerprint. checkpoint_form: how the user names a checkpoint
    of this architecture. warnings: what is doubtful about it. details: what was found next to the weights. layer_rules:
    by which the layers are read.
    """

    resolved: ResolvedModel
    architecture: Any
    preprocessing: Mapping[str, Any]
    layers: Sequence[str]
    place: WeightsPlace
    checkpoint_form: str
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    layer_rules: int = LAYER_RULES

    @property
    def quickgelu(self) -> bool:
        """Whether the network is built with QuickGELU."""
        return isinstance(self.architecture, Mapping) and bool(self.architecture.get("quick_gelu"))

    def fingerprint(self, cache_dir: Path | None) -> str | None:
        """Return the fingerprint of the model, or None while its weights are not on this machine."""
        weights = find_weights(self.place, cache_dir)
        return self._fingerprint(weights) if weights else None

    def weights(self, *, offline: bool, cache_dir: Path | None) -> WeightsFile:
        """Return the weights, downloaded if need be; ModelError says what to do where they are not available."""
        found = find_weights(self.place, cache_dir)
        if found is not None:
            return found
        name, target, place = self.resolved.name, self.resolved.target, self.place
        remedy = (
            f"On a machine with network run `evalsuite run --model {name} --tasks embedded` and copy its hub cache "
            f"(HF_HOME) here, or give a checkpoint: {self.checkpoint_form}"
        )
        wanted = f"{name} ({self.resolved.backend} {target}"
        if isinstance(place, HubFile):
            wanted += f", hub repository {place.repository})"
            return download_weights(place, wanted, remedy, offline=offline, cache_dir=cache_dir)
        if isinstance(place, UrlFile) and place.sha256:
            return download_url(place, f"{wanted})", remedy, offline=offline, cache_dir=cache_dir)
        if isinstance(place, UrlFile):
            get = f"download {place.url} to {place.path} and run again"
            raise ModelError(f"the weights of {wanted}) are not on the hub: {get}. {remedy}")
        raise ModelError(f"{self.resolved.backend} has no pretrained weights for {target}. {remedy}")

    def model(
        self,
        module: nn.Module,
        transform: Preprocess,
        weights: WeightsFile,
        tokenizer: Tokenizer | None = None,
        *,
        warnings: Sequence[str] = (),
        **details: Any,
    ) -> TorchImageModel:
        """Return the model of a network with its weights in it. transform: sees images in RGB."""
        return examined(module.eval(), RgbFirst(transform), self.resolved).as_model(
            self.resolved,
            tokenizer,
            fingerprint=self._fingerprint(weights),
            weights=weights.source,
            preprocessing=f"RGB, {describe_config(self.preprocessing)}",
            warnings=(*self.warnings, *warnings),
            **self.details,
            **details,
        )

    def _fingerprint(self, weights: WeightsFile) -> str:
        part = _part_read(weights.path) if self.resolved.checkpoint else None
        return fingerprint(
            backend=self.resolved.backend,
            weights=weights.digest,
            architecture=self.architecture,
            preprocessing=self.preprocessing,
            layers=self.layers,
            layer_rules=self.layer_rules,
            **({"part": part} if part else {}),
        )


def examined(module: nn.Module, preprocess: Preprocess, resolved: ResolvedModel) -> Network:
    """Encode one grey image with a network; ModelError where it cannot take images of the size that is asked for."""
    if resolved.image_size is None:
        return examine(module, preprocess, resolved.name)
    check_patches(module, resolved)
    try:
        return examine(module, preprocess, resolved.name)
    except (ModelError, RuntimeError, ValueError, AssertionError, IndexError, TypeError, ZeroDivisionError) as error:
        raise size_misfit(resolved, error) from error


def check_patches(module: nn.Module, resolved: ResolvedModel) -> None:
    """Raise ModelError where the image size that is asked for is no multiple of the patches of a network."""
    patch = next((part.stride[0] for part in module.modules() if isinstance(part, nn.Conv2d) and _cuts(part)), 1)
    if resolved.image_size is not None and resolved.image_size % patch:
        raise size_misfit(resolved, ModelError(f"it cuts them into patches of {patch}, and that is no multiple"))


def size_misfit(resolved: ResolvedModel, error: Exception) -> ModelError:
    """Return an error that says that a network cannot take images of the size that is asked for."""
    return ModelError(
        f"{resolved.name} cannot take images of {resolved.image_size} x {resolved.image_size} pixels: "
        f"{first_line(error).rstrip('.')}. Choose another --image-size."
    )


def _cuts(part: nn.Conv2d) -> bool:
    """Tell whether a convolution cuts images into patches."""
    return part.kernel_size == part.stride and part.stride[0] > 1 and part.in_channels in (1, 3)


def _part_read(path: Path) -> str | None:
    """Return which part of a checkpoint is read, where it has several and the choice decides the features."""
    return _part(path, file_key(path.stat())) if kind_of(path) == "pickle" else None


@lru_cache
def _part(path: Path, state: tuple[int, ...]) -> str | None:
    return read_checkpoint(path).mark
