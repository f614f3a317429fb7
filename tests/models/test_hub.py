"""Weights from the hub: a server on this machine that speaks its protocol, and a cache as the hub writes it."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants, file_download
from safetensors.torch import save

from evalsuite.errors import MissingExtraError, ModelError
from evalsuite.models import weights as weights_module
from evalsuite.models.loading import load_model, weights_fingerprint
from evalsuite.models.weights import hub_candidates
from tests.processes import Zygote

NAME = "timm:test_vit.r160_in1k"
FILE = "/timm/test_vit.r160_in1k/resolve/main/model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

SCRIPT = """
import sys, time
from evalsuite.errors import MissingExtraError, ModelError
from evalsuite.models.loading import load_model
import timm
started = time.monotonic()
try:
    load_model(sys.argv[1])
except ModelError as error:
    print(time.monotonic() - started, error)
"""


class Hub(ThreadingHTTPServer):
    """A hub with the files it is given."""

    files: dict[str, bytes]
    asked: list[str]
    delay: float
    stopped: threading.Event


class Handler(BaseHTTPRequestHandler):
    """Answer HEAD and GET as the hub does for a file that is kept in LFS."""

    server: Hub

    def do_HEAD(self) -> None:
        self.reply(body=False)

    def do_GET(self) -> None:
        self.reply(body=True)

    def reply(self, *, body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.stopped.wait(self.server.delay):
            return
        content = self.server.files.get(self.path)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub(("127.0.0.1", 0), Handler)
    server.files, server.asked, server.delay, server.stopped = {}, [], 0.0, threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.stopped.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point huggingface_hub, which reads its settings on import, at the server and at an empty cache."""
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)  # 0.27's copy
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # newer than 0.27
    return tmp_path


def test_weights_are_downloaded_once_and_identified_before_loading(hub: Hub, cache: Path) -> None:
    torch.manual_seed(0)
    module = timm.create_model("test_vit")
    state = {key: value.clone() for key, value in module.state_dict().items()}
    state["norm.bias"][0] = 0.125
    hub.files[FILE] = save(state)
    digest = hashlib.sha256(hub.files[FILE]).hexdigest()
    assert weights_fingerprint(NAME) is None
    assert hub.asked == []  # a fingerprint downloads nothing
    model: Any = load_model(NAME)
    assert f"GET {FILE}" in hub.asked
    assert model.module.state_dict()["norm.bias"][0] == 0.125
    assert "state_dict" not in model.module.pretrained_cfg
    assert COMMIT in model.info.weights
    assert digest in model.info.weights
    hub.asked.clear()
    assert weights_fingerprint(NAME) == model.info.fingerprint
    assert load_model(NAME, offline=True).info.fingerprint == model.info.fingerprint
    assert hub.asked == []


def test_without_safetensors_the_pickle_is_read_safely(hub: Hub, cache: Path) -> None:
    state = timm.create_model("test_vit").state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    hub.files[FILE.replace("model.safetensors", "pytorch_model.bin")] = file.getvalue()
    model: Any = load_model(NAME)
    assert torch.equal(model.module.state_dict()["norm.weight"], state["norm.weight"])
    assert "pytorch_model.bin" in model.info.weights


def test_a_repository_without_the_file_is_an_error(hub: Hub, cache: Path) -> None:
    with pytest.raises(ModelError, match=r"has none of model\.safetensors, pytorch_model\.bin"):
        load_model(NAME)


def test_a_hub_that_does_not_answer_is_not_waited_for(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "CONNECT_SECONDS", 0.5)
    hub.delay = 30.0
    started = time.monotonic()
    with pytest.raises(ModelError, match="cannot be downloaded") as caught:
        load_model("ViT-B/32")
    assert time.monotonic() - started < 15
    assert "open_clip ViT-B-32/openai, hub repository timm/vit_base_patch32_clip_224.openai" in str(caught.value)


def test_no_network_fails_in_seconds_with_a_remedy(zygote: Zygote, tmp_path: Path) -> None:
    # In a process of its own, where the settings come from the environment: nobody listens where it looks for the hub.
    environment = zygote.environment(tmp_path)
    out = zygote.run([NAME], environment, tmp_path, code=SCRIPT)
    assert out.returncode == 0, out.stderr
    seconds, _, text = out.stdout.strip().splitlines()[-1].partition(" ")
    assert float(seconds) < 10
    for words in (environment["HF_HOME"], "refused", "HF_HOME", f"{NAME}@/path/to/weights.safetensors"):
        assert words in text


@pytest.mark.parametrize(
    ("filename", "candidates"),
    [
        ("pytorch_model.bin", ("model.safetensors", "pytorch_model.bin")),
        ("open_clip_pytorch_model.bin", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")),
        ("mobileclip_s1.pt", ("mobileclip_s1.safetensors", "mobileclip_s1.pt")),
        ("weights.safetensors", ("weights.safetensors",)),
    ],
)
def test_safetensors_come_first(filename: str, candidates: tuple[str, ...]) -> None:
    assert hub_candidates(filename) == candidates


def test_offline_in_python_asks_nobody_whatever_library_would(hub: Hub, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from huggingface_hub import hf_hub_download\n"
        "def make():\n    return hf_hub_download('org/model', 'config.json')\n"
    )
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(ModelError):
        load_model(f"{tmp_path / 'mine.py'}:make", offline=True)
    assert hub.asked == []
    assert before == constants.HF_HUB_OFFLINE
    with pytest.raises(ModelError):
        load_model(f"{tmp_path / 'mine.py'}:make")
    assert hub.asked != []  # the test could fail


def test_a_missing_extra_is_said_before_any_weights_are_fetched(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evalsuite.models.open_clip_models.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="transformers"):
        load_model("open_clip:ViT-B-16-SigLIP/webli")
    assert hub.asked == []
