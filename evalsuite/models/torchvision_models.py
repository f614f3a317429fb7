"""Classifiers of torchvision, with the weights that it publishes or a checkpoint of one of its architectures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models, transforms

from evalsuite.errors import UsageError
from evalsuite.models.base import PENULTIMATE
from evalsuite.models.checkpoints import read_checkpoint
from evalsuite.models.fitting import fit
from evalsuite.models.modules import TorchImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.models.plans import Plan, size_misfit
from evalsuite.models.skeletons import Skeleton, without_weights
from evalsuite.models.weights import UrlFile
from evalsuite.registry import did_you_mean

DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""Names in DenseNet's published files, from before a dot was forbidden in names of modules (torchvision's loader)."""

PUBLISHED_AS = {"inception_v3": {"aux_logits": True, "init_weights": False, "transform_input": True},
                "googlenet": {"aux_logits": True, "init_weights": False, "transform_input": True}}  # fmt: skip
"""Architecture -> arguments that its builder in torchvision sets where there are weights."""

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Where Inception and GoogLeNet have classifiers that only training reads."""

HASH = re.compile(r"-([0-9a-f]{8,})\.")
"""How the name of a published file tells the beginning of its sha256."""


class Headless(nn.Module):
    """A classifier of torchvision whose last linear layer was taken out: its output is what went into that."""

    layer_rule = "input of the last linear layer"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def read_layers(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return {"penultimate": (n, dim)} of (n, 3, height, width)."""
        return {PENULTIMATE: self.network(batch)}


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> TorchImageModel:
    """Load the model; ModelError when the weights are not available or do not fit."""
    plan = make_plan(resolved)
    weights = plan.weights(offline=offline, cache_dir=cache_dir)
    checkpoint = read_checkpoint(weights.path)
    network = build(resolved, plan.architecture["weights"])
    head = head_of(network)
    found = fit(
        network,
        checkpoint,
        f"torchvision {resolved.target}",
        convert=lambda state: _converted(network, state),
        optional=(f"{head}.", *AUXILIARY),
    )
    told = found.said(checkpoint) if resolved.checkpoint else ()
    details = found.details(checkpoint) if resolved.checkpoint else {}
    return plan.model(headless(network), _transform(plan), weights, warnings=told, **details)


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
    """Return the fingerprint the loaded model will have, or None while its weights are not on this machine."""
    return make_plan(resolved).fingerprint(cache_dir)


def skeleton(resolved: ResolvedModel) -> Skeleton:
    """Return the network without weights."""
    plan = make_plan(resolved)
    with without_weights():
        network = headless(build(resolved, plan.architecture["weights"]))
    return Skeleton(network, (3, plan.preprocessing["crop"], plan.preprocessing["crop"]))


def make_plan(resolved: ResolvedModel) -> Plan:
    """Look up what torchvision knows of the weights; UsageError for a name that it does not have."""
    name, _, tag = resolved.target.partition(".")
    chosen = _published(resolved, name, tag)
    made = chosen.transforms()
    resize, crop = int(made.resize_size[0]), int(made.crop_size[0])
    size = resolved.image_size or crop
    preprocessing = {
        "resize": round(resize * size / crop),
        "crop": size,
        "interpolation": made.interpolation.value,
        "mean": list(made.mean),
        "std": list(made.std),
    }
    architecture = {"name": name, "weights": chosen.name}
    hashed = HASH.search(chosen.url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rpartition("/")[2]  # TORCH_HOME is honoured
    place = resolved.checkpoint or UrlFile(chosen.url, file, hashed[1] if hashed else "")
    form = f"torchvision:{name}.{chosen.name}@/path/to/weights.pth"
    return Plan(resolved, architecture, preprocessing, [PENULTIMATE], place, form)


def build(resolved: ResolvedModel, weights: str) -> nn.Module:
    """Build the network that published weights are for, without them; ModelError where it cannot have the image size.

    weights: their name in torchvision's list.
    """
    name = resolved.target.partition(".")[0]
    chosen: Any = models.get_model_weights(name)[weights]
    options: dict[str, Any] = {"num_classes": len(chosen.meta["categories"]), **PUBLISHED_AS.get(name, {})}
    size = resolved.image_size or chosen.meta["min_size"][0]
    if name.startswith("vit_"):
        options["image_size"] = size
    elif name == "maxvit_t":
        options["input_size"] = (size, size)
    try:
        network: nn.Module = models.get_model(name, weights=None, **options)
    except (ValueError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        if resolved.image_size is None:
            raise
        raise size_misfit(resolved, error) from error
    return network


def head_of(network: nn.Module) -> str:
    """Return the name of the last linear layer; of the last convolution where a network has none (SqueezeNet)."""
    for kind in (nn.Linear, nn.Conv2d):
        names: list[str] = [name for name, part in network.named_modules() if type(part) is kind]
        names = [name for name in names if not name.startswith(AUXILIARY)]
        if names:
            return names[-1]
    raise RuntimeError(f"{type(network).__name__} has neither a linear layer nor a convolution.")


def headless(network: nn.Module) -> Headless:
    """Take the last linear layer out of a classifier."""
    network.set_submodule(head_of(network), nn.Identity())
    return Headless(network)


def _published(resolved: ResolvedModel, name: str, tag: str) -> Any:
    """Return the entry of torchvision's list; of a name without one, the weights that torchvision calls its default."""
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"torchvision has no model {name!r} (in {resolved.name!r}).{did_you_mean(name, known)}")
    entries: Any = models.get_model_weights(name)
    if not tag or tag.upper() == "DEFAULT":
        return entries.DEFAULT
    found = {entry.casefold(): entries[entry] for entry in entries.__members__}
    if tag.casefold() not in found:
        names = [entry for entry in entries.__members__ if entry != "DEFAULT"]
        raise UsageError(
            f"torchvision has no weights {tag!r} for {name} (in {resolved.name!r}). Known: {', '.join(names)}."
        )
    return found[tag.casefold()]


def _converted(network: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return published weights under today's names, positions stretched to the image size that was asked for."""
    state = {DENSENET.sub(r"\1\2", name): value for name, value in state.items()}
    positions = "encoder.pos_embedding"
    if isinstance(network, models.VisionTransformer) and positions in state:
        size, patch = network.image_size, network.patch_size
        if state[positions].shape[1] != (size // patch) ** 2 + 1:
            state = dict(models.vision_transformer.interpolate_embeddings(size, patch, state))
    return state


def _transform(plan: Plan) -> Any:
    how = plan.preprocessing
    return transforms.Compose(
        [
            transforms.Resize(how["resize"], transforms.InterpolationMode(how["interpolation"])),
            transforms.CenterCrop(how["crop"]),
            transforms.ToTensor(),
            transforms.Normalize(how["mean"], how["std"]),
        ]
    )
