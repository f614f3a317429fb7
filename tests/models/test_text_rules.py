"""How texts are read: the rules of a tokenizer, and a test that says where they are not those of the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

import evalsuite
from evalsuite.errors import ModelError
from evalsuite.models.loading import load_model
from evalsuite.models.modules import TorchImageTextModel, wrap_module
from evalsuite.models.text_rules import TextRules, cut_texts, text_rules
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


def test_the_padding_is_the_one_of_the_training() -> None:
    def tower(**text: Any) -> torch.nn.Module:
        torch.manual_seed(0)
        usual = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        vision = open_clip.CLIPVisionCfg(**VISION)
        return open_clip.CustomTextCLIP(12, vision, open_clip.CLIPTextCfg(**{**usual, **text})).eval()

    own = open_clip.SimpleTokenizer()

    def unpadded(texts: list[str]) -> torch.Tensor:
        return torch.stack([row + (row == 0) * torch.arange(77) for row in own(texts)])

    (pad,) = faults(tower(embed_cls=True, pad_id=5, context_length=76), open_clip.SimpleTokenizer(context_length=76))
    assert pad == "The tokenizer pads texts with the token 0; the text encoder leaves out the token 5."
    (last,) = faults(tower(pool_type="last"), unpadded)
    assert "reads its last position" in last
    assert any("end token" in said for said in faults(tower(pool_type="eos", eos_id=2), own))
    assert faults(tower(pool_type="eos", eos_id=49407), own) == faults(tower(pool_type="last"), own) == []


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


def test_texts_whose_end_is_not_read_are_found() -> None:
    def words(count: int) -> str:
        return " ".join(["dog"] * count)

    texts = [words(count) for count in (1, 13, 14, 15, 400)]  # a word is a token; 14 of them and two ends are 16
    own = open_clip.SimpleTokenizer(context_length=16)
    assert cut_texts(own, texts) == [3, 4]
    assert cut_texts(lambda given: own(given), texts) == [3, 4]  # one that cannot be asked for a longer context
    assert cut_texts(open_clip.SimpleTokenizer(), [*texts[:4], "dog " * 76]) == [4]
    assert cut_texts(lambda given: [[1]] * len(given), texts) == []


def test_prompts_that_are_cut_are_warned_of_even_where_they_still_differ(tmp_path: Path) -> None:
    path = write_folder_task(tmp_path)
    path.write_text(
        path.read_text().replace("'a photo of a {} square.'", "'{}', '{} as in the many pictures of the hall upstairs'")
    )
    for seed in (0, 1):  # the second finds its texts embedded
        (found,) = evalsuite.evaluate(
            "pocket", str(path), "zero_shot", output=tmp_path / "o", cache_dir=tmp_path / "c", seed=seed
        )
        (said,) = [warning for warning in found.warnings if "longer than the text encoder reads" in warning]
        assert said.startswith("3 prompts of 6 are longer") and "red as in the many" in said
        assert not any("have the text embedding of another" in warning for warning in found.warnings)
