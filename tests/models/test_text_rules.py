"""How texts are read: the rules of a tokenizer, and a test that says where they are not those of the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch

import evalsuite
from evalsuite.errors import ModelError
from evalsuite.models.loading import load_model
from evalsuite.models.modules import TorchImageTextModel, wrap_module
from evalsuite.models.text_rules import TextRules, text_rules
from tests.datasets import write_folder_task

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
Tokenizer = Callable[[list[str]], torch.Tensor]


@pytest.fixture(scope="module")
def clip() -> torch.nn.Module:
    torch.manual_seed(0)
    text = open_clip.CLIPTextCfg(context_length=77, vocab_size=49408, width=16, heads=2, layers=1)
    return open_clip.CLIP(12, open_clip.CLIPVisionCfg(**VISION), text).eval()


def faults(clip: torch.nn.Module, tokenizer: Tokenizer) -> list[str]:
    model = wrap_module(clip, lambda image: torch.zeros(3, 32, 32), tokenizer, name="mine")
    assert isinstance(model, TorchImageTextModel)
    return model.text_faults()


def test_rules_are_found_by_asking() -> None:
    assert text_rules(open_clip.SimpleTokenizer()) == TextRules(77, True, False, 0)
    canonical = open_clip.SimpleTokenizer(context_length=64, clean="canonicalize")
    assert text_rules(canonical) == TextRules(64, True, True, 0)
    assert text_rules(lambda texts: [[1, 2]] * len(texts)) is None


def test_a_text_encoder_with_its_own_tokenizer_has_no_fault(clip: torch.nn.Module) -> None:
    assert faults(clip, open_clip.SimpleTokenizer()) == []
    pocket = load_model("pocket")
    assert isinstance(pocket, TorchImageTextModel)
    assert pocket.text_faults() == []


def test_what_is_not_as_it_was_trained_is_said(clip: torch.nn.Module) -> None:
    own = open_clip.SimpleTokenizer()
    (same,) = faults(clip, lambda texts: own(["a"] * len(texts)))
    assert "one embedding" in same
    with pytest.raises(ModelError, match=r"makes 32 tokens of a text; the encoder was trained with 77\."):
        faults(clip, open_clip.SimpleTokenizer(context_length=32))
    with pytest.raises(ModelError, match=r"cannot read what the tokenizer gives\. IndexError"):
        faults(clip, lambda texts: own(texts) + 60_000)
    (capitals,) = faults(clip, open_clip.SimpleTokenizer(clean="whitespace"))
    assert "keeps capitals" in capitals

    def cut(texts: list[str]) -> torch.Tensor:
        return open_clip.SimpleTokenizer(context_length=400)(texts)[:, :77]

    (end,) = faults(clip, cut)
    assert "cuts off the end token" in end


def test_the_rules_are_recorded(clip: torch.nn.Module) -> None:
    info = wrap_module(clip, lambda image: torch.zeros(3, 32, 32), open_clip.SimpleTokenizer(), name="mine").info
    assert info.details["texts"] == {"context": 77, "lower_case": True, "no_punctuation": False, "padding": 0}


def test_what_the_test_said_is_in_every_record_of_zero_shot(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import open_clip, torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    text = open_clip.CLIPTextCfg(context_length=77, vocab_size=49408, width=16, heads=2, layers=1)\n"
        f"    clip = open_clip.CLIP(12, open_clip.CLIPVisionCfg(**{VISION}), text)\n"
        "    return clip, lambda image: torch.zeros(3, 32, 32), open_clip.SimpleTokenizer(clean='whitespace')\n"
    )
    path = write_folder_task(tmp_path)
    for seed in (0, 1):  # the second finds its texts embedded
        found = evalsuite.evaluate(
            f"{tmp_path / 'mine.py'}:make", str(path), output=tmp_path / "o", cache_dir=tmp_path / "c", seed=seed
        )
        said = {result.protocol: [text for text in result.warnings if "capitals" in text] for result in found}
        assert (len(said["zero_shot"]), len(said["linear_probe"])) == (1, 0), found
