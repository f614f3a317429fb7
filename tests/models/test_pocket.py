"""The shipped pocket model: small, exact, deterministic, and good at what it was trained for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from evalsuite.errors import ModelError
from evalsuite.models.base import EMBEDDING, PENULTIMATE, ImageTextModel
from evalsuite.models.modules import TorchImageTextModel
from evalsuite.models.pocket import (
    CONFIG_FILE,
    MERGES_FILE,
    WEIGHTS_FILE,
    load_pocket,
    pocket_fingerprint,
)
from evalsuite.models.pocket import __file__ as package_file

FOLDER = Path(package_file).parent
PARTS = (CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE)
DIGIT_TRAIN_BOUND = 0.905  # two points under what training_log.json says of this half


@pytest.fixture(scope="module")
def pocket() -> TorchImageTextModel:
    return load_pocket()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the shipped parts, to be damaged."""
    for name in PARTS:
        shutil.copy(FOLDER / name, tmp_path / name)
    return tmp_path


def digit_batch(model: TorchImageTextModel, count: int) -> tuple[torch.Tensor, np.ndarray]:
    """The first digits of the training half, preprocessed, with their labels."""
    data = load_digits()
    images = np.round(data.images[:count] * (255 / 16)).astype(np.uint8)
    return torch.stack([model.preprocess(Image.fromarray(image)) for image in images]), data.target[:count]


def test_ships_in_under_four_megabytes() -> None:
    assert sum((FOLDER / name).stat().st_size for name in PARTS) <= 4_000_000


def test_offers_what_a_model_must(pocket: TorchImageTextModel) -> None:
    assert isinstance(pocket, ImageTextModel)
    info = pocket.info
    assert (info.name, info.slug, info.backend, info.weight_fidelity) == ("pocket", "pocket", "pocket", "exact")
    assert info.fingerprint == pocket_fingerprint()
    assert info.weights.startswith("sha256:") and len(info.weights) == len("sha256:") + 12
    layers = pocket.encode_images(torch.zeros(2, 3, info.input_size, info.input_size))
    assert {name: value.shape[1] for name, value in layers.items()} == info.layers
    assert set(layers) == {PENULTIMATE, EMBEDDING}
    assert pocket.encode_texts(["a", "b", "c"]).shape == (3, info.layers[EMBEDDING])
    assert pocket.to("cpu") is pocket


def test_gflops_are_what_the_counter_counts(pocket: TorchImageTextModel) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    side = pocket.info.input_size
    with FlopCounterMode(display=False) as counter:
        pocket.encode_images(torch.zeros(1, 3, side, side))
    assert pocket.info.gflops == pytest.approx(counter.get_total_flops() / 1e9, rel=0.02)


def test_reads_digits_without_training_on_them(pocket: TorchImageTextModel) -> None:
    batch, labels = digit_batch(pocket, 898)
    features = torch.nn.functional.normalize(pocket.encode_images(batch)[EMBEDDING])
    texts = pocket.encode_texts([f'a photo of the number: "{digit}".' for digit in range(10)])
    predicted = (features @ torch.nn.functional.normalize(texts).T).argmax(dim=1).numpy()
    assert (predicted == labels).mean() >= DIGIT_TRAIN_BOUND


def test_repeats_itself_and_does_not_mind_the_batch(pocket: TorchImageTextModel) -> None:
    batch, _ = digit_batch(pocket, 12)
    together = pocket.encode_images(batch)[EMBEDDING]
    assert torch.equal(together, load_pocket().encode_images(batch)[EMBEDDING])
    alone = torch.cat([pocket.encode_images(row[None])[EMBEDDING] for row in batch])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    texts = ["the number 3", "two red circles", 'the word "cat"']
    one_by_one = torch.cat([pocket.encode_texts([text]) for text in texts])
    torch.testing.assert_close(one_by_one, pocket.encode_texts(texts), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", ["", "naïve Ωμέγα 漢字 🙂", "\x00\x7f", "supercalifragilistic " * 40, "1" * 500])
def test_any_text_has_an_embedding(pocket: TorchImageTextModel, text: str) -> None:
    embedding = pocket.encode_texts([text])
    assert embedding.shape[0] == 1
    assert torch.isfinite(embedding).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_takes_images_of_any_mode_and_size(pocket: TorchImageTextModel, mode: str) -> None:
    tensor = pocket.preprocess(Image.new("RGB", (50, 21), "white").convert(mode))
    assert tensor.shape == (3, 32, 32)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, tensor[0, 0, 0].expand_as(tensor))


@pytest.mark.parametrize("name", PARTS)
def test_fingerprint_covers_every_byte(copied: Path, name: str) -> None:
    assert pocket_fingerprint(copied) == pocket_fingerprint()
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    assert pocket_fingerprint(copied) != pocket_fingerprint()


def test_fingerprint_needs_no_torch() -> None:
    code = (
        "import sys; from evalsuite.models.pocket import pocket_fingerprint; pocket_fingerprint(); "
        "sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_refused(copied: Path, change: str) -> None:
    state = load_file(copied / WEIGHTS_FILE)
    if change == "missing":
        del state["ln_final.bias"]
    elif change == "unexpected":
        state["visual.more"] = torch.zeros(1)
    else:
        state["ln_final.bias"] = torch.zeros(3)
    save_file(state, copied / WEIGHTS_FILE)
    with pytest.raises(ModelError, match="does not fit"):
        load_pocket(copied)


def test_a_truncated_checkpoint_is_refused(copied: Path) -> None:
    (copied / WEIGHTS_FILE).write_bytes((copied / WEIGHTS_FILE).read_bytes()[:1000])
    with pytest.raises(ModelError, match="does not fit"):
        load_pocket(copied)


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / MERGES_FILE).unlink()
    with pytest.raises(ModelError, match=r"merges.*cannot be read"):
        load_pocket(copied)


def test_a_tokenizer_of_another_training_is_refused(copied: Path) -> None:
    config = json.loads((copied / CONFIG_FILE).read_text())
    config["text_cfg"]["vocab_size"] += 1
    (copied / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="different trainings"):
        load_pocket(copied)


@pytest.mark.parametrize("content", ["{", '{"embed_dim": 64, "speed": 9}'])
def test_a_broken_configuration_is_refused(copied: Path, content: str) -> None:
    (copied / CONFIG_FILE).write_text(content)
    with pytest.raises(ModelError, match="not a pocket configuration"):
        load_pocket(copied)
