"""Problems for protocols: tasks whose data is in memory, and features that a real run has stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import evalsuite
from evalsuite.api import prepare
from evalsuite.data.base import Fold, Split
from evalsuite.data.place import DataPlace
from evalsuite.models.base import Logits
from evalsuite.options import RunOptions, build
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome, ProtocolInput, Samples
from evalsuite.protocols.training import TrainedSplits
from evalsuite.runner.base import Reporter
from evalsuite.runner.loop import run_jobs
from evalsuite.tasks import TaskSpec, load_task_file

Pools = Mapping[str, tuple[torch.Tensor, np.ndarray]]
"""Name -> features (n, D) and labels."""


def make_task(folder: Path, classes: Sequence[str] = ("a", "b", "c"), **keys: Any) -> TaskSpec:
    """Return a task whose data is never opened."""
    text = "\n".join(f"{key}: {value}" for key, value in keys.items())
    (folder / "t.yaml").write_text(
        f"title: t\nclasses: [{', '.join(classes)}]\nprompts: {{templates: ['{{}}']}}\n"
        f"sources: [{{kind: folder, path: ., pools: {{train: train, val: val, test: test}}}}]\n{text}\n"
    )
    return load_task_file(folder / "t.yaml")


def blobs(n: int, classes: int, seed: int, spread: float = 1.5) -> tuple[torch.Tensor, np.ndarray]:
    """Return overlapping clusters of five dimensions."""
    rng = np.random.default_rng(seed)
    centres, labels = _centres(classes, 5), np.arange(n) % classes
    features = centres[labels] + spread * rng.normal(size=(n, 5))
    return torch.from_numpy(features.astype(np.float32)), labels


def _centres(classes: int, dim: int) -> np.ndarray:
    return np.random.default_rng(99).normal(size=(classes, dim))


def whole(pool: str, data: Pools) -> Split:
    """Return a split of all samples of a pool."""
    return Split(pool, np.arange(len(data[pool][1])))


def fold_of(data: Pools) -> Fold:
    """Return the fold of pools called train, val (if there is one) and test."""
    return Fold(whole("train", data), whole("val", data) if "val" in data else None, whole("test", data))


def given(task: TaskSpec, data: Pools, folds: Sequence[Fold] | None = None, **more: Any) -> ProtocolInput:
    """Return what a protocol is given: pools that are in memory, and texts that mean the centres of `blobs`."""

    def read(split: Split, layer: str) -> Samples:
        features, labels = data[split.pool]
        return Samples(features[split.rows], labels[split.rows], [f"{split.pool}/{row:06d}" for row in split.rows])

    dim = data["test"][0].shape[1]
    return ProtocolInput(
        task=task,
        folds=[fold_of(data)] if folds is None else folds,
        read=read,
        embed_texts=lambda texts: torch.from_numpy(_centres(len(texts), dim)).float(),
        device=torch.device("cpu"),
        **{"logits": Logits(20.0, 0.0), **more},
    )


def stored_features(
    model: str, task: str, folder: Path, layer: str = "penultimate", **options: Any
) -> tuple[TaskSpec, Pools]:
    """Run the images of a task through a model and return the features of its splits, as float32."""
    found: dict[str, tuple[torch.Tensor, np.ndarray]] = {}

    class Keeping(TrainedSplits):
        name, prefix, version = "keeping", "keeping", 1

        def run(self, given: ProtocolInput) -> Outcome:
            for name in ("train", "val", "test"):
                split = getattr(given.folds[0], name)
                if split is not None:
                    samples = given.read(split, layer)
                    found[name] = samples.features.float(), np.asarray(samples.labels)
            labels = found["test"][1]
            scores = np.zeros((len(labels), len(given.task.class_list)), np.float32)
            return Outcome([FoldScores(scores, labels, samples.ids)], {"test": len(labels)})

    Keeping.layer = layer
    protocols: list[EvaluationProtocol] = [Keeping()]
    run = build(RunOptions, {"output": folder / "out", "device": "cpu", "overwrite": True, **options})
    place = build(DataPlace, {"cache_dir": folder / "cache", "offline": True, **options})
    spec = evalsuite.load_task(task)
    (result,) = run_jobs(prepare([model], [spec], protocols, run, place, Reporter()), run, Reporter())
    assert result.error is None, result.error
    return spec, found


class Scikit:
    """Scikit-learn's optimum, found in the directions that the rows span: the penalty makes the same minimum of it."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, lam: float) -> None:
        self.mean = features.mean(axis=0)
        _, lengths, directions = np.linalg.svd(features - self.mean, full_matrices=False)
        self.directions = directions[lengths > 1e-9 * lengths[0]].T
        self.model = LogisticRegression(C=1 / lam, solver="newton-cg", tol=1e-12, max_iter=20_000)
        self.model.fit(self.turned(features), labels)

    def turned(self, features: np.ndarray) -> np.ndarray:
        """Return features in those directions."""
        return np.asarray((features - self.mean) @ self.directions)

    def score(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Return the accuracy."""
        return float(self.model.score(self.turned(features), labels))

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Return probabilities."""
        return np.asarray(self.model.predict_proba(self.turned(features)))
