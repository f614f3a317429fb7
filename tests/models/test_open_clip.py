"""open_clip models: small architectures with random weights, compared with open_clip alone."""

from __future__ import annotations

import io
import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from evalsuite.errors import ModelError, UsageError
from evalsuite.models import open_clip_models
from evalsuite.models.base import ImageTextModel
from evalsuite.models.layers import activations, chosen_activation
from evalsuite.models.loading import load_model, weights_fingerprint
from evalsuite.models.modules import wrap_module
from evalsuite.models.names import resolve
from evalsuite.models.weights import HubFile

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "tiny-vit": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT},
    "tiny-vit-wide": {"embed_dim": 12, "vision_cfg": {**VISION, "width": 48}, "text_cfg": TEXT},
    "tiny-vit-deep": {"embed_dim": 12, "vision_cfg": {**VISION, "layers": 3}, "text_cfg": TEXT},
    "tiny-vit-48px": {"embed_dim": 12, "vision_cfg": {**VISION, "image_size": 48}, "text_cfg": TEXT},
    "tiny-rn": {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    },
    "tiny-timm": {
        "embed_dim": 12,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
        "custom_text": True,
    },
    "tiny-timm-own-head": {
        "embed_dim": 12,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None, "image_size": 160},
        "text_cfg": TEXT,
        "custom_text": True,
    },
    "tiny-timm-no-projection": {
        "embed_dim": 64,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "none", "image_size": 160},
        "text_cfg": TEXT,
        "custom_text": True,
    },
    "tiny-coca": {
        "embed_dim": 12,
        "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True, "context_length": 76},
        "multimodal_cfg": {**TEXT, "dim_head": 8, "n_queries": 16, "attn_pooler_heads": 2},
        "custom_text": True,
    },
}


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("configs")
    for name, config in ARCHITECTURES.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)
    for name in ARCHITECTURES:
        open_clip.factory._MODEL_CONFIGS.pop(name)


def save_random(arch: str, path: Path, seed: int = 0, **options: Any) -> torch.nn.Module:
    torch.manual_seed(seed)
    module = open_clip.create_model(arch, **options).eval()
    with torch.no_grad():  # batch norms that a fresh network makes the identity would hide mistakes
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous().clone() for key, value in module.state_dict().items()}, path)
    else:
        torch.save(module.state_dict(), path)
    return module


def images(size: int) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("arch", ["tiny-vit", "tiny-rn", "tiny-timm", "tiny-timm-own-head", "tiny-coca"])
def test_features_are_those_of_open_clip(arch: str, tmp_path: Path) -> None:
    reference = save_random(arch, tmp_path / "w.pt")
    model = load_model(f"open_clip:{arch}/{tmp_path / 'w.pt'}")
    assert isinstance(model, ImageTextModel)
    batch = images(model.info.input_size)
    found = model.encode_images(batch)
    texts = ["a photo of a dog", "a cat", ""]
    tokens = open_clip.get_tokenizer(arch)(texts)
    with torch.no_grad():
        assert torch.allclose(found["embedding"], reference.encode_image(batch, normalize=False), atol=1e-6)
        assert torch.allclose(model.encode_texts(texts), reference.encode_text(tokens, normalize=False), atol=1e-6)
    assert {layer: values.shape[1] for layer, values in found.items()} == model.info.layers
    assert found["embedding"].norm(dim=1).sub(1).abs().min() > 1e-3  # not normalised
    assert not found["embedding"].requires_grad


def test_penultimate_of_each_kind_of_tower(tmp_path: Path) -> None:
    loaded = {}
    for arch in ("tiny-vit", "tiny-rn", "tiny-timm"):
        reference = save_random(arch, tmp_path / f"{arch}.pt")
        model = load_model(f"open_clip:{arch}/{tmp_path / arch}.pt")
        loaded[arch] = (model.encode_images(images(model.info.input_size)), reference, model.info)
    vit, reference, info = loaded["tiny-vit"]
    assert info.layers == {"penultimate": 32, "embedding": 12}
    assert torch.equal(vit["penultimate"] @ reference.visual.proj, vit["embedding"])
    seen: list[torch.Tensor] = []
    hook = reference.visual.ln_post.register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.no_grad():
        reference.visual(images(32))
    hook.remove()
    assert torch.allclose(vit["penultimate"], seen[0][:, 0], atol=1e-6)  # the class token after ln_post
    resnet, _, _ = loaded["tiny-rn"]
    assert torch.equal(resnet["penultimate"], resnet["embedding"])
    timm, reference, info = loaded["tiny-timm"]
    assert info.layers == {"penultimate": 64, "embedding": 12}
    with torch.no_grad():
        assert torch.allclose(timm["penultimate"], reference.visual.trunk(images(160)), atol=1e-6)


