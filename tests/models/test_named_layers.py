"""Layers that are chosen by name: what they hold, that nothing is changed for them, and how a wrong name is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from timm.models.eva import Eva
from torch import nn

import evalsuite
from evalsuite.errors import UsageError
from evalsuite.models import modules
from evalsuite.models.loading import load_model
from evalsuite.models.modules import TorchImageModel, wrap_module
from evalsuite.models.named_layers import with_layer
from evalsuite.records import Result
from tests.datasets import write_folder_task
from tests.models.test_layers import Clip
from tests.processes import WarmCli


def preprocess(size: int) -> Callable[[Image.Image], torch.Tensor]:
    """Return a preprocessing to squares."""

    def prepare(image: Image.Image) -> torch.Tensor:
        pixels = image.convert("RGB").resize((size, size)).tobytes()
        return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(size, size, 3).permute(2, 0, 1) / 255

    return prepare


def chosen(network: nn.Module, layer: str, size: int) -> torch.Tensor:
    """Return what a layer of a network holds of three images, and see that the other layers stay as they are."""
    model = wrap_module(network, preprocess(size), name="mine")
    more = with_layer(model, layer)
    batch = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    plain, found = model.encode_images(batch), more.encode_images(batch)
    assert set(found) == {*plain, layer} and all(torch.equal(found[name], plain[name]) for name in plain)
    assert more.info.layers == {name: values.shape[1] for name, values in found.items()}
    return found[layer]


@functools.cache
def vit() -> Any:
    """A ViT of timm with a class token."""
    torch.manual_seed(0)
    return timm.create_model("test_vit", img_size=32).eval()


def registers() -> Any:
    """A network as DINOv3 is built: a class token, registers, rotary positions."""
    torch.manual_seed(0)
    kind: Any = Eva
    return kind(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_reg_tokens=4, use_abs_pos_emb=False,
        use_rot_pos_emb=True, num_classes=0, global_pool="avg",
    ).eval()  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("network", "prefix"), [(vit, 1), (registers, 5)])
def test_the_class_token_and_the_mean_of_the_patches_are_those_after_the_last_norm(
    network: Callable[[], Any], prefix: int
) -> None:
    module = network()
    batch = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = module.forward_features(batch)
    both = torch.cat([tokens[:, 0], tokens[:, prefix:].mean(dim=1)], dim=1)
    assert torch.equal(chosen(module, "cls+avgpool", 32), both)
    assert torch.equal(chosen(module, "cls", 32), tokens[:, 0])
    assert torch.equal(chosen(module, "avgpool", 32), both[:, both.shape[1] // 2 :])


@torch.no_grad()
def test_in_a_clip_vit_the_class_token_is_what_is_before_the_projection() -> None:
    module = Clip()
    batch = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    penultimate = wrap_module(module, preprocess(8), name="mine").encode_images(batch)["penultimate"]
    assert torch.equal(chosen(module, "cls", 8), penultimate)
    _, tokens = module.visual._pool(module.visual.transformer(module.visual._embeds(batch)))
    assert torch.allclose(chosen(module, "avgpool", 8), tokens.mean(dim=1), atol=1e-6)


@torch.no_grad()
def test_a_module_is_read_by_its_path_as_a_hook_sees_it_and_stays_as_it_is() -> None:
    module, seen = vit(), list[torch.Tensor]()
    before = {name: dict(vars(part)) for name, part in module.named_modules()}
    block = chosen(module, "blocks.2.cls", 32)
    mean = chosen(module, "blocks.2.avgpool+norm.cls", 32)
    assert {name: dict(vars(part)) for name, part in module.named_modules()} == before
    hook = module.blocks[2].register_forward_hook(lambda part, given, output: seen.append(output))
    module(torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    hook.remove()
    assert torch.equal(block, seen[0][:, 0])
    assert torch.equal(mean[:, :64], seen[0][:, 1:].mean(dim=1)) and mean.shape[1] == 128


@torch.no_grad()
def test_maps_are_averaged_over_their_places_whichever_way_they_lie() -> None:
    torch.manual_seed(0)
    batch = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    resnet = timm.create_model("test_resnet").eval()
    assert torch.equal(chosen(resnet, "layer1.avgpool", 64), resnet.layer1(resnet.maxpool(resnet.act1(resnet.bn1(
        resnet.conv1(batch))))).mean(dim=(2, 3)))  # fmt: skip
    swin: Any = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2, embed_dim=12,
                                  depths=(1, 1), num_heads=(1, 2)).eval()  # fmt: skip
    assert torch.equal(chosen(swin, "avgpool", 64), swin.forward_features(batch).mean(dim=(1, 2)))


@pytest.mark.parametrize(
    ("network", "layer", "said"),
    [
        (vit, "clss", ["has no 'clss'. Did you mean cls", "penultimate, cls, avgpool, cls+avgpool", "blocks", "norm"]),
        (vit, "embedding", ["has no 'embedding'"]),
        (vit, "blocks.2", ["gives (1, 5, 64) for a batch of 1,", "blocks.2.cls or blocks.2.avgpool"]),
        (vit, "head", ["does not call head"]),
        (Clip, "text.transformer", ["penultimate, embedding, cls", "visual.transformer"]),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), "cls", ["It has penultimate, and modules", "0, 1"]),
    ],
)
def test_a_layer_that_is_not_there_is_refused_with_what_there_is(
    network: Callable[[], nn.Module], layer: str, said: list[str]
) -> None:
    size = 32 if network is vit else 8
    with pytest.raises(UsageError) as caught:
        with_layer(wrap_module(network(), preprocess(size), name="mine"), layer)
    message = str(caught.value)
    assert message.startswith(f"--layer {layer}: ") and message.count("\n") < 3
    for words in said:
        assert words in message, message


def test_a_compiled_network_gives_the_chosen_layer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules.torch, "compile", functools.partial(torch.compile, backend="eager"))
    model = with_layer(wrap_module(vit(), preprocess(32), name="mine"), "cls+blocks.1.avgpool")
    fast, batch = modules.compiled(model), torch.randn(3, 3, 32, 32)
    assert isinstance(fast, TorchImageModel)
    for _ in range(2):
        for name, values in model.encode_images(batch).items():
            assert torch.allclose(fast.encode_images(batch)[name], values, atol=1e-5)


def evaluated(tmp_path: Path, **options: Any) -> list[Result]:
    """Run both protocols of the paper on a small CLIP."""
    model = wrap_module(Clip(), preprocess(8), encode, name="mine/clip")
    task = str(tmp_path / "shapes.yaml")
    return list(
        evalsuite.evaluate(model, task, output=tmp_path / "out", cache_dir=tmp_path / "cache", device="cpu", **options)
    )


def encode(texts: list[str]) -> torch.Tensor:
    """Return the first bytes of texts."""
    return torch.tensor([list(text.encode()[:8].ljust(8)) for text in texts])


@pytest.fixture
def clip_with_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the small CLIP a text encoder."""
    monkeypatch.setattr(Clip, "encode_text", lambda self, tokens: tokens[:, -3:].float(), raising=False)


