"""Models of open_clip: a tag of its list, or a checkpoint of one of its architectures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.errors import MissingExtraError, ModelError, UsageError
from evalsuite.models.base import EMBEDDING, PENULTIMATE
from evalsuite.models.checkpoints import misfit, read_state_dict
from evalsuite.models.modules import TorchImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.models.plans import Plan
from evalsuite.models.weights import HubFile, UrlFile, WeightsPlace, hub_candidates
from evalsuite.registry import did_you_mean

DEFAULT_FILE = "open_clip_pytorch_model.bin"
"""What a hub entry of open_clip means when it names no file: its HF_WEIGHTS_NAME."""

URL_FOLDER = Path("~/.cache/clip")
"""Where open_clip keeps weights that have a URL and no hub repository."""

PREPROCESS_KEYS = ("size", "mean", "std", "interpolation", "resize_mode", "fill_color")
"""The fields of open_clip's PreprocessCfg that decide the inference transform."""


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> TorchImageModel:
    """Load the model; ModelError when the weights are not available or do not fit."""
    import open_clip

    plan = make_plan(resolved)
    weights = plan.weights(offline=offline, cache_dir=cache_dir)
    module = _build(plan, weights.path)
    config = open_clip.transform.PreprocessCfg(**plan.preprocessing)
    transform = open_clip.transform.image_transform_v2(config, is_train=False)
    return plan.model(module, transform, weights, _tokenizer(resolved), quick_gelu=plan.architecture["quick_gelu"])


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
    """Return the fingerprint the loaded model will have, or None while its weights are not on this machine."""
    return make_plan(resolved).fingerprint(cache_dir)


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
    place = resolved.checkpoint or _published(resolved, tag_config)
    form = f"open_clip:{arch}/path/to/weights.safetensors"
    return Plan(resolved, config, preprocessing, [EMBEDDING, PENULTIMATE], place, form)


def _published(resolved: ResolvedModel, tag_config: Mapping[str, Any]) -> WeightsPlace:
    # Older open_clip knows only OpenAI's own URLs, whose TorchScript files cannot be read safely:
    # the alias names the hub repository with the same weights as safetensors.
    entry = f"{resolved.alias.hub}/" if resolved.alias and resolved.alias.hub else tag_config.get("hf_hub")
    if entry:
        repository, _, filename = str(entry).rpartition("/")
        return HubFile(repository, hub_candidates(filename or DEFAULT_FILE))
    url = tag_config.get("url")
    return UrlFile(url, URL_FOLDER.expanduser() / url.rpartition("/")[2]) if url else None


def _build(plan: Plan, path: Path) -> Any:
    import open_clip

    name, arch = plan.resolved.name, _architecture(plan.resolved)
    _check_positions(plan, path)
    try:
        return open_clip.create_model(
            arch, pretrained=str(path), force_quick_gelu=plan.architecture["quick_gelu"], device="cpu"
        )
    except RuntimeError as error:
        raise misfit(path, f"open_clip {arch}", error) from error
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers", f"The model {name}") from error
    except OSError as error:  # a Hugging Face text tower asks the hub for its configuration
        raise ModelError(f"the files of {name} other than its weights are not available: {error}") from error


def _check_positions(plan: Plan, path: Path) -> None:
    """Refuse weights of another image size, which open_clip would fit by interpolation and say nothing."""
    if path.suffix == ".npz":  # big_vision's format, read by open_clip itself, without pickles
        return
    found = read_state_dict(path).get("visual.positional_embedding")
    patch = plan.architecture["vision_cfg"].get("patch_size")
    if found is None or not patch or found.ndim != 2:
        return
    height, width = _height_width(plan.preprocessing["size"])
    patch_height, patch_width = _height_width(patch)
    positions = (height // patch_height) * (width // patch_width) + 1
    if found.shape[0] != positions:
        raise ModelError(
            f"{path}: has {found.shape[0]} image positions and {_architecture(plan.resolved)} has {positions}: the "
            f"weights are of another image or patch size. Name the architecture they were trained with instead of "
            f"{plan.resolved.target!r}."
        )


def _tokenizer(resolved: ResolvedModel) -> Any:
    import open_clip

    try:
        return open_clip.get_tokenizer(_architecture(resolved))
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers", f"The tokenizer of {resolved.name}") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the tokenizer of {resolved.name} is not in the local cache and cannot be downloaded: {error}"
        ) from error


def _architecture(resolved: ResolvedModel) -> str:
    return resolved.target.partition("/")[0]


def _height_width(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))
