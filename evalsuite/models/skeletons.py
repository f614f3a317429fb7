"""Networks without weights: on torch's meta device a forward pass computes shapes alone, in no memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from evalsuite.errors import ModelError
from evalsuite.models.layers import layer_function, layer_sizes, undisturbed
from evalsuite.models.named_layers import WithLayer, usual_sizes


@dataclass(frozen=True)
class Skeleton:
    """The network that encodes images, built without weights. shape: (channels, height, width) of an image."""

    module: nn.Module
    shape: tuple[int, ...]

    @property
    def rule(self) -> str:
        """How `penultimate` is read, readable."""
        return layer_function(self.module)[1]

    def sizes(self) -> dict[str, int]:
        """Return layer -> dimension, of the layers that are stored and of the usual ones to choose from.

        Raises ModelError where shapes do not tell.
        """
        read, _ = layer_function(self.module)
        with self._computing():
            found = layer_sizes(read(self.module)(self._image), "the network")
            return found | dict(usual_sizes(self.module, read, self._image))

    def check(self, layer: str, name: str) -> None:
        """Raise UsageError where the network has no such layer. name: what messages call it."""
        read, _ = layer_function(self.module)
        with self._computing():
            if layer not in read(self.module)(self._image):
                WithLayer(read, layer, name)(self.module)(self._image)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with undisturbed(self.module):
            try:
                yield
            except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:  # it looks at values
                raise ModelError(f"only known with its weights ({type(error).__name__}: {error})") from error

    @property
    def _image(self) -> torch.Tensor:
        return torch.zeros(1, *self.shape, device="meta")


class ImageSide(nn.Module):
    """The image tower of a CLIP model, alone."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, batch: torch.Tensor) -> Any:
        """Return what the tower returns."""
        return self.visual(batch)


@contextmanager
def without_weights() -> Iterator[None]:
    """Build networks on the meta device."""
    with torch.device("meta"), _NumbersOnCpu():
        yield


class _NumbersOnCpu(TorchFunctionMode):
    """Keep `torch.linspace` off the meta device: timm up to 1.0.20 reads drop-path rates from it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **({**kwargs, "device": "cpu"} if func is torch.linspace else kwargs))
