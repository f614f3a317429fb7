"""Models of timm: image encoders without a text tower."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.errors import UsageError
from evalsuite.models.base import PENULTIMATE
from evalsuite.models.checkpoints import misfit, read_state_dict
from evalsuite.models.modules import TorchImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.models.plans import Plan
from evalsuite.models.weights import HubFile, UrlFile, WeightsPlace, hub_candidates
from evalsuite.registry import did_you_mean

DEFAULT_FILE = "pytorch_model.bin"
"""What a hub entry of timm means when it names no file: its HF_WEIGHTS_NAME."""


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> TorchImageModel:
    """Load the model; ModelError when the weights are not available or do not fit."""
    plan = make_plan(resolved)
    weights = plan.weights(offline=offline, cache_dir=cache_dir)
    transform = _timm().data.create_transform(**plan.preprocessing, is_training=False)
    return plan.model(_build(resolved, weights.path), transform, weights)


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
    """Return the fingerprint the loaded model will have, or None while its weights are not on this machine."""
    return make_plan(resolved).fingerprint(cache_dir)


def make_plan(resolved: ResolvedModel) -> Plan:
    """Look up what timm knows of the weights; UsageError for a name that it does not have."""
    architecture = resolved.target.partition(".")[0]
    config = _published_config(resolved)
    preprocessing = dict(_timm().data.resolve_data_config(pretrained_cfg=config))
    place = resolved.checkpoint or _published(config)
    form = f"timm:{resolved.target}@path/to/weights.safetensors"
    return Plan(resolved, architecture, preprocessing, [PENULTIMATE], place, form)


def _published_config(resolved: ResolvedModel) -> dict[str, Any]:
    """Return timm's description of the published weights; of an architecture without any, it is empty."""
    timm, architecture = _timm(), resolved.target.partition(".")[0]
    if not timm.is_model(architecture):
        names = [*timm.list_models(), *timm.list_pretrained()]
        raise UsageError(
            f"timm {timm.__version__} has no model {resolved.target!r}.{did_you_mean(resolved.target, names)}"
        )
    try:
        found = timm.get_pretrained_cfg(resolved.target)
    except RuntimeError:  # newer timm raises where older timm returned None
        found = None
    if found is None and (resolved.checkpoint is None or "." in resolved.target):
        tags = timm.list_pretrained(f"{architecture}.*")
        raise UsageError(
            f"timm has no weights {resolved.target!r}.{did_you_mean(resolved.target, tags)} "
            f"Known: {', '.join(tags) or 'none'}. "
            f"A checkpoint is given as timm:{architecture}@path/to/weights.safetensors."
        )
    return dict(found.to_dict()) if found is not None else {}


def _published(config: Mapping[str, Any]) -> WeightsPlace:
    if config.get("hf_hub_id"):
        return HubFile(str(config["hf_hub_id"]), hub_candidates(config.get("hf_hub_filename") or DEFAULT_FILE))
    url = config.get("url")
    if not url:
        return None
    import torch

    return UrlFile(url, Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2])  # TORCH_HOME is honoured


def _build(resolved: ResolvedModel, path: Path) -> Any:
    state = read_state_dict(path)
    try:
        if resolved.checkpoint is None:
            # The weights go in by hand: older timm reads files with weights_only=False. timm still applies the
            # conversions that some architectures need.
            overlay = {"state_dict": state}
            module = _timm().create_model(resolved.target, pretrained=True, pretrained_cfg_overlay=overlay)
            module.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
        else:
            # A network trained on other classes than the published one is as good an encoder: take the size
            # of its classifier from the file.
            head = state.get(f"{_published_config(resolved).get('classifier')}.weight")
            classes = {"num_classes": int(head.shape[0])} if head is not None else {}
            module = _timm().create_model(resolved.target, pretrained=False, **classes)
            module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise misfit(path, f"timm {resolved.target}", error) from error
    return module


def _timm() -> Any:
    # Untyped on purpose: only some of its functions have types, and which differs from release to release.
    return importlib.import_module("timm")
