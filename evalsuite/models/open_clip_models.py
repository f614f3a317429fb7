"""Models of open_clip: a tag of its list, or a checkpoint of one of its architectures."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from evalsuite.config import expanded
from evalsuite.errors import MissingExtraError, ModelError, UsageError
from evalsuite.models.base import EMBEDDING, PENULTIMATE, Logits
from evalsuite.models.checkpoints import Checkpoint, first_line, read_checkpoint
from evalsuite.models.file_kinds import kind_of
from evalsuite.models.fitting import Fit, fit
from evalsuite.models.identity import LAYER_RULES, PROJECTING_TRUNK_RULES, describe_config
from evalsuite.models.logits import stored_logits
from evalsuite.models.modules import TorchImageModel
from evalsuite.models.names import ResolvedModel
from evalsuite.models.plans import Plan, check_patches
from evalsuite.models.repositories import OPEN_CLIP_CONFIG, Repository
from evalsuite.models.sidecars import configuration, read_sidecar, weights_of
from evalsuite.models.skeletons import ImageSide, Skeleton, without_weights
from evalsuite.models.weights import HubFile, UrlFile, WeightsPlace, find_weights, hub_candidates
from evalsuite.registry import did_you_mean
from evalsuite.text import shortened

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
    _check_extras(plan)
    weights = plan.weights(offline=offline, cache_dir=cache_dir)
    module, checkpoint, found = _build(plan, weights.path)
    config = open_clip.transform.PreprocessCfg(**plan.preprocessing)
    transform = open_clip.transform.image_transform_v2(config, is_train=False)
    return plan.model(
        module,
        transform,
        weights,
        make_tokenizer(plan),
        warnings=found.said(checkpoint) if checkpoint else (),
        quick_gelu=plan.quickgelu,
        **(found.details(checkpoint) if checkpoint else {}),
    )


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
    """Return the fingerprint the loaded model will have, or None while its weights are not on this machine."""
    return make_plan(resolved).fingerprint(cache_dir)


def known_logits(resolved: ResolvedModel, *, cache_dir: Path | None) -> Logits | None:
    """Return the scale and the bias in the weights, where these are on this machine and have them."""
    weights = find_weights(make_plan(resolved).place, cache_dir)
    return stored_logits(weights.path) if weights and kind_of(weights.path) != "npz" else None


def skeleton(resolved: ResolvedModel) -> Skeleton:
    """Return the image tower without weights."""
    from open_clip.model import _build_vision_tower

    plan = make_plan(resolved)
    config, side = _class_config(plan.architecture), plan.preprocessing["size"]
    with without_weights():
        tower = _build_vision_tower(config["embed_dim"], config["vision_cfg"], plan.quickgelu)
    return Skeleton(ImageSide(tower), (3, *((side, side) if isinstance(side, int) else side)))


def make_plan(resolved: ResolvedModel) -> Plan:
    """Work out architecture, QuickGELU and preprocessing; UsageError for an unknown tag.

    They are those of the tag. Of a checkpoint without one they are those of the `open_clip_config.json` next to it, or
    of the architecture, with the preprocessing that its published weights have.
    """
    import open_clip

    if resolved.repository is not None:
        return _plan_of(resolved.repository, resolved)
    arch, _, target = resolved.target.partition("/")
    config = open_clip.get_model_config(arch)
    if config is None:
        nearest = did_you_mean(arch, open_clip.list_models())
        raise UsageError(f"open_clip {open_clip.__version__} has no architecture {arch!r}.{nearest}")
    tag = resolved.tag or ("" if resolved.checkpoint else target)
    given = _tag_config(resolved, arch, tag) if tag else {}
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = {}
    beside = read_sidecar(resolved.checkpoint, OPEN_CLIP_CONFIG) if resolved.checkpoint and not tag else None
    if beside is not None:
        config = {**beside.part("model_cfg")}
        given = beside.part("preprocess_cfg")
        details["config"] = beside.path.name
    elif resolved.checkpoint and not tag:
        given, warnings = _usual(arch, bool(config.get("quick_gelu") or resolved.quickgelu))
    config["quick_gelu"] = bool(config.get("quick_gelu", False) or given.get("quick_gelu", False) or resolved.quickgelu)
    preprocessing = _preprocessing(config, given, resolved.image_size)
    place = resolved.checkpoint or _published(resolved, given)
    example = tag or next(iter(open_clip.list_pretrained_tags_by_model(arch)), "")
    form = f"open_clip:{arch}/{example}{'@' if example else ''}/path/to/weights.safetensors"
    rules = PROJECTING_TRUNK_RULES if _trunk_projects(config["vision_cfg"]) else LAYER_RULES
    return Plan(resolved, config, preprocessing, [EMBEDDING, PENULTIMATE], place, form, warnings, details, rules)


def _trunk_projects(vision: Mapping[str, Any]) -> bool:
    """Tell whether the classifier of timm's network is the projection: it is where open_clip puts no head after it."""
    pools = vision.get("timm_pool", "avg") in ("abs_attn", "rot_attn")
    return bool(vision.get("timm_model_name")) and not vision.get("timm_proj", "linear") and not pools


