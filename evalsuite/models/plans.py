"""What open_clip and timm share: an architecture and weights that are somewhere, and the model they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from evalsuite.errors import ModelError
from evalsuite.models.base import Preprocess
from evalsuite.models.identity import describe_config, fingerprint
from evalsuite.models.modules import Tokenizer, TorchImageModel, examine
from evalsuite.models.names import ResolvedModel
from evalsuite.models.preprocessing import RgbFirst
from evalsuite.models.weights import HubFile, UrlFile, WeightsFile, WeightsPlace, download_weights, find_weights


@dataclass(frozen=True)
class Plan:
    """What loading a network will do, known without loading it.

    architecture, preprocessing, layers: as they enter the fingerprint. checkpoint_form: how the user names a checkpoint
    of this architecture.
    """

    resolved: ResolvedModel
    architecture: Any
    preprocessing: Mapping[str, Any]
    layers: Sequence[str]
    place: WeightsPlace
    checkpoint_form: str

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
        **details: Any,
    ) -> TorchImageModel:
        """Return the model of a network with its weights in it. transform: sees images in RGB."""
        return examine(module.eval(), RgbFirst(transform), self.resolved.name).as_model(
            self.resolved,
            tokenizer,
            fingerprint=self._fingerprint(weights),
            weights=weights.source,
            preprocessing=f"RGB, {describe_config(self.preprocessing)}",
            **details,
        )

    def _fingerprint(self, weights: WeightsFile) -> str:
        return fingerprint(
            backend=self.resolved.backend,
            weights=weights.digest,
            architecture=self.architecture,
            preprocessing=self.preprocessing,
            layers=self.layers,
        )
