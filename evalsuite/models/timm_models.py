"""Models of timm: image encoders without a text tower."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError, UsageError
from evalsuite.models.base import PENULTIMATE
from evalsuite.models.checkpoints import Checkpoint, misfit, read_checkpoint
from evalsuite.models.fitting import Fit, fit
from evalsuite.models.modules import TorchImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.models.plans import Plan, check_patches, size_misfit
from evalsuite.models.repositories import CONFIG, Repository
from evalsuite.models.sidecars import configuration, read_sidecar, weights_of
from evalsuite.models.skeletons import Skeleton, without_weights
from evalsuite.models.weights import HubFile, UrlFile, WeightsPlace, hub_candidates
from evalsuite.registry import did_you_mean

PREPROCESS_KEYS = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
"""The fields of timm's PretrainedCfg that decide the inference transform."""

DEFAULT_FILE = "pytorch_model.bin"
"""What a hub entry of timm means when it names no file: its HF_WEIGHTS_NAME."""


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> TorchImageModel:
    """Load the model; ModelError when the weights are not available or do not fit."""
    plan = make_plan(resolved)
    weights = plan.weights(offline=offline, cache_dir=cache_dir)
    transform = _timm().data.create_transform(**plan.preprocessing, is_training=False)
    if resolved.checkpoint is None and resolved.repository is None:
        return plan.model(_published_network(resolved, weights.path), transform, weights)
    checkpoint = read_checkpoint(weights.path)
    module, found = _network(resolved, checkpoint, plan.architecture)
    return plan.model(module, transform, weights, warnings=found.said(checkpoint), **found.details(checkpoint))


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
    """Return the fingerprint the loaded model will have, or None while its weights are not on this machine."""
    return make_plan(resolved).fingerprint(cache_dir)


def skeleton(resolved: ResolvedModel) -> Skeleton:
    """Return the network without weights."""
    plan = make_plan(resolved)
    name, arguments = _of_architecture(resolved, plan.architecture)
    with without_weights():
        network = _timm().create_model(name, pretrained=False, **arguments)
    return Skeleton(network, tuple(plan.preprocessing["input_size"]))


def make_plan(resolved: ResolvedModel) -> Plan:
    """Look up what timm knows of the weights; UsageError for a name that it does not have."""
    if resolved.repository is not None:
        return _plan_of(resolved.repository, resolved)
    architecture = resolved.target.partition(".")[0]
    config = _published_config(resolved)
    own, warnings = _own_config(resolved, architecture)
    preprocessing = _preprocessing({**config, **own}, resolved.image_size)
    place = resolved.checkpoint or _published(config)
    form = f"timm:{resolved.target}@/path/to/weights.safetensors"
    details = {"config": CONFIG} if own else {}
    return Plan(resolved, architecture, preprocessing, [PENULTIMATE], place, form, warnings, details)


def _preprocessing(config: Mapping[str, Any], image_size: int | None) -> dict[str, Any]:
    """Return timm's description of how images are prepared; the cropped part stays at another size."""
    found = dict(_timm().data.resolve_data_config(pretrained_cfg=dict(config)))
    return found if image_size is None else {**found, "input_size": (found["input_size"][0], image_size, image_size)}


def _plan_of(repository: Repository, resolved: ResolvedModel) -> Plan:
    """Return the plan of a repository of the hub, or a folder, that has timm's configuration in it.

    Older files have the fields of `pretrained_cfg` at the top.
    """
    content = configuration(repository, CONFIG, resolved.name)
    architecture = {"name": content["architecture"], "arguments": content.get("model_args") or {}}
    if not _timm().is_model(architecture["name"]):
        raise ModelError(f"{resolved.name}: this timm has no architecture {architecture['name']!r}; a newer one may.")
    config = content.get("pretrained_cfg") or content
    preprocessing = _preprocessing({key: config[key] for key in config if key in PREPROCESS_KEYS}, resolved.image_size)
    place = weights_of(repository, hub_candidates(config.get("hf_hub_filename") or DEFAULT_FILE), CONFIG)
    form = f"timm:{architecture['name']}@/path/to/weights.safetensors"
    return Plan(resolved, architecture, preprocessing, [PENULTIMATE], place, form, (), {"config": CONFIG})


