"""Downloads from a hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import ABSENT, COMMIT, GATED, HubServer, hub_environment
from tests.processes import Zygote

datasets = pytest.importorskip("datasets")

SCRIPT = """
import json, os, sys
from pathlib import Path
from evalsuite.data import data_state, open_task
from evalsuite.data.place import DataPlace
from evalsuite.data.fetching import fetch_task
from evalsuite.errors import DataMissingError
from evalsuite.tasks.spec import PromptSpec, TaskSpec

root, cache_dir = Path(sys.argv[1]), Path(sys.argv[2])

def answer(repo, revision="main", offline=False):
    os.environ["HF_HUB_OFFLINE"] = str(int(offline))  # the libraries read it before, evalsuite now
    prompts = {"templates": ["a {}."]}
    task = TaskSpec.model_validate({
        "name": "pets", "title": "Pets", "prompts": prompts, "classes": ["cat", "dog"],
        "sources": [{"kind": "huggingface", "repo": repo, "revision": revision,
                     "pools": {"train": "train", "test": "validation"}}],
    }).with_prompt_spec(PromptSpec.model_validate(prompts))
    place = DataPlace(root, cache_dir)
    state = data_state(task, place).state
    try:
        fetch_task(task, place)
        data = open_task(task, place)
        pool = data.open_pool("train")
        data.open_pool("test")
    except DataMissingError as error:
        return {"state": state, "error": str(error)}
    return {"state": state, "labels": pool.labels.tolist(), "content": pool.read(2).content.hex(), "ids": pool.ids,
            "fingerprint": pool.fingerprint, "resolved": dict(data.resolved),
            "after": data_state(task, place).state}

print(json.dumps([answer(**case) for case in json.loads(sys.argv[3])]))
"""


@pytest.fixture
def server(tmp_path, encode):
    files = tmp_path / "repo"
    (files / "data").mkdir(parents=True)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])})
    for split, labels in (("train", [0, 1, 0]), ("validation", [1])):
        rows = {"image": [{"bytes": encode(row), "path": None} for row in range(len(labels))], "label": labels}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(files / f"data/{split}-00000-of-00001.parquet")
    (files / "loader.py").write_text("raise SystemExit('code of the dataset was run')")
    running = HubServer("org/pets", files)
    yield running
    running.shutdown()
    running.server_close()


def run(tmp_path: Path, endpoint: str, *cases: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask in a process of its own: the libraries read where the hub is when they are imported."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for name in ("HF_TOKEN", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        kept.pop(name, None)
    variables = {**kept, **hub_environment(tmp_path, endpoint), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    arguments = [sys.executable, "-c", SCRIPT, str(root), str(tmp_path / "cache"), json.dumps(cases)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=variables, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(root.iterdir())
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_a_download_and_what_is_known_of_it(server, tmp_path, encode):
    (answer,) = run(tmp_path, server.url, {"repo": "org/pets"})
    assert answer["state"] == "downloadable"
    assert answer["labels"] == [1, 0, 1]
    assert bytes.fromhex(answer["content"]) == encode(2)
    assert answer["resolved"]["commit"] == COMMIT
    digests = {entry["path"]: entry["lfs"]["sha256"] for entry in server.entries() if "data/" in entry["path"]}
    assert answer["resolved"]["files"]["train"] == digests
    assert answer["after"] == "ready"
    assert (tmp_path / "cache/datasets").is_dir()

    # The second time nothing is asked of the hub, and offline works too, with the same pool.
    server.requests.clear()
    for again in run(tmp_path, server.url, {"repo": "org/pets"}, {"repo": "org/pets", "offline": True}):
        assert again == {**answer, "state": "ready"}
    assert server.requests == []


def test_refusals_say_what_to_do(server, tmp_path):
    cases = [{"repo": GATED}, {"repo": ABSENT}, {"repo": "org/pets", "revision": "v9"}]
    reasons = ["gated", "no such repository", "no such revision"]
    for case, reason, answer in zip(cases, reasons, run(tmp_path, server.url, *cases), strict=True):
        assert reason in answer["error"]
        assert case["repo"] in answer["error"]
        assert answer["state"] == "downloadable"


def test_a_hub_that_cannot_be_reached(zygote: Zygote, tmp_path):
    (tmp_path / "root").mkdir()
    arguments = [tmp_path / "root", tmp_path / "cache", json.dumps([{"repo": "org/pets"}])]
    done = zygote.run(arguments, zygote.environment(tmp_path), tmp_path, code=SCRIPT)  # which has no hub
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout.splitlines()[-1])
    assert "cannot be reached" in answer["error"]
