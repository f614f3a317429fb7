"""Models in the format of transformers: tiny ones with random weights, compared with transformers itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from evalsuite.errors import MissingExtraError, ModelError, UsageError
from evalsuite.features.decoders import DECODERS, Opened
from evalsuite.models.base import ImageTextModel
from evalsuite.models.image_processors import preprocessing, read_processor
from evalsuite.models.loading import known_logits, load_model, weights_fingerprint
from evalsuite.models.names import resolve
from evalsuite.models.preprocessing import Recipe, understood
from evalsuite.models.transformers_networks import IMAGE_TYPES
from tests.models.tiny_transformers import (
    IMAGE,
    save_image_model,
    save_processor,
    save_siglip_tokenizer,
    save_text_model,
)

TEXTS = ["a photo of a dog", "the number seven", "two red airplanes above a city"]

CLASSES_OF_MORE = {"dinov2", "dinov2_with_registers"}
"""Whose classifier also reads the mean of the patches."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


def image(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", sorted(IMAGE))
def test_penultimate_is_what_the_classifier_reads(kind: str, folders: Path) -> None:
    folder = folders / kind
    if not hasattr(transformers, f"{IMAGE[kind][0]}Model"):
        pytest.skip(f"transformers {transformers.__version__} has no {kind}")
    reference = save_image_model(kind, folder)
    model = load_model(f"hf:{folder}")
    assert not isinstance(model, ImageTextModel)
    batch = torch.randn(2, 3, model.info.input_size, model.info.input_size)
    found = model.encode_images(batch)["penultimate"]
    assert found.shape == (2, model.info.layers["penultimate"])
    with torch.no_grad():
        if not hasattr(reference, "classifier") or kind in CLASSES_OF_MORE:
            base = reference.base_model if hasattr(reference, "classifier") else reference
            expected, found = base(pixel_values=batch).pooler_output, found
        else:
            expected, found = reference(pixel_values=batch).logits, reference.classifier(found)
    assert torch.allclose(found, expected.flatten(1), atol=1e-5)
    assert weights_fingerprint(f"hf:{folder}") == model.info.fingerprint


def test_every_kind_that_is_read_is_tested() -> None:
    towers = {"clip_vision_model", "siglip_vision_model"}
    smaller = {"mobilenet_v1"}  # of mobilenet_v2's form
    assert set(IMAGE) == set(IMAGE_TYPES) - towers - smaller


@pytest.mark.parametrize("kind", ["clip", "siglip", "altclip", "chinese_clip"])
def test_both_encoders_are_those_of_transformers(kind: str, folders: Path) -> None:
    folder = folders / kind
    reference = save_text_model(kind, folder)
    model: Any = load_model(f"hf:{folder}")
    assert isinstance(model, ImageTextModel)
    batch = torch.randn(2, 3, 32, 32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if kind == "siglip" else True  # as the model card of each family says
    inputs = tokenizer(TEXTS, padding=padding, return_tensors="pt", return_token_type_ids=False)
    if kind == "siglip":
        inputs.pop("attention_mask")
    with torch.no_grad():
        vision = reference.vision_model(pixel_values=batch).pooler_output
        expected = reference.visual_projection(vision) if kind != "siglip" else vision
        texts = reference.get_text_features(**inputs)
    texts = texts if isinstance(texts, torch.Tensor) else texts.pooler_output
    found = model.encode_images(batch)
    assert torch.allclose(found["penultimate"], vision, atol=1e-6)
    assert torch.allclose(found["embedding"], expected, atol=1e-6)
    assert torch.allclose(model.encode_texts(TEXTS), texts, atol=1e-6)
    assert model.info.logit_scale == pytest.approx(np.exp(3.0))
    assert model.info.logit_bias == (-2.5 if kind == "siglip" else None)
    logits = known_logits(f"hf:{folder}")
    assert logits is not None
    assert logits.scale == pytest.approx(np.exp(3.0))
    assert resolve(f"hf:{folder}").has_text
    rules = model.info.details["texts"]
    assert (rules["context"], rules["lower_case"]) == (12, True)
    assert model.text_faults() == []
    image_part = sum(value.numel() for value in reference.vision_model.parameters())
    assert model.info.parameters == image_part + (0 if kind == "siglip" else 16 * 8)


def test_the_context_is_the_tokenizer_s_where_that_is_shorter(folders: Path) -> None:
    save_text_model("clip", folders / "short", context=7)
    model: Any = load_model(f"hf:{folders / 'short'}")
    assert model.info.details["texts"]["context"] == 7


def test_siglip_s_own_tokenizer_strips_punctuation_and_pads_to_64(folders: Path) -> None:
    folder = folders / "siglip-64"
    save_text_model("siglip", folder, positions=64)
    save_siglip_tokenizer(folder)
    model: Any = load_model(f"hf:{folder}")
    rules = model.info.details["texts"]
    assert (rules["context"], rules["lower_case"], rules["no_punctuation"], rules["padding"]) == (64, True, True, 1)
    tokens = model.tokenizer(["A photo of a dog!"])
    assert tokens.shape == (1, 64)
    assert torch.equal(tokens, model.tokenizer(["a photo of a dog"]))


@pytest.mark.parametrize("kind", ["clip_vision_model", "siglip_vision_model"])
def test_an_image_tower_alone(kind: str, folders: Path) -> None:
    folder = folders / kind
    name = {"clip_vision_model": "CLIP", "siglip_vision_model": "Siglip"}[kind]
    options = {key: value for key, value in IMAGE["vit"][1].items() if key != "num_labels"}
    reference = getattr(transformers, f"{name}VisionModel")(getattr(transformers, f"{name}VisionConfig")(**options))
    reference.eval().save_pretrained(folder)
    save_processor("Siglip", folder)
    batch = torch.randn(2, 3, 32, 32)
    found = load_model(f"hf:{folder}").encode_images(batch)
    assert set(found) == {"penultimate"}
    with torch.no_grad():
        assert torch.allclose(found["penultimate"], reference(pixel_values=batch).pooler_output, atol=1e-6)


PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}),
    ("CLIP", {"size": {"shortest_edge": 30}, "crop_size": {"height": 37, "width": 37}}),  # gets a border
    ("Siglip", {}),
    ("ViT", {"do_normalize": False}),
    ("ViT", {"resample": 3, "size": {"height": 33, "width": 31}}),
    ("DeiT", {}),
    ("Bit", {}),
    ("ConvNext", {}),
    ("ConvNext", {"size": {"shortest_edge": 384}}),
    ("Beit", {}),
]


