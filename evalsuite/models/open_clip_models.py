"""Models of open_clip: a tag of its list, or a checkpoint of one of its architectures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.errors import MissingExtraError, ModelError, UsageError
from evalsuite.models.base import ModelInfo
from evalsuite.models.identity import describe_config, fingerprint
from evalsuite.models.modules import TorchImageTextModel
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

DEFAULT_FILE = "open_clip_pytorch_model.bin"
"""What a hub entry of open_clip means when it names no file: its HF_WEIGHTS_NAME."""

URL_FOLDER = Path("~/.cache/clip")
"""Where open_clip keeps weights that have a URL and no hub repository."""

PREPROCESS_KEYS = ("size", "mean", "std", "interpolation", "resize_mode", "fill_color")
"""The fields of open_clip's PreprocessCfg that decide the inference transform."""


@dataclass(frozen=True)
class Plan:
    """What loading will do, known without loading: architecture, activation and preprocessing."""

    arch: str
    tag: str | None
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    hub: HubFile | None
    url: str | None

    @property
    def quickgelu(self) -> bool:
        """Whether the transformers use QuickGELU."""
        return bool(self.config.get("quick_gelu", False))


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> TorchImageTextModel:
    """Load the model; ModelError when the weights are not to be had or do not fit."""
    import open_clip
    import torch

    from evalsuite.models.layers import activations, clip_activation, layer_function, layer_sizes, undisturbed
    from evalsuite.models.modules import image_parameters
    from evalsuite.models.preprocessing import RgbFirst

    plan = make_plan(resolved)
    weights = _obtain(plan, resolved, offline=offline, cache_dir=cache_dir)
    module = _build(plan, resolved, weights)
    config = open_clip.transform.PreprocessCfg(**plan.preprocessing)
    preprocess = RgbFirst(open_clip.transform.image_transform_v2(config, is_train=False))
    layers, rule = layer_function(module)
    height, width = _height_width(plan.preprocessing["size"])
    with undisturbed(module):
        sizes = layer_sizes(layers(module, torch.zeros(1, 3, height, width)), resolved.name)
    alias = resolved.alias
    info = ModelInfo(
        name=resolved.name,
        slug=resolved.slug,
        backend="open_clip",
        fingerprint=_fingerprint(plan, weights),
        input_size=max(height, width),
        layers=sizes,
        parameters=image_parameters(module),
        gflops=alias.gflops if alias else None,
        activation=clip_activation(module),
        weights=weights.source,
        weight_fidelity=alias.weight_fidelity if alias else "unknown",
        preprocessing=f"RGB, {describe_config(plan.preprocessing)}",
        published=alias.published if alias else None,
        details={"penultimate": rule, "quick_gelu": plan.quickgelu, "activations": activations(module)},
    )
    return TorchImageTextModel(module, preprocess, info, layers, _tokenizer(plan.arch, resolved))


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
    """Return the fingerprint the loaded model will have, or None while its weights are not on this machine."""
    plan = make_plan(resolved)
    weights: WeightsFile | None = None
    if resolved.checkpoint is not None:
        weights = checkpoint_file(resolved.checkpoint, cache_dir)
    elif plan.hub is not None:
        weights = cached_hub_file(plan.hub, cache_dir)
    elif plan.url and _url_path(plan.url).is_file():
        weights = downloaded_url(plan.url, _url_path(plan.url).parent, wanted="", remedy="", cache_dir=cache_dir)
    return _fingerprint(plan, weights) if weights else None


def make_plan(resolved: ResolvedModel) -> Plan:
    """Work out architecture, QuickGELU and preprocessing; UsageError for an unknown tag.

    QuickGELU: the setting of the tag or of the architecture, whichever has it. Recent open_clip only warns
    when OpenAI's weights meet an architecture without it, and the features are then wrong.
    """
    import open_clip

    arch, _, tag = resolved.target.partition("/")
    config = open_clip.get_model_config(arch)
    if config is None:
        nearest = did_you_mean(arch, open_clip.list_models())
        raise UsageError(f"open_clip {open_clip.__version__} has no architecture {arch!r}.{nearest}")
    tag_config: dict[str, Any] = {}
    if resolved.checkpoint is None:
        tag_config = open_clip.get_pretrained_cfg(arch, tag)
        if not tag_config:
            tags = open_clip.list_pretrained_tags_by_model(arch)
            raise UsageError(
                f"open_clip has no weights {tag!r} for {arch} (in {resolved.name!r}).{did_you_mean(tag, tags)} "
                f"Known: {', '.join(tags) or 'none'}. A checkpoint is given as open_clip:{arch}/path/to/weights.pt."
            )
    config["quick_gelu"] = bool(
        config.get("quick_gelu", False) or tag_config.get("quick_gelu", False) or resolved.quickgelu
    )
    defaults = vars(open_clip.transform.PreprocessCfg(size=config["vision_cfg"].get("image_size", 224)))
    chosen = {key: tag_config[key] for key in PREPROCESS_KEYS if key != "size" and tag_config.get(key) is not None}
    preprocessing = {key: {**defaults, **chosen}[key] for key in PREPROCESS_KEYS}
    hub, url = _remote(resolved, tag_config)
    return Plan(arch, tag if tag_config else None, config, preprocessing, hub, url)


