"""The two protocols of the paper and calibration on real images, held against scikit-learn and plain numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, log_loss

import evalsuite
from evalsuite.calibration import FLOOR
from evalsuite.data.drawing import hold_out
from evalsuite.protocols.linear_probe import LinearProbe
from tests.problems import Scikit, given, stored_features

PLACES = ["digits", pytest.param("cifar10", marks=pytest.mark.shared)]


def where(task: str, shared_data: Path, limit: int) -> dict[str, Any]:
    """Return the options that find the images of a task."""
    return {} if task == "digits" else {"data_root": shared_data, "limit": limit}


@pytest.mark.parametrize("model", ["pixels", "pocket"])
@pytest.mark.parametrize("name", PLACES)
def test_the_linear_probe_is_scikit_learns_regression(model: str, name: str, shared_data: Path, tmp_path: Path) -> None:
    task, data = stored_features(model, name, tmp_path, **where(name, shared_data, 200))
    outcome = LinearProbe().run(given(task, data))
    (details,) = outcome.details["folds"]
    (features, labels), (test, expected) = (
        (found.double().numpy(), truth) for found, truth in (data["train"], data["test"])
    )
    model_of_all = Scikit(features, labels, details["lambda"])
    shares = softmax(outcome.folds[0].scores.astype(np.float64), axis=1)
    np.testing.assert_allclose(shares, model_of_all.predict_proba(test), atol=1e-3)
    accuracy = accuracy_score(expected, shares.argmax(axis=1))
    assert accuracy == pytest.approx(model_of_all.score(test, expected), abs=1.5 / len(expected))
    fit, val = hold_out([f"train/{row:06d}" for row in range(len(labels))], labels, seed=0)
    for trial in details["tried"][:: len(details["tried"]) // 3]:
        score = Scikit(features[fit], labels[fit], trial["lambda"]).score(features[val], labels[val])
        assert trial["score"] == pytest.approx(score, abs=1.5 / len(val))


@pytest.mark.parametrize("name", PLACES)
def test_zero_shot_is_the_nearest_mean_of_the_prompts(name: str, shared_data: Path, tmp_path: Path) -> None:
    options = where(name, shared_data, 500)
    task, data = stored_features("pocket", name, tmp_path, layer="embedding", **options)
    (result,) = evalsuite.evaluate(
        "pocket", name, "zero_shot", output=tmp_path / "out", cache_dir=tmp_path / "cache", device="cpu",
        offline=True, log_samples=True, **options,
    )  # fmt: skip
    model: Any = evalsuite.load_model("pocket")
    means = []
    for item in task.class_list:
        texts = [template.replace("{}", one) for template in task.prompt_spec.templates for one in item.names]
        vectors = model.encode_texts(texts).double().numpy()
        mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    images, labels = data["test"][0].double().numpy(), data["test"][1]
    cosines = images / np.linalg.norm(images, axis=1, keepdims=True) @ np.array(means).T
    (path,) = (tmp_path / "out").rglob("*.samples.parquet")
    scores = np.stack(pd.read_parquet(path)["scores"].to_list())
    np.testing.assert_allclose(scores, 100 * cosines, atol=2e-4)
    assert result.metric.value == pytest.approx(accuracy_score(labels, cosines.argmax(axis=1)), abs=1e-9)
    shares = softmax(result.details["logit_scale"] * cosines, axis=1)
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    before = result.details["calibration"]["before"]
    accuracy, mean_of_bin = calibration_curve(right, sure, n_bins=15)
    counts = np.histogram(sure, np.linspace(0, 1, 16))[0]
    assert before["ece"] == pytest.approx(
        float((counts[counts > 0] * np.abs(accuracy - mean_of_bin)).sum() / len(sure)), abs=1e-5
    )
    assert before["nll"] == pytest.approx(log_loss(labels, np.maximum(shares, FLOOR)), rel=1e-4)
    assert before["brier"] == pytest.approx(np.square(shares - np.eye(shares.shape[1])[labels]).sum(1).mean(), rel=1e-4)
