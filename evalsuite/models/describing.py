"""What a model is, as far as that is known without loading its weights: lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalsuite.errors import EvalsuiteError, ModelError
from evalsuite.models import pocket
from evalsuite.models.loading import known_logits, settled, skeleton, weights_fingerprint
from evalsuite.models.names import ResolvedModel
from evalsuite.models.plans import Plan
from evalsuite.models.sizes import model_size
from evalsuite.models.weights import HubFile, UrlFile, find_weights


def model_lines(resolved: ResolvedModel, cache_dir: Path | None) -> list[tuple[str, str]]:
    """Return (what, value) about a model; no network is asked and no weights are loaded.

    Raises UsageError for weights or an architecture that do not exist.
    """
    found = [("name", resolved.slug), ("backend", " ".join(dict.fromkeys((resolved.backend, resolved.target))))]
    known = settled(resolved)
    if known is None:
        return [*found, ("everything else", "is known when the configuration of the repository is on this machine")]
    resolved = known
    if resolved.alias is not None:
        alias = resolved.alias
        found += [("row of the paper", f"{alias.published} (weights: {alias.weight_fidelity})")]
        found += [("note", alias.note)] if alias.note else []
    found += _layers(resolved)
    if resolved.is_code:
        return [*found, ("everything else", "is known when its code has run")]
    size = model_size(resolved, cache_dir)
    if size is not None:
        millions = f"{size.parameters / 1e6:.1f} million parameters"
        found += [("image encoder", f"{millions}, {size.gflops:g} GFLOPs, images of {size.input_size} pixels")]
    if resolved.backend in ("open_clip", "timm", "torchvision"):
        found += _of_plan(resolved, cache_dir)
    if resolved.backend in ("hf", "features"):
        found += _of_files(resolved, cache_dir)
    if resolved.backend == "pocket":
        found += pocket.about(resolved)
    logits = known_logits(resolved, cache_dir=cache_dir)
    if logits is not None:
        found.append(("logit", f"{logits.scale:.2f} x cosine{f' {logits.bias:+.2f}' if logits.bias else ''}"))
    return [*found, ("fingerprint", weights_fingerprint(resolved, cache_dir=cache_dir) or "known with the weights")]


def _of_files(resolved: ResolvedModel, cache_dir: Path | None) -> Iterator[tuple[str, str]]:
    from evalsuite.models import feature_folders, transformers_models

    if resolved.backend == "hf":
        return transformers_models.described(resolved, cache_dir)
    return feature_folders.described(resolved, cache_dir)


def _layers(resolved: ResolvedModel) -> Iterator[tuple[str, str]]:
    """Yield the layers with their dimensions, counted on the meta device, and what the linear probe reads."""
    bones = skeleton(resolved)
    if bones is None:
        return
    try:
        sizes = bones.sizes()
    except ModelError as error:
        yield "layers", str(error)
        return
    yield "layers", ", ".join(f"{name} {size}" for name, size in sizes.items()) + "; of any module by its path"
    yield "linear probe reads", f"penultimate: {bones.rule}"


def _of_plan(resolved: ResolvedModel, cache_dir: Path | None) -> Iterator[tuple[str, str]]:
    from evalsuite.models import open_clip_models, timm_models, torchvision_models
    from evalsuite.models.identity import describe_config

    modules: dict[str, Any] = {
        "open_clip": open_clip_models, "timm": timm_models, "torchvision": torchvision_models
    }  # fmt: skip
    plan: Plan = modules[resolved.backend].make_plan(resolved)
    yield "weights", _place(plan, cache_dir)
    if resolved.backend == "open_clip":
        yield "activation", "QuickGELU" if plan.quickgelu else "that of the architecture, without QuickGELU"
        yield "texts", _texts(plan)
    yield "preprocessing", f"RGB, {describe_config(plan.preprocessing)}"
    for warning in plan.warnings:
        yield "warning", warning


def _place(plan: Plan, cache_dir: Path | None) -> str:
    weights = find_weights(plan.place, cache_dir)
    if weights is not None:
        return weights.source
    if isinstance(plan.place, HubFile):
        return f"hub repository {plan.place.repository}, not on this machine"
    return f"{plan.place.url}, not on this machine" if isinstance(plan.place, UrlFile) else "none are published"


def _texts(plan: Plan) -> str:
    """Return the rules of the tokenizer, asked of itself where it needs no download."""
    from evalsuite.models.open_clip_models import make_tokenizer
    from evalsuite.models.text_rules import text_rules

    text = plan.architecture["text_cfg"]
    if "hf_tokenizer_name" in text:
        own = {"tokenizer": text["hf_tokenizer_name"], **text.get("tokenizer_kwargs", {})}
        rules = ", ".join(f"{name} {value}" for name, value in own.items())
        return f"context {text.get('context_length', 77)}, {rules}"
    try:
        found = text_rules(make_tokenizer(plan))
    except EvalsuiteError as error:
        return str(error)
    return "unknown" if found is None else str(found)