def _preprocessing(config: dict[str, Any], given: Mapping[str, Any], image_size: int | None) -> dict[str, Any]:
    """Return how images are prepared, and put the image size that was asked for into the configuration of the tower."""
    import open_clip

    if image_size is not None:
        config["vision_cfg"] = {**config["vision_cfg"], "image_size": image_size}
    defaults = vars(open_clip.transform.PreprocessCfg(size=config["vision_cfg"].get("image_size", 224)))
    chosen = {key: given[key] for key in PREPROCESS_KEYS if key != "size" and given.get(key) is not None}
    return {key: {**defaults, **chosen}[key] for key in PREPROCESS_KEYS}


def _plan_of(repository: Repository, resolved: ResolvedModel) -> Plan:
    """Return the plan of a repository of the hub, or a folder, that has open_clip's configuration in it."""
    content = configuration(repository, OPEN_CLIP_CONFIG, resolved.name)
    config = dict(content.get("model_cfg", content))
    config["quick_gelu"] = bool(config.get("quick_gelu", False))
    preprocessing = _preprocessing(config, content.get("preprocess_cfg") or {}, resolved.image_size)
    place = weights_of(repository, hub_candidates(DEFAULT_FILE), OPEN_CLIP_CONFIG)
    form = "open_clip:ARCH/TAG@/path/to/weights.safetensors"
    details = {"config": OPEN_CLIP_CONFIG}
    rules = PROJECTING_TRUNK_RULES if _trunk_projects(config["vision_cfg"]) else LAYER_RULES
    return Plan(resolved, config, preprocessing, [EMBEDDING, PENULTIMATE], place, form, (), details, rules)


def _tag_config(resolved: ResolvedModel, arch: str, tag: str) -> Mapping[str, Any]:
    """Return what open_clip knows of published weights.

    QuickGELU: the setting of the tag or of the architecture, whichever has it. Recent open_clip only warns
    when OpenAI's weights meet an architecture without it, and the features are then wrong.
    """
    import open_clip

    found: Mapping[str, Any] = open_clip.get_pretrained_cfg(arch, tag)
    if not found:
        tags = open_clip.list_pretrained_tags_by_model(arch)
        raise UsageError(
            f"open_clip has no weights {tag!r} for {arch} (in {resolved.name!r}).{did_you_mean(tag, tags)} "
            f"Known: {', '.join(tags) or 'none'}. A checkpoint is given as open_clip:{arch}/path/to/weights.pt."
        )
    return found


