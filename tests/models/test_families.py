"""Every family of open_clip and timm: layers, preprocessing, tokens and embeddings are those of the library itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any

import open_clip
import pytest
import timm
import torch
from torch import nn

from evalsuite.models import open_clip_models, timm_models
from evalsuite.models.layers import layer_function, undisturbed, unnormalised
from evalsuite.models.loading import skeleton
from evalsuite.models.named_layers import usual_sizes
from tests.models.families import PAGE, Row, all_rows, families, head, known_rows, page_of, resolved

CONSTRAINTS = PAGE.parents[1] / "constraints.txt"

TRANSFORMERS = ("vision_transformer", "eva")
"""Modules of timm whose networks are alike from block to block: one is enough to see what is around them."""


@cache
def table(library: str) -> list[Row]:
    """Return the rows of the page."""
    return known_rows(library, PAGE.read_text("utf-8"))


def of_the_constraints() -> bool:
    """Tell whether the libraries are those of the page: others have other families."""
    wanted = dict(re.findall(r"^(open-clip-torch|timm)==(\S+)", CONSTRAINTS.read_text("utf-8"), re.MULTILINE))
    return all(version(name) == found for name, found in wanted.items())


with_constraints = pytest.mark.skipif(not of_the_constraints(), reason="the page is of the versions in constraints.txt")
STALE = "docs/families.md is stale: type `make docs`"


@with_constraints
def test_the_page_has_every_family_of_these_versions() -> None:
    assert PAGE.read_text("utf-8").startswith(head()), STALE
    for library in ("open_clip", "timm"):
        assert {row.family: row.members for row in table(library)} == {
            family: tuple(members) for family, members in families(library).items()
        }, STALE


@with_constraints
@pytest.mark.families
def test_the_page_is_what_is_counted() -> None:
    page = page_of({name: all_rows(name, PAGE.read_text("utf-8")) for name in ("open_clip", "timm")})
    assert page == PAGE.read_text("utf-8"), STALE


def hold(row: Row, module: nn.Module, found: dict[str, torch.Tensor], batch: torch.Tensor) -> None:
    """Hold the line of the page against a network."""
    sizes = {name: values.shape[1] for name, values in found.items()}
    sizes |= dict(usual_sizes(module, layer_function(module)[0], batch))
    if of_the_constraints():
        assert row.line(sizes) in PAGE.read_text("utf-8"), STALE


@pytest.mark.parametrize(
    ("name", "penultimate", "embedding"),
    [
        ("EVA02-B-16", 768, 512),
        ("MobileCLIP-S1", 1024, 512),
        ("MobileCLIP-B", 768, 512),
        ("MobileCLIP2-S0", 1024, 512),
        ("MobileCLIP2-S3", 3072, 768),
        ("PE-Core-T-16-384", 192, 512),
        ("PE-Core-B-16", 768, 1024),
    ],
)
def test_towers_whose_trunk_ends_in_the_projection_are_read_before_it(
    name: str, penultimate: int, embedding: int
) -> None:
    if name not in open_clip.list_models():
        pytest.skip(f"this open_clip has no {name}")
    bones = skeleton(resolved("open_clip", name))
    assert bones is not None
    sizes = bones.sizes()
    assert (sizes["penultimate"], sizes["embedding"]) == (penultimate, embedding)


def built(make: Callable[[], Any]) -> Any:
    """Build a network whose parameters take no time and no memory, and then give it small random values."""
    register = nn.Module.register_parameter

    def empty(self: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(self, name, parameter)
        if parameter is not None:
            self._parameters[name] = nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    module: Any = None
    with pytest.MonkeyPatch.context() as patch, suppress(RuntimeError):  # some encode an image to find their sizes
        patch.setattr(nn.Module, "register_parameter", empty)
        patch.setattr(nn.Module, "to", lambda self, *given, **keywords: self)
        module = make()
    if module is None or any(buffer.is_meta for buffer in module.buffers()):  # made where the parameters are
        module = make()
    return filled(shortened(module))


def filled(module: nn.Module) -> nn.Module:
    """Give a network small random values, those of norms around 1."""
    noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is None:
                continue
            size = parameter.numel()
            fan = max(1, size // max(1, parameter.shape[0])) if parameter.ndim > 1 else 100
            shift = 1.0 if parameter.ndim == 1 and name in ("weight", "gamma", "scale") else 0.0
            # Half of what keeps norms: the sums of many branches of FastViT, whose batch norms know no data, overflow.
            values = ((noise * fan**-0.5 + shift) / 2).repeat(size // len(noise) + 1)[:size].view(parameter.shape)
            part._parameters[name] = nn.Parameter(values, requires_grad=False)
    return module.eval()


def shortened(module: Any) -> Any:
    """Leave one block of each transformer of open_clip, and of those of timm that are alike from block to block."""
    for part in list(module.modules()):
        if type(part).__module__.startswith("open_clip") and isinstance(
            getattr(part, "resblocks", None), nn.ModuleList
        ):
            part.resblocks = part.resblocks[:1]
        elif type(part).__module__.rpartition(".")[2] in TRANSFORMERS and hasattr(part, "blocks"):
            part.blocks = part.blocks[:1]
    return module


def read(module: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the layers as a run reads them."""
    with undisturbed(module):
        return layer_function(module)[0](module)(batch)


