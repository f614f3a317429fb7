"""Evaluate a network while Lightning trains it: `python examples/lightning_callback.py` (pip install lightning).

`EvalCallback` is for your own training: copy it. Its numbers go where the trainer logs, and `ModelCheckpoint` and
`EarlyStopping` can monitor them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import evalsuite


class EvalCallback(lightning.Callback):
    """Evaluates after every `every` epochs. On several devices rank 0 does it, and all of them log the same.

    encoder: returns the network to evaluate. options: more arguments of `evalsuite.evaluate`, such as limit.
    """

    def __init__(
        self,
        tasks: str,
        preprocess: Callable[[Image.Image], Tensor],
        encoder: Callable[[lightning.LightningModule], nn.Module],
        *,
        every: int = 1,
        **options: Any,
    ) -> None:
        self.tasks, self.preprocess, self.encoder, self.every, self.options = tasks, preprocess, encoder, every, options

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Evaluate the network as it is now; nothing of it is stored."""
        if (trainer.current_epoch + 1) % self.every == 0:
            options = {"cache": "off", **self.options}
            results = evalsuite.evaluate(
                self.encoder(pl_module), self.tasks, preprocess=self.preprocess, name="training", **options
            )
            pl_module.log_dict(results.raise_for_errors().to_dict())


def preprocess(image: Image.Image) -> Tensor:
    """Turn one image into (1, 8, 8) float32 in [0, 1]."""
    small = image.convert("L").resize((8, 8))
    return torch.from_numpy(np.asarray(small, dtype=np.float32)[None] / 255)


class Digits(lightning.LightningModule):
    """A small network that learns scikit-learn's digits."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        """Return the loss of a batch."""
        return functional.cross_entropy(self.head(self.encoder(batch[0])), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main(**settings: Any) -> dict[str, Tensor]:
    """Train for two epochs and return what was logged last. settings: of the trainer."""
    lightning.seed_everything(0, verbose=False)
    digits = load_digits()
    images = torch.tensor(digits.images[:898, None] / 16, dtype=torch.float32)
    rows = torch.utils.data.TensorDataset(images, torch.tensor(digits.target[:898]))
    evaluation = EvalCallback("digits", preprocess, lambda module: module.encoder, protocols="linear_probe", limit=200)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, callbacks=[evaluation], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **settings,
    )  # fmt: skip
    trainer.fit(Digits(), torch.utils.data.DataLoader(rows, batch_size=64, shuffle=True))
    return trainer.callback_metrics


if __name__ == "__main__":
    for name, value in main().items():
        print(f"{name}: {value:.4f}")