def _own_config(resolved: ResolvedModel, architecture: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return how the images of a checkpoint are prepared by the file next to it, and a warning where it is not its."""
    found = read_sidecar(resolved.checkpoint, CONFIG) if resolved.checkpoint and "." not in resolved.target else None
    if found is None or "architecture" not in found.content:  # config.json is a common name: not every one is timm's
        return {}, ()
    if found.content["architecture"] != architecture:
        of = found.content["architecture"]
        return {}, (f"The {CONFIG} next to it is of {of}, not of {architecture}, and was not read.",)
    config = {**found.content, **found.part("pretrained_cfg")}
    return {key: config[key] for key in PREPROCESS_KEYS if config.get(key) is not None}, ()


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


def _published_network(resolved: ResolvedModel, path: Path) -> Any:
    """Build a network with published weights, which timm brings into its form."""
    # The weights go in by hand: older timm reads files with weights_only=False. timm still applies the
    # conversions that some architectures need.
    overlay = {"state_dict": dict(read_checkpoint(path).state)}
    try:
        module = _timm().create_model(
            resolved.target, pretrained=True, pretrained_cfg_overlay=overlay, **_size(resolved, resolved.target)
        )
    except RuntimeError as error:
        raise misfit(path, f"timm {resolved.target}", error) from error
    module.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
    return module


def _size(resolved: ResolvedModel, architecture: str, **arguments: Any) -> dict[str, int]:
    """Return the argument by which a network is built for another image size; a convolutional one takes any."""
    size = resolved.image_size
    if size is None:
        return {}
    try:
        with without_weights():
            module = _timm().create_model(architecture, pretrained=False, **arguments, img_size=size)
    except TypeError:
        return {}
    except (AssertionError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise size_misfit(resolved, error) from error
    check_patches(module, resolved)
    return {"img_size": size}


def _network(resolved: ResolvedModel, checkpoint: Checkpoint, architecture: Any) -> tuple[Any, Fit]:
    """Build a network with the weights of a checkpoint.

    Its classifier need not be there, nor have the classes of the published one: the probe does not read it.
    """
    name, arguments = _of_architecture(resolved, architecture)
    module = _timm().create_model(name, pretrained=False, **arguments)
    named = module.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{name}." for name in ([named] if isinstance(named, str) else named))
    found = fit(
        module,
        checkpoint,
        f"timm {name}",
        convert=lambda state: _converted(module, state, heads, None if resolved.image_size else checkpoint.path),
        optional=heads,
    )
    return module, found


def _of_architecture(resolved: ResolvedModel, architecture: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of a network and the arguments to build it with. architecture: of its plan."""
    name, arguments = resolved.target, {}
    if isinstance(architecture, Mapping):  # of a repository
        name, arguments = architecture["name"], architecture["arguments"]
    return name, {**arguments, **_size(resolved, name, **arguments)}


def _converted(module: Any, state: dict[str, Any], heads: tuple[str, ...], path: Path | None) -> dict[str, Any]:
    """Return weights as this release of timm names them, by the function it has for files of older and other origin.

    It is asked where they do not fit as they are. It may rename and reshape, not stretch: ModelError says so.
    path: of the file; None where another image size was asked for, and it may stretch.
    """
    wanted = {name: value.shape for name, value in module.state_dict().items() if not name.startswith(heads or ("-",))}
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None or all(name in state and state[name].shape == shape for name, shape in wanted.items()):
        return state
    try:
        made: dict[str, Any] = convert(dict(state), module)
    except (KeyError, IndexError, ValueError, AttributeError, RuntimeError, TypeError):  # of another architecture
        return state
    for name, value in made.items():
        if path is not None and name in state and name in wanted and state[name].numel() != value.numel():
            raise ModelError(
                f"{path}: {name} has the shape {tuple(state[name].shape)} and the network's has {tuple(wanted[name])}: "
                "the weights are of another image or patch size. Name the architecture that they were trained with."
            )
    return made


def _timm() -> Any:
    # Untyped on purpose: only some of its functions have types, and which differs from release to release.
    return importlib.import_module("timm")