def noise(*shape: int) -> torch.Tensor:
    """Return a batch."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def from_open_clip(row: Row, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the model as open_clip builds it for the tag, without its weights."""
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *given, **keywords: "")
    name = resolved("open_clip", row.architecture)
    tag = None if name.checkpoint else name.target.partition("/")[2]
    return built(lambda: open_clip.create_model(row.architecture, pretrained=tag, load_weights=False))


@pytest.mark.skipif("load_weights" not in inspect.signature(open_clip.create_model).parameters, reason="open_clip < 3")
@pytest.mark.parametrize("row", table("open_clip"), ids=lambda row: row.architecture)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@torch.no_grad()
def test_a_family_of_open_clip(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    if "encoder" in row.family[2]:  # it needs a configuration of the hub
        assert not of_the_constraints() or row.line() in PAGE.read_text("utf-8"), STALE
        return
    model = from_open_clip(row, monkeypatch)
    plan = open_clip_models.make_plan(resolved("open_clip", row.architecture))
    theirs = open_clip.get_model_preprocess_cfg(model)
    wanted = {key: theirs[key] for key in open_clip_models.PREPROCESS_KEYS}
    if isinstance(wanted["size"], tuple) and len(set(wanted["size"])) == 1:
        wanted["size"] = wanted["size"][0]  # open_clip's transform does the same
    assert dict(plan.preprocessing) == wanted
    side = (wanted["size"],) * 2
    batch = noise(1, 3, *side)
    found = read(model, batch)
    hold(row, model, found, batch)
    embedding = unnormalised(model.encode_image)(batch)
    assert torch.isfinite(embedding).all() and embedding.std() > 0 and torch.equal(found["embedding"], embedding)
    projected = _projected(model, found["penultimate"])
    assert torch.allclose(projected, embedding, atol=1e-4 * float(embedding.abs().max()))
    if "hub" in row.family[2]:
        return  # its tokenizer is not on this machine
    texts = ["a photo of a dog", "A DOG!", "dog " * 100]
    tokens = open_clip_models.make_tokenizer(plan)(texts)
    assert torch.equal(tokens, open_clip.get_tokenizer(row.architecture)(texts))
    assert tokens.shape[1] == model.context_length and model.encode_text(tokens).shape == (3, embedding.shape[1])


def _projected(model: Any, penultimate: torch.Tensor) -> torch.Tensor:
    """Put what goes into the projection through it, by the parts of the network."""
    tower = model.visual
    if isinstance(getattr(tower, "proj", None), nn.Parameter):
        return penultimate @ tower.proj
    if hasattr(tower, "trunk"):
        return tower.head(tower.trunk.get_classifier()(penultimate))
    return penultimate


CHEAP = ("resnet", "vision_transformer", "eva", "convnext", "fastvit", "efficientnet")


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=() if row.family[0] in CHEAP else pytest.mark.families, id=row.architecture)
        for row in table("timm")
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@torch.no_grad()
def test_a_family_of_timm(row: Row) -> None:
    network = built(lambda: timm.create_model(row.architecture, pretrained=False))
    plan = timm_models.make_plan(resolved("timm", row.architecture))
    theirs = timm.data.resolve_model_data_config(network)
    assert dict(plan.preprocessing) == theirs
    batch, into = noise(1, *theirs["input_size"]), list[torch.Tensor]()
    classifier = network.get_classifier()
    if isinstance(classifier, nn.Linear):
        classifier.register_forward_pre_hook(lambda part, given: into.append(given[0]))
    logits = network(batch)
    found = read(network, batch)
    hold(row, network, found, batch)
    penultimate = found["penultimate"]
    assert torch.isfinite(penultimate).all() and penultimate.ndim == 2
    if into and not torch.equal(penultimate, into[0]):  # the batch norm of its head comes in between
        assert torch.allclose(network.head(penultimate), logits, atol=1e-5)
