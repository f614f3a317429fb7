"""The feature store under kill -9 and with two runs at the same time."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from evalsuite.features.encoding import encode_batches
from evalsuite.features.extraction import PassOptions, ensure_features
from evalsuite.features.store import PoolFeatures
from tests.models_for_tests import CountingModel, array_pool
from tests.processes import Started, Zygote

SAMPLES = 200

SCRIPT = """
import sys
from functools import partial
from pathlib import Path
import torch
from evalsuite.features import extraction
from evalsuite.features.encoding import encode_batches
from evalsuite.features.store import PoolFeatures
from tests.models_for_tests import CountingModel, array_pool

extraction.SHARD_SAMPLES = 8
pool, model = array_pool({samples}), CountingModel()
print("begin", flush=True)
extraction.ensure_features(
    pool, range({samples}), PoolFeatures(Path(sys.argv[1])),
    lambda: (model.preprocess, partial(encode_batches, model, torch.device("cpu"), "fp32")),
    extraction.PassOptions(4, 0), on_images=lambda done, total: print(done, flush=True),
)
print("end", model.encoded, flush=True)
"""


def start(zygote: Zygote, folder: Path) -> Started:
    """Begin a pass over 200 samples in another process."""
    return zygote.start([folder], zygote.environment(folder), folder.parent, code=SCRIPT.format(samples=SAMPLES))


def undisturbed(folder: Path) -> torch.Tensor:
    """Return the features of a pass that nothing happened to."""
    pool, model = array_pool(SAMPLES), CountingModel()
    store = PoolFeatures(folder)
    prepare = lambda: (model.preprocess, partial(encode_batches, model, torch.device("cpu"), "fp32"))  # noqa: E731
    ensure_features(pool, range(SAMPLES), store, prepare, PassOptions(4, 0))
    return store.read("penultimate", pool.ids)


@pytest.mark.parametrize("images", [0, 12, 60, 196, 200])
def test_killed_pass_resumes_to_the_same_bytes(zygote: Zygote, tmp_path: Path, images: int) -> None:
    process = start(zygote, tmp_path / "pool")
    process.stop_at(lambda line: line == f"{images}\n", signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL
    store = PoolFeatures(tmp_path / "pool")
    kept = len(store)
    assert kept >= images // 8 * 8 - 8
    pool, model = array_pool(SAMPLES), CountingModel()
    prepare = lambda: (model.preprocess, partial(encode_batches, model, torch.device("cpu"), "fp32"))  # noqa: E731
    ensure_features(pool, range(SAMPLES), store, prepare, PassOptions(4, 0))
    assert torch.equal(store.read("penultimate", pool.ids), undisturbed(tmp_path / "other"))
    assert model.encoded == SAMPLES - kept


def test_two_runs_share_one_pass(zygote: Zygote, tmp_path: Path) -> None:
    processes = [start(zygote, tmp_path / "pool") for _ in range(2)]
    ends = [process.finish().stdout.splitlines()[-1] for process in processes]
    assert sorted(ends) == ["end 0", f"end {SAMPLES}"]
    pool = array_pool(SAMPLES)
    features = PoolFeatures(tmp_path / "pool").read("penultimate", pool.ids)
    np.testing.assert_array_equal(features.numpy(), undisturbed(tmp_path / "other").numpy())