def _usual(arch: str, quickgelu: bool) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the preprocessing that most published weights of an architecture have, open_clip's default if any has it.

    The second value warns where they differ, in preprocessing or QuickGELU: a file does not say how it was trained.
    """
    import open_clip

    tags = {tag: open_clip.get_pretrained_cfg(arch, tag) for tag in open_clip.list_pretrained_tags_by_model(arch)}
    default = vars(open_clip.transform.PreprocessCfg())
    keys = [key for key in PREPROCESS_KEYS if key != "size"]

    def of(config: Mapping[str, Any]) -> dict[str, Any]:
        return {key: default[key] if config.get(key) is None else config[key] for key in keys}

    ways = [of(config) for config in tags.values()]
    if not ways:
        return {}, ()
    chosen = of({}) if of({}) in ways else max(ways, key=ways.count)
    other = [tag for tag, config in tags.items() if of(config) != chosen]
    gelu = [tag for tag, config in tags.items() if bool(config.get("quick_gelu", False)) != quickgelu]
    differing = [
        f"{what} as {shortened(names, 2)}" for what, names in (("preprocessing", other), ("QuickGELU", gelu)) if names
    ]
    if not differing:
        return chosen, ()
    activation = "QuickGELU" if quickgelu else "GELU"
    return chosen, (
        f"The file does not say how it was trained: {activation} and {describe_config(chosen)} were taken, not "
        f"{' or '.join(differing)}. To say it, write open_clip:{arch}/TAG@PATH with the tag of the weights it is or "
        "was trained from.",
    )


def _published(resolved: ResolvedModel, tag_config: Mapping[str, Any]) -> WeightsPlace:
    # Older open_clip knows only OpenAI's own URLs, whose TorchScript files cannot be read safely:
    # the alias names the hub repository with the same weights as safetensors.
    entry = f"{resolved.alias.hub}/" if resolved.alias and resolved.alias.hub else tag_config.get("hf_hub")
    if entry:
        repository, _, filename = str(entry).rpartition("/")
        return HubFile(repository, hub_candidates(filename or DEFAULT_FILE))
    url = tag_config.get("url")
    return UrlFile(url, expanded(URL_FOLDER) / url.rpartition("/")[2]) if url else None


def _build(plan: Plan, path: Path) -> tuple[Any, Checkpoint | None, Fit]:
    """Build the network and put the weights into it; ModelError says what does not fit."""
    import open_clip

    config, arch = _class_config(plan.architecture), _architecture(plan.resolved)
    custom = config.pop("custom_text")
    kind = (open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP) if custom else open_clip.CLIP
    try:
        module = kind(**config)
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers", f"The model {plan.resolved.name}") from error
    except OSError as error:  # a Hugging Face text tower asks the hub for its configuration
        raise ModelError(
            f"the files of {plan.resolved.name} other than its weights are not available: {error}"
        ) from error
    check_patches(module.visual, plan.resolved)
    if kind_of(path) == "npz":
        return _of_big_vision(module, path, arch), None, Fit()
    checkpoint = read_checkpoint(path)
    if "logit_bias" in {name.rpartition(".")[2] for name in checkpoint.state} and module.logit_bias is None:
        module.logit_bias = torch.nn.Parameter(torch.zeros(()))  # trained with the loss of SigLIP
    _check_positions(plan, module, checkpoint)
    stretch = plan.resolved.image_size is not None
    found = fit(module, checkpoint, f"open_clip {arch}", convert=lambda state: _converted(module, state, stretch))
    return module, checkpoint, found


def _class_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of open_clip's class, with `custom_text`: nothing in it fetches weights of its own."""
    made = copy.deepcopy(dict(config))
    made["custom_text"] = bool(made.get("custom_text") or "hf_model_name" in made["text_cfg"])
    if "timm_model_name" in made["vision_cfg"]:
        made["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in made["text_cfg"]:
        made["text_cfg"]["hf_model_pretrained"] = False
    return made


def _converted(module: Any, state: dict[str, torch.Tensor], stretch: bool) -> dict[str, torch.Tensor]:
    """Return weights under the names of open_clip's network, as its own loader does.

    stretch: whether the positions of the image tower are brought to another image size; those of texts never are.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed

    state = convert_state_dict(module, state)
    if "positional_embedding" in state and not hasattr(module, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):
        own = getattr(module, name, None)
        if own is not None and name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(own.shape)
    if module.logit_bias is not None and "logit_bias" not in state and "logit_scale" in state:
        state["logit_bias"] = torch.zeros_like(state["logit_scale"])
    if stretch:
        resize_pos_embed(state, module)
        trunk, start = getattr(module.visual, "trunk", None), "visual.trunk."
        filter_fn = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)  # timm's
        if filter_fn is not None:
            own = filter_fn(
                {name[len(start) :]: state.pop(name) for name in list(state) if name.startswith(start)}, trunk
            )
            state.update({start + name: value for name, value in own.items()})
    return state


def _of_big_vision(module: Any, path: Path, arch: str) -> Any:
    """Fill a network from big_vision's own format, NumPy arrays, which open_clip reads."""
    from open_clip.convert import load_big_vision_weights

    try:
        load_big_vision_weights(module, str(path))
    except (KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"{path}: does not fit open_clip {arch}: {type(error).__name__}: {first_line(error)}"
        ) from error
    return module


def _check_positions(plan: Plan, module: Any, checkpoint: Checkpoint) -> None:
    """Say it in words where weights are of another image size or context: open_clip would stretch them."""
    arch, target = _architecture(plan.resolved), plan.resolved.target
    for name, value in checkpoint.state.items():
        if not name.endswith("positional_embedding") or "attnpool" in name or value.ndim != 2:
            continue
        tower = module.visual if name.endswith("visual.positional_embedding") else getattr(module, "text", module)
        own = getattr(tower, "positional_embedding", None)
        if own is None or own.ndim != 2 or len(own) == len(value):
            continue
        if tower is module.visual and plan.resolved.image_size is not None:
            continue  # stretched, as was asked for
        if tower is module.visual:
            raise ModelError(
                f"{checkpoint.path}: has {len(value)} image positions and {arch} has {len(own)}: the weights are of "
                f"another image or patch size. Name the architecture they were trained with instead of {target!r}."
            )
        raise ModelError(
            f"{checkpoint.path}: was trained with texts of {len(value)} tokens and {arch} reads {len(own)}. Put the "
            f"{OPEN_CLIP_CONFIG} it was trained with next to it, or one that has open_clip's own settings of {arch} as "
            f'model_cfg, with "context_length": {len(value) - len(own) + module.context_length} in text_cfg.'
        )


def make_tokenizer(plan: Plan) -> Any:
    """Return the tokenizer of the text configuration that the network has."""
    import open_clip

    name, text = plan.resolved.name, plan.architecture["text_cfg"]
    try:
        if "config" not in plan.details:
            return open_clip.get_tokenizer(_architecture(plan.resolved))
        options = {"context_length": text.get("context_length", 77), **text.get("tokenizer_kwargs", {})}
        if "hf_tokenizer_name" not in text:
            return open_clip.SimpleTokenizer(**options)
        folder = _config_folder(plan.resolved)
        own = (folder / "tokenizer_config.json").is_file()
        return open_clip.tokenizer.HFTokenizer(str(folder) if own else text["hf_tokenizer_name"], **options)
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers", f"The tokenizer of {name}") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the tokenizer of {name} is not in the local cache and cannot be downloaded: {error}"
        ) from error


def _check_extras(plan: Plan) -> None:
    """Raise MissingExtraError before any weights are fetched."""
    text = plan.architecture["text_cfg"]
    if ("hf_tokenizer_name" in text or "hf_model_name" in text) and find_spec("transformers") is None:
        raise MissingExtraError("transformers", "transformers", f"The text encoder of {plan.resolved.name}")


def _config_folder(resolved: ResolvedModel) -> Path:
    """Return the folder with the configuration of a model."""
    if resolved.repository is not None:
        return (resolved.repository.find(OPEN_CLIP_CONFIG) or Path()).parent
    return resolved.checkpoint.parent if resolved.checkpoint else Path()


def _architecture(resolved: ResolvedModel) -> str:
    if resolved.repository is not None:
        return resolved.repository.id
    return resolved.target.partition("/")[0]