@pytest.mark.parametrize(("name", "options"), PROCESSORS)
def test_images_are_prepared_as_the_processor_does(name: str, options: dict[str, Any], folders: Path) -> None:
    folder = folders / "prepared"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folders / "swin", folder) if (folders / "swin").is_dir() else save_image_model("swin", folder)
    save_processor(name, folder, **options)
    own = preprocessing(read_processor(folder, "mine"), "mine")
    recipe = understood(own)
    assert isinstance(recipe, Recipe)
    theirs = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    for size in ((61, 47), (47, 61), (100, 35), (32, 32), (20, 20)):
        expected = theirs(images=image(*size), return_tensors="pt")["pixel_values"][0]
        assert torch.allclose(own(image(*size)), expected.float(), atol=1e-5), size
    # the other decoder crops at the same place
    pixels = DECODERS["torchvision"].pixels(Opened(b"", image(61, 47)), own, recipe)
    assert np.abs(pixels.astype(int) - recipe.pixels(image(61, 47))).max() <= 2


def test_a_processor_that_is_not_understood_is_used_as_it_is(folders: Path) -> None:
    folder = folders / "flipped"
    save_image_model("swin", folder)
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**content, "rescale_factor": 1 / 127.5}))
    model = load_model(f"hf:{folder}")
    assert understood(model.preprocess) is None
    expected = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)(
        images=image(61, 47), return_tensors="pt"
    )["pixel_values"][0]
    assert torch.equal(model.preprocess(image(61, 47)), expected.float())


