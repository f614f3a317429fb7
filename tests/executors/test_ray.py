"""A Ray cluster of three nodes on one machine: its numbers, a node that is lost in the middle, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import evalsuite
from evalsuite.api import Results
from evalsuite.runner.base import Reporter
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel

ray = pytest.importorskip("ray", reason="there is no Ray for this Python")

STORE = 80 * 2**20
"""Bytes of the store of a node: as little as Ray allows."""


class Hanging(CountingModel):
    """Never gives back the first batch that a process encodes which finds nobody's name in `victim`."""

    def __init__(self, victim: Path) -> None:
        super().__init__()
        self.victim = victim

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Write down the node and wait for its end, or encode."""
        node = ray.get_runtime_context().get_node_id()
        try:
            descriptor = os.open(self.victim, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return super().encode_images(batch)
        os.write(descriptor, node.encode())
        threading.Event().wait()
        raise AssertionError("never")


class Watching(Reporter):
    """Calls a function when images have come back for the first time."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.then = [then]

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Look at what came."""
        if unit == "images" and done and self.then:
            self.then.pop()()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head that encodes nothing, to which tests join by RAY_ADDRESS."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(3):
        found.add_node(num_cpus=1, object_store_memory=STORE, include_dashboard=False)
    yield found
    found.shutdown()


@pytest.fixture
def address(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the cluster, where it is looked for."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return str(cluster.address)


def run(folder: Path, model: Any, task: Path, **options: Any) -> Results:
    """Evaluate into a folder, two images at a time."""
    return evalsuite.evaluate(
        model, str(task), output=folder / "results", cache_dir=folder / "cache", batch_size=2, **options
    )


def measured(results: Results, folder: Path) -> dict[str, Any]:
    """Return what records say that is not about time or machines, and the bytes of the stored features."""
    found: dict[str, Any] = {
        record.protocol: [record.status, record.metric, record.metrics, record.fingerprint, record.data, record.details]
        for record in results
    }
    for path in sorted((folder / "cache").rglob("*.npy")):
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(found) == 6, found
    return found


def test_nodes_give_what_this_machine_gives_though_one_is_lost(cluster: Any, address: str, tmp_path: Path) -> None:
    task = write_folder_task(tmp_path / "task", train=12, test=4)
    (tmp_path / "task" / "train" / "red" / "003.png").write_bytes(b"no image")
    (tmp_path / "task" / "train" / "blue" / "001.png").write_bytes(b"none either")
    task.write_text(task.read_text() + "max_unreadable: 2\n")
    local = run(tmp_path / "local", CountingModel(), task)
    victim = tmp_path / "victim"

    def kill() -> None:
        (node,) = [node for node in cluster.worker_nodes if node.node_id == victim.read_text()]
        cluster.remove_node(node, allow_graceful=False)

    found = run(tmp_path / "ray", Hanging(victim), task, executor="ray", reporter=Watching(kill))
    assert measured(found, tmp_path / "ray") == measured(local, tmp_path / "local")
    assert len(cluster.worker_nodes) == 2
    assert not ray.is_initialized()
