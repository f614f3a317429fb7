"""A hub on this machine that speaks the API of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GATED, ABSENT = "org/gated", "org/absent"


class HubServer(ThreadingHTTPServer):
    """Serves the folder `files` as the repository `repo`; `requests` are the paths asked for.

    kind: of the repository. cut: files of which half is sent, then the connection ends.
    """

    def __init__(self, repo: str, files: Path, kind: Literal["datasets", "models"] = "datasets") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo = repo
        self.kind = kind
        self.files = files
        self.requests: list[str] = []
        self.cut: set[str] = set()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

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
        api = f"api/{self.server.kind}/{repo}"
        if path.startswith(api):
            return self._api(path.removeprefix(api).strip("/"), body)
        prefix = f"{'' if self.server.kind == 'models' else 'datasets/'}{repo}/resolve/"
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
            return self._send(206, content[begin : end + 1], headers, cut=name in self.server.cut)
        return self._send(200, content, headers, cut=name in self.server.cut)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str], cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if cut:
            content, self.close_connection = content[: len(content) // 2], True
        if self.command != "HEAD":
            self.wfile.write(content)


def hub_environment(home: Path, endpoint: str) -> dict[str, str]:
    """Return the variables by which a process uses this hub, with an empty cache of its own.

    A process of its own it must be: the libraries read HF_ENDPOINT once, when they are imported.
    """
    return {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"
    }  # fmt: skip