def test_a_processor_that_does_more_than_it_says_is_used_as_it_is(tmp_path: Path) -> None:
    save_processor("Siglip", tmp_path)
    processor = read_processor(tmp_path, "mine")
    assert understood(preprocessing(processor, "mine")) is not None

    class Mirrored(type(processor)):  # type: ignore[misc]
        def __call__(self, images: Image.Image, **options: Any) -> Any:
            return super().__call__(images=images.transpose(Image.Transpose.FLIP_LEFT_RIGHT), **options)

    processor.__class__ = Mirrored
    own = preprocessing(processor, "mine")
    assert understood(own) is None
    assert torch.equal(own(image(61, 47)), processor(images=image(61, 47), return_tensors="pt")["pixel_values"][0])
    with pytest.raises(ModelError, match=r"Mirrored, has no other --image-size"):
        preprocessing(processor, "mine", 48)


def test_the_folder_may_be_named_alone(folders: Path) -> None:
    save_image_model("vit", folders / "alone")
    resolved = resolve(str(folders / "alone"))
    assert (resolved.backend, resolved.slug) == ("hf", "hf/alone")
    assert weights_fingerprint(str(folders / "alone")) == weights_fingerprint(f"hf:{folders / 'alone'}")


def test_what_decides_the_features_is_in_the_fingerprint(folders: Path, tmp_path: Path) -> None:
    save_text_model("clip", folders / "mark")
    seen = {weights_fingerprint(f"hf:{folders / 'mark'}")}
    for change in ("weights", "images", "texts", "architecture", "name"):
        folder = tmp_path / change
        shutil.copytree(folders / "mark", folder)
        if change == "weights":
            state = load_file(folder / "model.safetensors")
            state["logit_scale"] = state["logit_scale"] + 1
            save_file(state, folder / "model.safetensors", {"format": "pt"})
        file, key, value = {
            "images": ("preprocessor_config.json", "resample", 2),
            "texts": ("tokenizer_config.json", "model_max_length", 9),
            "architecture": ("config.json", "projection_dim", 9),
            "name": ("config.json", "_name_or_path", "elsewhere"),
            "weights": ("config.json", "transformers_version", "0"),
        }[change]
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, key: value}))
        found = weights_fingerprint(f"hf:{folder}")
        assert (found in seen) == (change == "name"), change
        seen.add(found)


def test_weights_that_lack_something_are_refused(folders: Path, tmp_path: Path) -> None:
    save_image_model("beit", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop(next(name for name in state if "pooler" in name))
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"do not fit its config.json: it lacks .*pooler"):
        load_model(f"hf:{tmp_path}")


def test_a_kind_that_nobody_knows_how_to_read_is_named(tmp_path: Path) -> None:
    for kind in ("bert", "siglip2"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        with pytest.raises(ModelError, match=f"of the type '{kind}'") as caught:
            load_model(f"hf:{tmp_path}")
        assert len(str(caught.value).splitlines()) <= 3
    assert "for one resolution" in str(caught.value)


def test_wrong_folders_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which is not there"):
        resolve(f"hf:{tmp_path / 'nowhere'}")
    with pytest.raises(ModelError, match=r"has no open_clip_config.json or config.json"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ModelError, match=r"has no preprocessor_config.json"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_vit"}))
    with pytest.raises(ModelError, match=r"is in the format of timm\. Write hf-hub:"):
        load_model(f"hf:{tmp_path}")


def test_without_transformers_the_extra_is_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.models.loading.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"evalsuite\[transformers\]"):
        load_model("hf:org/name")
