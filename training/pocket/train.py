"""Train the pocket model: draw, augment, describe, contrast; then write the folder that ships."""

from __future__ import annotations

import json
import logging
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from evalsuite.models.pocket import CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE, load_pocket
from evalsuite.models.pocket.model import PocketConfig, build_clip, build_tokenizer
from training.pocket.augment import Augmenter
from training.pocket.bank import SOURCES, Bank, draw_bank
from training.pocket.captions import COLOURS, Concept, all_concepts
from training.pocket.loss import contrastive_loss
from training.pocket.recipe import Recipe, model_config
from training.pocket.score import zero_shot_report
from training.pocket.tokenizer import BASE_VOCABULARY, learn_merges, write_merges

LOG_FILE = "training_log.json"

_PACKAGES = ("torch", "open_clip_torch", "numpy", "pillow", "matplotlib", "scikit-learn")
_MAX_SCALE = 100.0  # CLIP's bound on the inverse temperature

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Captions:
    """All captions of all concepts, tokenised.

    tokens: (captions, context), those of one concept side by side.
    first, weights: where a concept's captions begin, and (concepts, most) their relative frequency.
    """

    tokens: torch.Tensor
    first: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """Images (n, 3, 32, 32) in [0, 1], one caption for each of their m concepts, and which fit which.

    Encoding a caption costs two thirds of encoding an image, and most images of a batch share a concept.
    """

    images: torch.Tensor
    tokens: torch.Tensor
    positive: torch.Tensor


def train(recipe: Recipe, output: Path, mnist_folder: Path | None = None) -> dict[str, Any]:
    """Train by the recipe and write weights, merges, configuration and log into `output`.

    MNIST's training images, where their folder is given, are scored for the log and for nothing else.
    Returns the log.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    concepts = all_concepts()
    config = _prepare(recipe, concepts, output)
    clip, average = build_clip(config), build_clip(config)
    clip.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    average.load_state_dict(clip.state_dict())
    batches = _batches(recipe, concepts, _tokenise(concepts, config, output))
    curve: list[dict[str, Any]] = []
    for step, loss in _optimise(recipe, config, clip, average, batches):
        samples = step * recipe.batch_size
        if step == recipe.steps or samples % recipe.log_every_samples < recipe.batch_size:
            _save(average, output)
            scores = zero_shot_report(load_pocket(output), "train", mnist_folder)
            curve.append({"samples": samples, "loss": round(loss, 4)})
            curve[-1] |= {name: score["accuracy"] for name, score in scores.items()}
            _log.info("%s, %.0f s", curve[-1], time.perf_counter() - wall)
    log = _describe_run(recipe) | {
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "curve": curve,
        "train_half": scores,
    }
    (output / LOG_FILE).write_text(json.dumps(log) + "\n")
    return log


def _prepare(recipe: Recipe, concepts: tuple[Concept, ...], output: Path) -> PocketConfig:
    """Learn the merges and write them and the configuration; both depend on the captions alone."""
    captions = [caption for concept in concepts for caption in concept.captions]
    merges = learn_merges(captions, recipe.max_merges)
    write_merges(merges, output / MERGES_FILE)
    config = model_config(recipe, BASE_VOCABULARY + len(merges))
    config = config.model_copy(update={"gflops": _count_gflops(config)})
    (output / CONFIG_FILE).write_text(json.dumps(config.model_dump(), indent=2) + "\n")
    return config


def _count_gflops(config: PocketConfig) -> float:
    """Count the GFLOPs of one image; a multiply-add is two."""
    with torch.random.fork_rng(), FlopCounterMode(display=False) as counter, torch.no_grad():
        build_clip(config).eval().encode_image(torch.zeros(1, 3, config.image_size, config.image_size))
    return float(round(counter.get_total_flops() / 1e9, 6))


def _tokenise(concepts: tuple[Concept, ...], config: PocketConfig, output: Path) -> Captions:
    tokenizer = build_tokenizer(output / MERGES_FILE, config)
    texts = [caption for concept in concepts for caption in concept.captions]
    counts = torch.tensor([len(concept.captions) for concept in concepts])
    weights = torch.zeros(len(concepts), int(counts.max()))
    for row, concept in zip(weights, concepts, strict=True):
        row[: len(concept.weights)] = torch.tensor(concept.weights)
    return Captions(tokenizer(texts), counts.cumsum(0) - counts, weights)


def _batches(recipe: Recipe, concepts: tuple[Concept, ...], captions: Captions) -> Iterator[Batch]:
    """Yield batches without end; the seed alone decides them."""
    bank = draw_bank(concepts, recipe.strokes_per_digit, recipe.shapes_per_concept, recipe.seed)
    _log.info("%d masks drawn, %d captions", len(bank.masks), len(captions.tokens))
    chooser = torch.Generator().manual_seed(recipe.seed + 1)
    augment = Augmenter(recipe.seed + 2)
    any_colour = (math.nan,) * 3
    colours = torch.tensor([COLOURS[c.colour] if c.colour else any_colour for c in concepts])
    legible = torch.tensor([c.kind in ("word", "shape") for c in concepts])
    while True:
        chosen = _choose_masks(bank, recipe, chooser)
        concept = bank.concept[chosen]
        present, column = torch.unique(concept, return_inverse=True)
        nth = torch.multinomial(captions.weights[present], 1, generator=chooser)[:, 0]
        yield Batch(
            augment(bank.masks[chosen], colours[concept], legible[concept]),
            captions.tokens[captions.first[present] + nth],
            column[:, None] == torch.arange(len(present)),
        )


def _choose_masks(bank: Bank, recipe: Recipe, chooser: torch.Generator) -> torch.Tensor:
    """Choose a source for each image by the mix, then any mask of that source."""
    mix = torch.tensor([recipe.mix[source] for source in SOURCES])
    source = torch.multinomial(mix, recipe.batch_size, replacement=True, generator=chooser)
    ranges = torch.tensor([bank.ranges[name] for name in SOURCES])[source]
    share = torch.rand(recipe.batch_size, generator=chooser, dtype=torch.float64)
    return ranges[:, 0] + (share * (ranges[:, 1] - ranges[:, 0])).long()


def _optimise(
    recipe: Recipe, config: PocketConfig, clip: CLIP, average: CLIP, batches: Iterator[Batch]
) -> Iterator[tuple[int, float]]:
    """Run all steps; after each, yield its number from 1 and the recent mean loss.

    `average` follows `clip` as an exponential moving average of weights and statistics.
    """
    decayed = [p for p in clip.parameters() if p.ndim >= 2]
    plain = [p for p in clip.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(recipe, step))
    recent = 0.0
    for step in range(1, recipe.steps + 1):
        batch = next(batches)
        pixels = ((batch.images - config.mean) / config.std).contiguous(memory_format=torch.channels_last)
        images = clip.encode_image(pixels)
        texts = clip.encode_text(batch.tokens)
        loss = contrastive_loss(images, texts, batch.positive, clip.logit_scale.exp())
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(clip.parameters(), recipe.clip_norm)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, math.log(_MAX_SCALE))
        _follow(average, clip, recipe.ema_decay)
        recent = loss.item() if step == 1 else 0.99 * recent + 0.01 * loss.item()
        yield step, recent


def _rate(recipe: Recipe, step: int) -> float:
    """Give the learning rate's factor: a linear start, then half a cosine down to `final_share`."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.final_share + (1 - recipe.final_share) * (1 + math.cos(math.pi * done)) / 2


