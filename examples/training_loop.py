"""Evaluate a network in the middle of its training: `python examples/training_loop.py`.

The network learns the first digits of scikit-learn and is probed after each epoch. Its weights are a part of its
fingerprint, so each epoch has a result of its own; `cache="off"` leaves no features behind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import evalsuite

EPOCHS = 2


def preprocess(image: Image.Image) -> Tensor:
    """Turn one image into (1, 8, 8) float32 in [0, 1]."""
    small = image.convert("L").resize((8, 8))
    return torch.from_numpy(np.asarray(small, dtype=np.float32)[None] / 255)


def train_one_epoch(encoder: nn.Module, head: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Take one pass over the training digits."""
    digits = load_digits()
    images = torch.tensor(digits.images[:898, None] / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target[:898])
    for rows in torch.randperm(len(images)).split(64):
        optimizer.zero_grad()
        functional.cross_entropy(head(encoder(images[rows])), labels[rows]).backward()
        optimizer.step()


def main() -> None:
    """Train, and evaluate after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/examples"))
    parser.add_argument("--limit", type=int, default=200, help="samples per split; few are enough while training")
    options = parser.parse_args()

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 32), nn.ReLU())
    head = nn.Linear(32, 10)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for epoch in range(1, EPOCHS + 1):
        train_one_epoch(encoder, head, optimizer)
        results = evalsuite.evaluate(
            encoder,
            "digits",
            "linear_probe",
            preprocess=preprocess,
            name=f"training/epoch-{epoch}",
            output=options.output,
            limit=options.limit,
            cache="off",
        ).raise_for_errors()
        print(results.to_frame()[["model", "task", "protocol", "status", "metric", "value", "low", "high"]])


if __name__ == "__main__":
    main()
