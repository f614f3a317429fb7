"""Score a pocket model on real handwritten digits.

Choices are made on the training halves only: scikit-learn's first 898 digits and MNIST's training
images. `--half test` reads the other halves and is for weights that will not change any more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from evalsuite.models.base import EMBEDDING, PENULTIMATE, ImageModel, ImageTextModel
from evalsuite.models.pocket import load_pocket

Half = Literal["train", "test"]

PROMPT = 'a photo of the number: "{}".'  # the paper's prompt for MNIST
DIGITS_TRAIN = 898
MNIST_TRAIN_SUBSET = 5_000

_MNIST_FILES = {"train": "train", "test": "t10k"}
_BATCH = 500


@dataclass(frozen=True)
class DigitImages:
    """Grey images of digits: images (n, height, width) uint8, white on black; labels (n,) int64."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def sklearn_digits(half: Half) -> DigitImages:
    """Load one half of scikit-learn's 8 x 8 digits, their 17 levels spread over 0..255."""
    data = load_digits()
    part = slice(0, DIGITS_TRAIN) if half == "train" else slice(DIGITS_TRAIN, None)
    images = np.round(data.images[part] * (255 / 16)).astype(np.uint8)
    return DigitImages(images, data.target[part].astype(np.int64))


def mnist(folder: Path, half: Half) -> DigitImages:
    """Read MNIST's idx files: the first 5,000 training images, or all 10,000 test images."""
    stem = _MNIST_FILES[half]
    images = np.frombuffer((folder / f"{stem}-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((folder / f"{stem}-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    count = MNIST_TRAIN_SUBSET if half == "train" else len(labels)
    return DigitImages(images.reshape(-1, 28, 28)[:count], labels[:count].astype(np.int64))


def encode(model: ImageModel, images: npt.NDArray[np.uint8], layer: str) -> torch.Tensor:
    """Encode grey images into one layer, (n, dim)."""
    pixels = [model.preprocess(Image.fromarray(image)) for image in images]
    batches = [torch.stack(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]
    return torch.cat([model.encode_images(batch)[layer] for batch in batches])


def zero_shot(model: ImageTextModel, data: DigitImages) -> npt.NDArray[np.int64]:
    """Classify by the nearest of ten prompts; returns counts, (true digit, predicted digit)."""
    texts = model.encode_texts([PROMPT.format(digit) for digit in range(10)])
    features = encode(model, data.images, EMBEDDING)
    logits = 100 * torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(texts).T
    counts = np.zeros((10, 10), dtype=np.int64)
    np.add.at(counts, (data.labels, logits.argmax(dim=1).numpy()), 1)
    return counts


def accuracy(counts: npt.NDArray[np.int64]) -> float:
    """Turn a table of true and predicted classes into the share that is right, in [0, 1]."""
    return float(counts.trace() / counts.sum())


def linear_probe(model: ImageModel) -> dict[str, float]:
    """Fit logistic regression on the training half of scikit-learn's digits, score the test half.

    Once on the model's features and once on the pixels in [0, 1], with scikit-learn's defaults.
    """
    train, test = sklearn_digits("train"), sklearn_digits("test")
    features = [encode(model, part.images, PENULTIMATE).numpy() for part in (train, test)]
    pixels = [part.images.reshape(len(part.images), -1) / 255 for part in (train, test)]
    return {
        name: round(float(LogisticRegression(max_iter=5_000).fit(fit, train.labels).score(held_out, test.labels)), 4)
        for name, (fit, held_out) in {"features": features, "pixels": pixels}.items()
    }


def zero_shot_report(model: ImageTextModel, half: Half, mnist_folder: Path | None) -> dict[str, Any]:
    """Score one half of scikit-learn's digits and, where its folder is given, of MNIST."""
    sets = {"digits": sklearn_digits(half)}
    if mnist_folder is not None:
        sets["mnist"] = mnist(mnist_folder, half)
    report: dict[str, Any] = {}
    for name, data in sets.items():
        counts = zero_shot(model, data)
        report[name] = {
            "images": int(counts.sum()),
            "accuracy": round(accuracy(counts), 4),
            "confusion": counts.tolist(),
        }
    return report


@click.command()
@click.option("--model", "folder", type=click.Path(path_type=Path), help="Folder of a model; default: the shipped one.")
@click.option("--half", type=click.Choice(["train", "test"]), default="train", show_default=True)
@click.option(
    "--mnist",
    "mnist_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with MNIST's idx files.",
)
def main(folder: Path | None, half: Half, mnist_folder: Path | None) -> None:
    """Print zero-shot scores as JSON; with --half test, the linear probe's too.

    \b
    python -m training.pocket.score --mnist data/MNIST/raw
    python -m training.pocket.score --half test --mnist data/MNIST/raw > test_scores.json
    """
    model = load_pocket() if folder is None else load_pocket(folder)
    report: dict[str, Any] = {"fingerprint": model.info.fingerprint, "half": half, "prompt": PROMPT}
    report["zero_shot"] = zero_shot_report(model, half, mnist_folder)
    if half == "test":
        report["linear_probe_digits"] = linear_probe(model)
    click.echo(json.dumps(report))


if __name__ == "__main__":
    main()