def test_one_pass_serves_every_protocol_and_the_layer_is_in_the_record(tmp_path: Path, clip_with_texts: None) -> None:
    write_folder_task(tmp_path)
    zero_shot, probe = evaluated(tmp_path, layer="cls+avgpool")
    assert zero_shot.timings.images_encoded + probe.timings.images_encoded == 27  # 18 to train, 9 to test: each once
    assert probe.changed_options == {"layer": "cls+avgpool"} and probe.options["layer"] == "cls+avgpool"
    assert probe.model_info is not None and probe.model_info.layers == {
        "penultimate": 8,
        "embedding": 3,
        "cls+avgpool": 16,
    }
    assert zero_shot.changed_options == {} and zero_shot.model_info.layers == {"penultimate": 8, "embedding": 3}
    again = evaluated(tmp_path, layer="cls+avgpool")
    assert [result.timings for result in again] == [zero_shot.timings, probe.timings]  # stored
    usual_zero_shot, usual = evaluated(tmp_path)
    assert usual_zero_shot.timings == zero_shot.timings  # the layer is none of its business
    assert usual.fingerprint != probe.fingerprint and usual.run_key == probe.run_key and usual.changed_options == {}
    assert len({probe.options_hash, usual.options_hash}) == 2


def test_layers_that_every_pass_stores_need_no_pass_of_their_own(tmp_path: Path, clip_with_texts: None) -> None:
    write_folder_task(tmp_path)
    (usual,) = evaluated(tmp_path, protocols="linear_probe")
    (same,) = evaluated(tmp_path, protocols="linear_probe", layer="penultimate")
    assert same.timings == usual.timings and same.changed_options == {}
    (joint,) = evaluated(tmp_path, protocols="linear_probe", layer="embedding")
    assert joint.timings.images_encoded == 0 and joint.changed_options == {"layer": "embedding"}
    assert joint.fingerprint != usual.fingerprint


def test_a_wrong_layer_is_refused_before_any_work(cli: WarmCli, tmp_path: Path) -> None:
    done = cli("run", "-m", "timm:test_vit.r160_in1k", "-t", "digits", "-o", tmp_path / "o", "--layer", "blocks.99.cls")
    assert done.returncode == 2 and done.stderr.count("\n") <= 5, done.stderr
    assert "has no 'blocks.99.cls'" in done.output
    for options, said in (
        ({"layer": "cls"}, "pocket has no 'cls'"),
        ({"layer": "cls", "protocols": "zero_shot"}, "zero_shot compares images with texts"),
    ):
        with pytest.raises(UsageError, match=said):
            evalsuite.evaluate("pocket", "digits", output=tmp_path / "o", **options)
    with pytest.raises(UsageError, match=r"pixels has the layers penultimate\."):
        with_layer(load_model("pixels"), "cls")
