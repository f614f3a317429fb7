"""Evaluate a network while the Trainer of transformers trains it: `python examples/trainer_callback.py`.

It needs pip install 'transformers[torch]'. `EvalCallback` is for your own training: copy it. Its numbers go where the
trainer logs, and `metric_for_best_model` can name one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from transformers import Trainer, TrainerCallback, TrainingArguments

import evalsuite


class EvalCallback(TrainerCallback):
    """Evaluates whenever the trainer does. On several devices rank 0 does it, and all of them have the numbers.

    encoder: returns the network to evaluate. options: more arguments of `evalsuite.evaluate`, such as limit.
    """

    def __init__(
        self,
        trainer: Trainer,
        tasks: str,
        preprocess: Callable[[Image.Image], Tensor],
        encoder: Callable[[nn.Module], nn.Module],
        **options: Any,
    ) -> None:
        self.trainer, self.tasks, self.preprocess, self.encoder = trainer, tasks, preprocess, encoder
        self.options = options

    def on_evaluate(self, args: Any, state: Any, control: Any, model: nn.Module, metrics: Any, **others: Any) -> None:
        """Evaluate the network as it is now; nothing of it is stored."""
        options = {"cache": "off", **self.options}
        results = evalsuite.evaluate(
            self.encoder(model), self.tasks, preprocess=self.preprocess, name="training", **options
        )
        found = {f"eval_{name}": value for name, value in results.raise_for_errors().to_dict().items()}
        metrics.update(found)  # the trainer chooses the best model by them
        self.trainer.log(found)


def preprocess(image: Image.Image) -> Tensor:
    """Turn one image into (1, 8, 8) float32 in [0, 1]."""
    small = image.convert("L").resize((8, 8))
    return torch.from_numpy(np.asarray(small, dtype=np.float32)[None] / 255)


class Digits(nn.Module):
    """A small network that learns scikit-learn's digits."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and the logits of a batch."""
        logits = self.head(self.encoder(images))
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def main() -> list[dict[str, float]]:
    """Train for two epochs and return what was logged."""
    torch.manual_seed(0)
    digits = load_digits()
    rows = [
        {"images": torch.tensor(image[None] / 16, dtype=torch.float32), "labels": int(label)}
        for image, label in zip(digits.images[:898], digits.target[:898], strict=True)
    ]
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=2, eval_strategy="epoch", save_strategy="no", learning_rate=3e-3, use_cpu=True,
            per_device_train_batch_size=64, per_device_eval_batch_size=64, report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(Digits(), arguments, train_dataset=rows, eval_dataset=rows[:64])
        evaluation = EvalCallback(
            trainer, "digits", preprocess, lambda module: module.encoder, protocols="linear_probe", limit=200
        )
        trainer.add_callback(evaluation)
        trainer.train()
    return trainer.state.log_history


if __name__ == "__main__":
    main()