def _remote(resolved: ResolvedModel, tag_config: Mapping[str, Any]) -> tuple[HubFile | None, str | None]:
    # Older open_clip knows only OpenAI's own URLs, whose TorchScript files cannot be read safely:
    # the alias names the hub repository with the same weights as safetensors.
    entry = f"{resolved.alias.hub}/" if resolved.alias and resolved.alias.hub else tag_config.get("hf_hub")
    if entry:
        repository, _, filename = str(entry).rpartition("/")
        return HubFile(repository, hub_candidates(filename or DEFAULT_FILE)), None
    return None, tag_config.get("url") or None


def _obtain(plan: Plan, resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> WeightsFile:
    if resolved.checkpoint is not None:
        return checkpoint_file(resolved.checkpoint, cache_dir)
    repository = f", hub repository {plan.hub.repository}" if plan.hub else ""
    wanted = f"{resolved.name} (open_clip {resolved.target}{repository})"
    remedy = (
        f"On a machine with network run `evalsuite run --model {resolved.name} --tasks embedded` and copy its "
        f"hub cache (HF_HOME) here, or give a checkpoint: open_clip:{plan.arch}/path/to/weights.safetensors"
    )
    if plan.hub is not None:
        return fetch_hub_file(plan.hub, wanted=wanted, remedy=remedy, offline=offline, cache_dir=cache_dir)
    if plan.url is not None:
        path = _url_path(plan.url)
        return downloaded_url(plan.url, path.parent, wanted=wanted, remedy=remedy, cache_dir=cache_dir)
    raise ModelError(f"open_clip {resolved.target} names no place to get its weights from. {remedy}")


def _build(plan: Plan, resolved: ResolvedModel, weights: WeightsFile) -> Any:
    import open_clip

    _check_positions(plan, resolved, weights.path)
    try:
        module = open_clip.create_model(
            plan.arch, pretrained=str(weights.path), force_quick_gelu=plan.quickgelu, device="cpu"
        )
    except RuntimeError as error:
        raise ModelError(_misfit(plan, weights.path, str(error))) from error
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers", f"The model {resolved.name}") from error
    except OSError as error:  # a Hugging Face text tower asks the hub for its configuration
        raise ModelError(f"the parts of {resolved.name} besides its weights cannot be had: {error}") from error
    return module.eval()


def _check_positions(plan: Plan, resolved: ResolvedModel, path: Path) -> None:
    """Refuse weights of another image size, which open_clip would fit by interpolation and say nothing."""
    if path.suffix == ".npz":  # big_vision's format, read by open_clip itself, without pickles
        return
    found = read_state_dict(path).get("visual.positional_embedding")
    patch = plan.config["vision_cfg"].get("patch_size")
    if found is None or not patch or found.ndim != 2:
        return
    height, width = _height_width(plan.preprocessing["size"])
    patch_height, patch_width = _height_width(patch)
    positions = (height // patch_height) * (width // patch_width) + 1
    if found.shape[0] != positions:
        raise ModelError(
            f"{path}: has {found.shape[0]} image positions and {plan.arch} has {positions}: the weights are of another "
            f"image or patch size. Name the architecture they were trained with instead of {resolved.target!r}."
        )


def _misfit(plan: Plan, path: Path, text: str) -> str:
    missing = _listed(text, "Missing key(s) in state_dict")
    unexpected = _listed(text, "Unexpected key(s) in state_dict")
    shapes = re.findall(r"size mismatch for (\S+):", text)
    reasons = describe_keys(missing, unexpected, shapes)
    if not reasons:
        return f"{path}: cannot be loaded into {plan.arch}: {text.strip().partition(chr(10))[0]}"
    return f"{path}: does not fit open_clip {plan.arch}: {reasons}. The architecture is probably another one."


def _listed(text: str, heading: str) -> list[str]:
    # torch's words: 'Missing key(s) in state_dict: "a", "b". '
    match = re.search(re.escape(heading) + r": (.*)", text)
    return re.findall(r'"([^"]+)"', match[1]) if match else []


def _tokenizer(arch: str, resolved: ResolvedModel) -> Any:
    import open_clip

    try:
        return open_clip.get_tokenizer(arch)
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers", f"The tokenizer of {resolved.name}") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the tokenizer of {resolved.name} is not in the local cache and cannot be downloaded: {error}"
        ) from error


def _fingerprint(plan: Plan, weights: WeightsFile) -> str:
    return fingerprint(
        backend="open_clip",
        weights=weights.digest,
        architecture=plan.config,
        preprocessing=plan.preprocessing,
        layers=["embedding", "penultimate"],
    )


def _url_path(url: str) -> Path:
    return URL_FOLDER.expanduser() / url.rpartition("/")[2]


def _height_width(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))