def test_where_the_trunk_s_own_head_is_the_projection_the_probe_reads_what_goes_into_it(tmp_path: Path) -> None:
    batch = images(160)
    for arch, size in (("tiny-timm-own-head", 64), ("tiny-timm-no-projection", 64)):
        reference = save_random(arch, tmp_path / f"{arch}.pt")
        model = load_model(f"open_clip:{arch}/{tmp_path / arch}.pt")
        found, trunk = model.encode_images(batch), reference.visual.trunk
        assert found["penultimate"].shape == (3, size)
        with torch.no_grad():
            assert torch.equal(trunk.get_classifier()(found["penultimate"]), found["embedding"])
            assert torch.equal(found["embedding"], reference.visual(batch))
        wrapped = wrap_module(reference, model.preprocess, name="mine")
        assert torch.equal(wrapped.encode_images(batch)["penultimate"], found["penultimate"])


def test_fingerprints_change_where_the_layer_changed_and_nowhere_else(tmp_path: Path) -> None:
    def key(arch: str) -> str:
        return weights_fingerprint(f"open_clip:{arch}/{tmp_path / 'w.safetensors'}") or ""

    save_file({"weight": torch.arange(3.0)}, tmp_path / "w.safetensors")
    # As version 0.1.0 has them.
    kept = {
        "tiny-vit": "16d142541fb2",
        "tiny-rn": "f54305755a87",
        "tiny-timm": "defbb5c071b6",
        "tiny-timm-no-projection": "5831e1219afe",
    }
    assert {arch: key(arch)[:12] for arch in kept} == kept
    assert key("tiny-timm-own-head")[:12] != "d7a679a38b60"


def test_encoding_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    save_random("tiny-vit", tmp_path / "w.pt")
    model: Any = load_model(f"open_clip:tiny-vit/{tmp_path / 'w.pt'}")
    before = list(model.module.state_dict())
    model.encode_images(images(32))
    assert list(model.module.state_dict()) == before
    assert isinstance(model.module.visual.proj, torch.nn.Parameter)
    with pytest.raises(RuntimeError):
        model.encode_images(images(32)[:, :1])  # a failing pass must put the projection back as well
    assert isinstance(model.module.visual.proj, torch.nn.Parameter)


def test_texts_are_encoded_in_chunks_and_none_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_random("tiny-vit", tmp_path / "w.pt")
    model: Any = load_model(f"open_clip:tiny-vit/{tmp_path / 'w.pt'}")
    texts = [f"a photo of {number}" for number in range(5)]
    whole = model.encode_texts(texts)
    monkeypatch.setattr("evalsuite.models.modules.TEXTS_AT_ONCE", 2)
    assert torch.allclose(model.encode_texts(texts), whole, atol=1e-6)
    assert model.encode_texts([]).shape == (0, 12)


def test_quickgelu_of_a_checkpoint_is_chosen_and_recorded(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    reference = save_random("tiny-vit", path, force_quick_gelu=True)
    plain, quick = load_model(f"open_clip:tiny-vit/{path}"), load_model(f"open_clip:tiny-vit/{path}?quickgelu")
    assert (plain.info.activation, quick.info.activation) == ("gelu", "quickgelu")
    assert plain.info.fingerprint != quick.info.fingerprint
    with torch.no_grad():
        expected = reference.encode_image(images(32))
    assert torch.allclose(quick.encode_images(images(32))["embedding"], expected, atol=1e-6)
    assert not torch.allclose(plain.encode_images(images(32))["embedding"], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "activation"),
    [("ViT-B/32", "quickgelu"), ("RN50", "quickgelu"), ("open_clip:ViT-B-32/laion2b_s34b_b79k", "gelu")],
)
def test_the_tag_decides_on_quickgelu(name: str, activation: str) -> None:
    resolved = resolve(name)
    quickgelu = open_clip_models.make_plan(resolved).architecture["quick_gelu"]
    with torch.device("meta"):
        arch = resolved.target.partition("/")[0]
        module = open_clip.create_model(arch, force_quick_gelu=quickgelu, device="meta")
    assert chosen_activation(activations(module)) == activation


def test_openai_weights_come_from_the_hub_with_openai_s_preprocessing() -> None:
    plan = open_clip_models.make_plan(resolve("ViT-L/14@336px"))
    assert plan.place == HubFile(
        "timm/vit_large_patch14_clip_336.openai", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    )
    expected = (336, open_clip.OPENAI_DATASET_MEAN, "bicubic", "shortest")
    config = plan.preprocessing
    assert (config["size"], config["mean"], config["interpolation"], config["resize_mode"]) == expected


