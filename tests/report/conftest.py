"""A store of results with samples, written through the project's own code, to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalsuite.metrics import METRICS
from evalsuite.protocols.base import FoldScores, Outcome
from evalsuite.records import DataRecord, ErrorRecord, Interval, MetricRecord, ModelInfo, Provenance, Result
from evalsuite.results.store import ResultStore, StoredResult, load_stored
from evalsuite.runner.recording import samples_table
from evalsuite.seals import read_sealed
from evalsuite.tasks.spec import TaskClass, TaskSpec

N = 400
"""Test samples of a task."""


def info_of(model: str, **known: Any) -> ModelInfo:
    """Return what a record says of a model, of which only what is `known` matters."""
    needed = {"name": model, "slug": model, "backend": "b", "fingerprint": "f", "input_size": 8, "layers": {}}
    return ModelInfo.model_validate(needed | known)


class Bench:
    """A store to write results with samples into."""

    def __init__(self, folder: Path) -> None:
        self.store = ResultStore(folder)

    def add(self, model: str, task_name: str, noise: float, **options: Any) -> None:
        """Store a result of a model whose scores are the truth, noise that all models share, and so much of its own."""
        metric, n = METRICS.get(options.get("metric", "accuracy")), options.get("n", N)
        n_classes, n_folds = options.get("n_classes", 4), options.get("folds", 1)
        rng = np.random.default_rng(options.get("seed", 7))
        if metric.multilabel:
            labels = rng.choice([1, 0, -1], (n, n_classes), p=[0.3, 0.6, 0.1])
        else:
            labels = rng.integers(0, n_classes, n)
        truth = labels == 1 if metric.multilabel else np.eye(n_classes)[labels]
        shared = rng.normal(size=(n, n_classes))
        own = np.random.default_rng([len(model), ord(model[-1]), len(task_name)])
        ids = [f"{options.get('first', 0) + row:05}.png" for row in range(n)]
        if options.get("repeat"):
            ids[1] = ids[0]
        folds = []
        for _ in range(n_folds):
            scores = (truth + 0.6 * shared + noise * own.normal(size=shared.shape)).astype(np.float32)
            order = own.permutation(n)  # the rows of two tables need not stand in one order
            folds.append(FoldScores(scores[order], labels[order], [ids[row] for row in order]))
        value = options.get("value", float(np.mean([metric.compute(fold.scores, fold.labels) for fold in folds])))
        result = Result(
            status=options.get("status", "ok"),
            model=model,
            model_name=model.upper(),
            task=task_name,
            protocol=options.get("protocol", "linear_probe"),
            fingerprint="f",
            changed_options=options.get("changed_options", {}),
            error=ErrorRecord(kind="DataMissingError", message=options["problem"]) if "problem" in options else None,
            metric=MetricRecord(
                name=metric.name,
                value=value,
                n=n * n_folds,
                interval=Interval(low=value - 0.03, high=value + 0.03, level=0.995, method="clopper-pearson"),
                folds=[value] * n_folds if n_folds > 1 else None,
            ),
            model_info=info_of(model, **options["model_info"]) if "model_info" in options else None,
            data=DataRecord(
                source="s",
                content=options.get("content", ""),
                split_fidelity={"level": options.get("splits", "exact"), "why": "Since it is so."},
            ),
            provenance=Provenance(created=options.get("created", "2026-01-01")),
        )
        table = samples_table(_spec(n_classes, metric.multilabel), Outcome(folds, {}, [], {}))
        log = table if options.get("log", True) else None
        self.store.write(result, options.get("weights", model), options.get("options_hash"), log)

    def forget_digests(self) -> None:
        """Turn the records into such as there were before they had digests of themselves and of their samples."""
        for path in self.store.root.rglob("*.json"):
            record = read_sealed(path)
            del record["samples_digest"]
            path.write_text(json.dumps(record))

    def read(self) -> list[StoredResult]:
        """Read everything back from the files."""
        return load_stored([self.store.root])[0]


def _spec(n_classes: int, multilabel: bool) -> TaskSpec:
    classes = [TaskClass(key=f"c{i}", names=[f"c{i}"]) for i in range(n_classes)]
    return TaskSpec.model_construct(classes=classes, multilabel=multilabel)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return an empty store."""
    return Bench(tmp_path / "out")