@torch.no_grad()
def _follow(average: CLIP, clip: CLIP, decay: float) -> None:
    """Move the average a little towards the weights and the batch statistics of now."""
    now = clip.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(now[name], 1 - decay)
        else:
            value.copy_(now[name])


def _save(clip: CLIP, output: Path) -> None:
    """Write the weights as float16, half the size; every score in the log is of weights read back from here."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in clip.state_dict().items()
    }
    save_file(state, output / WEIGHTS_FILE)


def _describe_run(recipe: Recipe) -> dict[str, Any]:
    return {
        "recipe": asdict(recipe),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write the model into.")
@click.option(
    "--mnist",
    "mnist_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="MNIST's idx files, scored for the log only.",
)
@click.option("--seed", default=Recipe.seed, show_default=True)
@click.option("--samples", default=Recipe.samples, show_default=True, help="Images to train on.")
@click.option("--threads", default=1, show_default=True, help="CPU threads; another number rounds differently.")
def main(output: Path, mnist_folder: Path | None, seed: int, samples: int, threads: int) -> None:
    """Train the pocket model from nothing, on images drawn here.

    \b
    python -m training.pocket.train --output build/pocket
    python -m training.pocket.train --output build/pocket --mnist data/MNIST/raw
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(threads)
    log = train(replace(Recipe(), seed=seed, samples=samples), output, mnist_folder)
    click.echo(f"Wrote {output} after {log['wall_seconds']} s ({log['cpu_seconds']} CPU seconds).")
    click.echo(f"Score it with: python -m training.pocket.score --model {output}")


if __name__ == "__main__":
    main()