def test_preprocessing_is_open_clip_s_and_takes_every_mode(tmp_path: Path) -> None:
    save_random("tiny-vit", tmp_path / "w.pt")
    model = load_model(f"open_clip:tiny-vit/{tmp_path / 'w.pt'}")
    _, _, expected = open_clip.create_model_and_transforms("tiny-vit")
    photo = Image.effect_mandelbrot((60, 40), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    photo = Image.merge("RGB", (photo.getchannel(0), photo.getchannel(1).rotate(90), photo.getchannel(2).rotate(180)))
    assert torch.equal(model.preprocess(photo), expected(photo))
    for mode in ("L", "1", "P", "RGBA", "CMYK", "I;16", "LA"):
        image = Image.new("I;16", (60, 40), 9000) if mode == "I;16" else photo.convert(mode)
        tensor = model.preprocess(image)
        assert (tensor.shape, tensor.dtype) == ((3, 32, 32), torch.float32)
    palette = photo.convert("P")
    assert torch.equal(model.preprocess(palette), expected(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("tiny-vit-wide", ["has other sizes for visual.", "more"]),
        ("tiny-vit-deep", ["lacks visual.transformer.resblocks.2"]),
        ("tiny-rn", ["lacks visual.", "has the unknown visual.", "probably another one"]),
        ("tiny-vit-48px", ["17 image positions", "37", "tiny-vit-48px"]),
    ],
)
def test_a_checkpoint_of_another_architecture_is_named(arch: str, said: list[str], tmp_path: Path) -> None:
    save_random("tiny-vit", tmp_path / "w.safetensors")
    with pytest.raises(ModelError) as caught:
        load_model(f"open_clip:{arch}/{tmp_path / 'w.safetensors'}")
    for words in said:
        assert words in str(caught.value)


class Boom:
    """What a malicious checkpoint holds: code that runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "extra": Boom(mark)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="refused"):
        load_model(f"open_clip:tiny-vit/{tmp_path / 'w.pt'}")
    assert not mark.exists()
    pickle.loads((lambda file: (pickle.dump(Boom(mark), file), file.getvalue())[1])(io.BytesIO()))
    assert mark.exists()  # the trap works where it is not disarmed


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("text.pt", "text.safetensors", "empty.pt", "list.pt"):
        with pytest.raises(ModelError, match=name):
            load_model(f"open_clip:tiny-vit/{tmp_path / name}")


def test_training_checkpoints_are_unwrapped(tmp_path: Path) -> None:
    reference = save_random("tiny-vit", tmp_path / "plain.pt")
    wrapped = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in reference.state_dict().items()}}
    torch.save(wrapped, tmp_path / "w.pt")
    found = load_model(f"open_clip:tiny-vit/{tmp_path / 'w.pt'}").encode_images(images(32))["embedding"]
    with torch.no_grad():
        assert torch.allclose(found, reference.encode_image(images(32)), atol=1e-6)


def test_fingerprint_is_known_before_loading_and_follows_the_weights(tmp_path: Path) -> None:
    path, cache = tmp_path / "w.safetensors", tmp_path / "cache"
    name = f"open_clip:tiny-vit/{path}"
    reference = save_random("tiny-vit", path)
    first = weights_fingerprint(name, cache_dir=cache)
    assert first == load_model(name, cache_dir=cache).info.fingerprint
    assert first == weights_fingerprint(name) == weights_fingerprint(name, cache_dir=cache)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    assert weights_fingerprint(f"open_clip:tiny-vit/{copy}") == first  # the content counts, not the name
    with torch.no_grad():
        reference.visual.proj[0, 0] += 0.01
    save_file({key: value.clone() for key, value in reference.state_dict().items()}, path)
    assert weights_fingerprint(name, cache_dir=cache) != first
    assert weights_fingerprint(f"{name}?quickgelu") != weights_fingerprint(name)


def test_no_network_is_an_answer_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert weights_fingerprint("RN101") is None
    started = time.monotonic()
    with pytest.raises(ModelError) as caught:
        load_model("RN101", offline=True)
    assert time.monotonic() - started < 5
    for words in (
        "the weights of RN101 (open_clip RN101/openai, hub repository timm/resnet101_clip.openai)",
        "not in the local cache",
        "HF_HOME",
        "open_clip:RN101/openai@/path/to/weights.safetensors",
    ):
        assert words in str(caught.value)


def test_unknown_tags_offer_the_nearest() -> None:
    for act in (load_model, weights_fingerprint):
        with pytest.raises(UsageError, match="Did you mean openai"):
            act("open_clip:ViT-B-32/opnai")
