"""The training of the pocket model: deterministic drawings, honest positives, a loadable result."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from open_clip import SimpleTokenizer

from evalsuite.models.pocket import MERGES_FILE, load_pocket, pocket_fingerprint
from training.pocket.augment import OUTPUT, TIGHT, Augmenter
from training.pocket.bank import SOURCES, draw_bank
from training.pocket.captions import LETTERS, Concept, all_concepts
from training.pocket.drawing import CANVAS, FONT_COUNT, draw_strokes, load_font
from training.pocket.loss import contrastive_loss
from training.pocket.recipe import Recipe
from training.pocket.score import PROMPT, accuracy, sklearn_digits
from training.pocket.skeletons import SKELETONS, catmull_rom
from training.pocket.tokenizer import BASE_VOCABULARY, learn_merges, write_merges
from training.pocket.train import LOG_FILE, train
from training.pocket.train import main as train_command

TINY = replace(Recipe(), samples=16, batch_size=8, strokes_per_digit=2, shapes_per_concept=1, log_every_samples=8)


def some_concepts() -> tuple[Concept, ...]:
    """A few of each kind."""
    by_kind: dict[str, list[Concept]] = {}
    for concept in all_concepts():
        by_kind.setdefault(concept.kind, []).append(concept)
    return tuple(concept for kind in by_kind.values() for concept in kind[:3])


def test_strokes_depend_on_the_seed_alone() -> None:
    first, again, other = (draw_strokes(5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.shape == (CANVAS, CANVAS)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.max() == 255 and first[0].max() == 0


def test_bank_depends_on_the_seed_alone() -> None:
    first, again, other = (draw_bank(some_concepts(), 4, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.masks, other.masks)
    assert set(first.ranges) == set(SOURCES)
    assert first.ranges["strokes"] == (0, 12)
    start, end = first.ranges["digit_fonts"]
    assert end - start == 3 * FONT_COUNT
    assert (first.masks.flatten(1).amax(dim=1) > 100).all()


def test_every_digit_has_several_skeletons_in_the_unit_box() -> None:
    assert sorted(SKELETONS) == list(range(10))
    for styles in SKELETONS.values():
        assert len(styles) >= 3
        points = np.array([point for style in styles for stroke in style for point in stroke])
        assert points.min() >= -0.01 and points.max() <= 1.01


def test_splines_pass_through_their_points() -> None:
    points = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)])
    assert np.allclose(catmull_rom(points, per_segment=8)[::8], points)


def test_all_fonts_come_with_installed_packages() -> None:
    for index in range(FONT_COUNT):
        assert load_font(index, 20).getbbox("5")[2] > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_augmentation_depends_on_the_seed_alone(seed: int) -> None:
    masks = draw_bank(some_concepts(), 4, 2, 0).masks[:40]
    colour, legible = torch.full((len(masks), 3), torch.nan), torch.zeros(len(masks), dtype=torch.bool)
    images = Augmenter(seed)(masks, colour, legible)
    assert images.shape == (len(masks), 3, OUTPUT, OUTPUT)
    assert images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, Augmenter(seed)(masks, colour, legible))
    assert not torch.equal(images, Augmenter(seed + 10)(masks, colour, legible))


def test_a_tight_frame_touches_top_and_bottom() -> None:
    masks = draw_bank(some_concepts(), 4, 2, 0).masks[:12]
    ink = Augmenter(0)._frame(masks[:, None].float() / 255, torch.full((12,), TIGHT))
    assert (ink[:, 0, :2].amax(dim=(1, 2)) > 0.2).all()
    assert (ink[:, 0, -2:].amax(dim=(1, 2)) > 0.2).all()


def test_named_colours_are_painted() -> None:
    ink = torch.ones(50, 1, 4, 4)
    red = torch.tensor([[0.9, 0.1, 0.1]]).expand(50, 3)
    painted = Augmenter(0)._paint(ink, red)
    assert torch.allclose(painted.mean(dim=(0, 2, 3)), red[0], atol=0.05)


def test_captions_tell_concepts_apart() -> None:
    owners: dict[str, Concept] = {}
    for concept in all_concepts():
        assert len(concept.captions) == len(concept.weights)
        for caption in concept.captions:
            assert owners.setdefault(caption, concept) is concept
    assert {PROMPT.format(digit) for digit in range(10)} <= set(owners)
    assert not set("".join(LETTERS)) & set("OoIlSZ")


def test_merges_are_the_most_frequent_pairs(tmp_path: Path) -> None:
    captions = ["aab aab", "ab"] * 3
    merges = learn_merges(captions, 10)
    assert merges == [("a", "b</w>"), ("a", "ab</w>")]
    assert learn_merges(captions, 1) == merges[:1]
    write_merges(merges, tmp_path / "m.gz")
    assert gzip.decompress((tmp_path / "m.gz").read_bytes()).decode().splitlines()[1:] == ["a b</w>", "a ab</w>"]
    tokenizer = SimpleTokenizer(bpe_path=str(tmp_path / "m.gz"), context_length=8)
    assert tokenizer.vocab_size == BASE_VOCABULARY + 2
    assert tokenizer.encode("AAB") == [tokenizer.encoder["aab</w>"]]
    assert tokenizer.eot_token_id == tokenizer.vocab_size - 1  # text pooling looks for the highest token


def test_loss_counts_every_positive() -> None:
    eye = torch.eye(3)
    images = eye[[0, 0, 1, 2]]
    positive = torch.tensor([[True, False, False]] * 2 + [[False, True, False], [False, False, True]])
    matched = contrastive_loss(images, eye, positive, torch.tensor(50.0))
    crossed = contrastive_loss(images, eye[[1, 2, 0]], positive, torch.tensor(50.0))
    # A caption with two images cannot do better than half of its mass on each: ln 2, for one in three.
    assert matched.item() == pytest.approx(np.log(2) / 3 / 2, abs=1e-4)
    assert crossed > 10


def test_loss_of_equal_captions_is_least_when_both_are_chosen() -> None:
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    both = torch.tensor([[True, True, False], [False, False, True]])
    one = torch.tensor([[True, False, False], [False, True, True]])
    scale = torch.tensor(20.0)
    assert contrastive_loss(images, texts, both, scale) < contrastive_loss(images, texts, one, scale)


def test_two_steps_write_a_model_that_loads_and_repeats(tmp_path: Path) -> None:
    log = train(TINY, tmp_path / "a")
    again = train(TINY, tmp_path / "b")
    assert pocket_fingerprint(tmp_path / "a") == pocket_fingerprint(tmp_path / "b")
    assert json.loads((tmp_path / "a" / LOG_FILE).read_text()) == json.loads(json.dumps(log))
    assert [point["samples"] for point in log["curve"]] == [8, 16]
    assert log["curve"] == again["curve"]
    assert log["recipe"]["seed"] == 0
    assert log["packages"]["torch"]
    assert (tmp_path / "a" / MERGES_FILE).stat().st_size < 10_000
    assert load_pocket(tmp_path / "a").encode_texts(["the number 7"]).shape == (1, TINY.embed_dim)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first = train(replace(TINY, samples=8), tmp_path / "a")
    second = train(replace(TINY, samples=8, seed=1), tmp_path / "b")
    assert first["curve"] != second["curve"]


def test_halves_of_the_digits_are_those_of_the_task() -> None:
    assert (len(sklearn_digits("train").labels), len(sklearn_digits("test").labels)) == (898, 899)
    assert sklearn_digits("train").images.max() == 255
    assert accuracy(np.array([[3, 1], [0, 4]])) == pytest.approx(7 / 8)


def test_command_explains_itself() -> None:
    result = CliRunner().invoke(train_command, ["--help"])
    assert result.exit_code == 0
    assert "--output" in result.output and "python -m training.pocket.train" in result.output
