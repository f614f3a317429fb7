"""Models of timm: image encoders without a text tower."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError, UsageError
from evalsuite.models.base import PENULTIMATE, ModelInfo
from evalsuite.models.identity import describe_config, fingerprint
from evalsuite.models.modules import TorchImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.models.weights import (
    HubFile,
    WeightsFile,
    cached_hub_file,
    checkpoint_file,
    describe_keys,
    downloaded_url,
    fetch_hub_file,
    hub_candidates,
    read_state_dict,
)
from evalsuite.registry import did_you_mean

DEFAULT_FILE = "pytorch_model.bin"
"""What a hub entry of timm means when it names no file: its HF_WEIGHTS_NAME."""


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> TorchImageModel:
    """Load the model; ModelError when the weights are not to be had or do not fit."""
    import torch

    from evalsuite.models.layers import activations, layer_function, layer_sizes, undisturbed
    from evalsuite.models.modules import image_parameters
    from evalsuite.models.preprocessing import RgbFirst

    config = _pretrained_config(resolved)
    weights = _obtain(config, resolved, offline=offline, cache_dir=cache_dir)
    module = _build(config, resolved, weights)
    data = data_config(config)
    preprocess = RgbFirst(_timm().data.create_transform(**data, is_training=False))
    layers, rule = layer_function(module)
    with undisturbed(module):
        sizes = layer_sizes(layers(module, torch.zeros(1, *data["input_size"])), resolved.name)
    found = activations(module)
    alias = resolved.alias
    info = ModelInfo(
        name=resolved.name,
        slug=resolved.slug,
        backend="timm",
        fingerprint=_fingerprint(resolved, data, weights),
        input_size=max(data["input_size"][1:]),
        layers=sizes,
        parameters=image_parameters(module),
        gflops=alias.gflops if alias else None,
        activation=next(iter(found), None),
        weights=weights.source,
        weight_fidelity=alias.weight_fidelity if alias else "unknown",
        preprocessing=f"RGB, {describe_config(data)}",
        published=alias.published if alias else None,
        details={"penultimate": rule, "activations": found},
    )
    return TorchImageModel(module, preprocess, info, layers)


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
    """Return the fingerprint the loaded model will have, or None while its weights are not on this machine."""
    config = _pretrained_config(resolved)
    hub, url = _remote(config)
    weights: WeightsFile | None = None
    if resolved.checkpoint is not None:
        weights = checkpoint_file(resolved.checkpoint, cache_dir)
    elif hub is not None:
        weights = cached_hub_file(hub, cache_dir)
    elif url and (_url_folder() / url.rpartition("/")[2]).is_file():
        weights = downloaded_url(url, _url_folder(), wanted="", remedy="", cache_dir=cache_dir)
    return _fingerprint(resolved, data_config(config), weights) if weights else None


def data_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return timm's preprocessing for a pretrained configuration: what `resolve_model_data_config` gives."""
    return dict(_timm().data.resolve_data_config(pretrained_cfg=dict(config)))


def _pretrained_config(resolved: ResolvedModel) -> dict[str, Any]:
    """Return timm's description of the weights; UsageError for a name that timm does not have."""
    architecture = resolved.target.partition(".")[0]
    if not _timm().is_model(architecture):
        names = [*_timm().list_models(), *_timm().list_pretrained()]
        raise UsageError(
            f"timm {_timm().__version__} has no model {resolved.target!r}.{did_you_mean(resolved.target, names)}"
        )
    try:
        config = _timm().get_pretrained_cfg(resolved.target)
    except RuntimeError:  # newer timm raises where older timm returned None
        config = None
    if config is None and (resolved.checkpoint is None or "." in resolved.target):
        tags = _timm().list_pretrained(f"{architecture}.*")
        raise UsageError(
            f"timm has no weights {resolved.target!r}.{did_you_mean(resolved.target, tags)} "
            f"Known: {', '.join(tags) or 'none'}. "
            f"A checkpoint is given as timm:{architecture}@path/to/weights.safetensors."
        )
    return dict(config.to_dict()) if config is not None else {}


def _remote(config: Mapping[str, Any]) -> tuple[HubFile | None, str | None]:
    if config.get("hf_hub_id"):
        filenames = hub_candidates(config.get("hf_hub_filename") or DEFAULT_FILE)
        return HubFile(str(config["hf_hub_id"]), filenames), None
    return None, config.get("url") or None


def _obtain(
    config: Mapping[str, Any], resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None
) -> WeightsFile:
    if resolved.checkpoint is not None:
        return checkpoint_file(resolved.checkpoint, cache_dir)
    hub, url = _remote(config)
    repository = f", hub repository {hub.repository}" if hub else ""
    wanted = f"{resolved.name} (timm {resolved.target}{repository})"
    remedy = (
        f"On a machine with network run `evalsuite run --model {resolved.name} --tasks embedded` and copy its "
        f"hub cache (HF_HOME) here, or give a checkpoint: timm:{resolved.target}@path/to/weights.safetensors"
    )
    if hub is not None:
        return fetch_hub_file(hub, wanted=wanted, remedy=remedy, offline=offline, cache_dir=cache_dir)
    if url is not None:
        return downloaded_url(url, _url_folder(), wanted=wanted, remedy=remedy, cache_dir=cache_dir)
    raise ModelError(f"timm has no pretrained weights for {resolved.target}. {remedy}")


def _build(config: Mapping[str, Any], resolved: ResolvedModel, weights: WeightsFile) -> Any:
    state = read_state_dict(weights.path)
    try:
        if resolved.checkpoint is not None:
            return _build_from_checkpoint(config, resolved, state)
        # The weights go in by hand: older timm reads files with weights_only=False. timm still applies the
        # conversions that some architectures need.
        module = _timm().create_model(resolved.target, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    except RuntimeError as error:
        raise ModelError(f"{weights.path}: does not fit timm {resolved.target}: {error}") from error
    module.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
    return module.eval()


def _build_from_checkpoint(config: Mapping[str, Any], resolved: ResolvedModel, state: Mapping[str, Any]) -> Any:
    # A network trained on other classes than the published one is as good an encoder: take the size
    # of its classifier from the file.
    classifier = config.get("classifier")
    head = state.get(f"{classifier}.weight") if isinstance(classifier, str) else None
    classes = {"num_classes": int(head.shape[0])} if head is not None else {}
    module = _timm().create_model(resolved.target, pretrained=False, **classes)
    expected = module.state_dict()
    shapes = [key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape]
    reasons = describe_keys(
        sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys()), sorted(shapes)
    )
    if reasons:
        raise ModelError(
            f"{resolved.checkpoint}: does not fit timm {resolved.target}: {reasons}. "
            "The architecture is probably another one."
        )
    module.load_state_dict(dict(state), strict=True)
    return module.eval()


def _fingerprint(resolved: ResolvedModel, data: Mapping[str, Any], weights: WeightsFile) -> str:
    return fingerprint(
        backend="timm",
        weights=weights.digest,
        architecture=resolved.target.partition(".")[0],
        preprocessing=data,
        layers=[PENULTIMATE],
    )


def _timm() -> Any:
    # Untyped on purpose: only some of its functions have types, and which differs from release to release.
    return importlib.import_module("timm")


def _url_folder() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"  # TORCH_HOME is honoured
