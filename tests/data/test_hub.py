"""Downloads from a hub: a server of this machine that speaks its API."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GATED, ABSENT = "org/gated", "org/absent"


class HubServer(ThreadingHTTPServer):
    """Serves the folder `files` as the dataset repository `repo`; `requests` are the paths asked for."""

    def __init__(self, repo: str, files: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo = repo
        self.files = files
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT must be."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def entries(self) -> list[dict[str, Any]]:
        """Describe the files as the API does; all are large files with a sha256."""
        described = []
        for path in sorted(path for path in self.files.rglob("*") if path.is_file()):
            content = path.read_bytes()
            digest, blob = hashlib.sha256(content).hexdigest(), hashlib.sha1(content).hexdigest()
            name = path.relative_to(self.files).as_posix()
            lfs = {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 130}
            described.append(
                {"type": "file", "path": name, "rfilename": name, "oid": blob, "blobId": blob,
                 "size": len(content), "lfs": lfs}
            )  # fmt: skip
        return described


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return None

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(body)

    def _answer(self, body: bytes = b"") -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.requests.append(f"{self.command} {path}")
        for repo, status, code in ((GATED, 403, "GatedRepo"), (ABSENT, 401, "RepoNotFound")):
            if repo in path:
                return self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "no"})
        repo = self.server.repo
        if path.startswith(f"api/datasets/{repo}"):
            return self._api(path.removeprefix(f"api/datasets/{repo}").strip("/"), body)
        prefix = f"datasets/{repo}/resolve/"
        if path.startswith(prefix):
            return self._file(path.removeprefix(prefix).split("/", 1)[1])
        return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _api(self, rest: str, body: bytes) -> None:
        entries = self.server.entries()
        action, _, argument = rest.partition("/")
        if action == "tree":
            folder = argument.partition("/")[2]
            inside = [entry for entry in entries if not folder or entry["path"].startswith(f"{folder}/")]
            folders = sorted({entry["path"].rpartition("/")[0] for entry in inside} - {"", folder})
            listed = [{"type": "directory", "path": name, "oid": COMMIT, "size": 0} for name in folders]
            return self._json([*listed, *inside])
        if action == "paths-info":
            asked = body.decode()
            names = json.loads(asked)["paths"] if asked.startswith("{") else parse_qs(asked)["paths"]
            found = [entry for entry in entries if entry["path"] in names]
            parents = {entry["path"].rpartition("/")[0] for entry in entries} - {""}
            return self._json(
                [*found, *({"type": "directory", "path": n, "oid": COMMIT, "size": 0} for n in names if n in parents)]
            )
        if action in ("", "revision"):
            if argument not in ("", "main", COMMIT):
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return self._json(
                {"id": self.server.repo, "_id": "1", "sha": COMMIT, "private": False, "gated": False,
                 "disabled": False, "tags": [], "downloads": 0, "likes": 0, "siblings": entries}
            )  # fmt: skip
        return self._send(404, b"{}", {})

    def _file(self, name: str) -> None:
        path = self.server.files / name
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"', "X-Repo-Commit": COMMIT,
                   "X-Linked-Size": str(len(content)), "Accept-Ranges": "bytes"}  # fmt: skip
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
            return self._send(206, content[begin : end + 1], headers)
        return self._send(200, content, headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


datasets = pytest.importorskip("datasets")

# A process of its own: the libraries read HF_ENDPOINT once, when they are imported.
SCRIPT = """
import json, os, sys
from pathlib import Path
from evalsuite.data import data_state, open_task
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
    state = data_state(task, root, cache_dir=cache_dir).state
    try:
        data = open_task(task, root, cache_dir=cache_dir)
        pool = data.open_pool("train")
        data.open_pool("test")
    except DataMissingError as error:
        return {"state": state, "error": str(error)}
    return {"state": state, "labels": pool.labels.tolist(), "content": pool.read(2).content.hex(), "ids": pool.ids,
            "fingerprint": pool.fingerprint, "resolved": dict(data.resolved),
            "after": data_state(task, root, cache_dir=cache_dir).state}

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
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for name in ("HF_TOKEN", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        kept.pop(name, None)
    variables = {
        **kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }  # fmt: skip
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


def test_a_hub_that_cannot_be_reached(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (answer,) = run(tmp_path, f"http://127.0.0.1:{port}", {"repo": "org/pets"})
    assert "cannot be reached" in answer["error"]
