"""A web server of this machine with ranges and ETags, that can also be everything servers should not be."""

from __future__ import annotations

import hashlib
import random
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CONTENT = random.Random(0).randbytes(1 << 20)


def md5(content: bytes) -> str:
    """Return the checksum as task files state it."""
    return hashlib.md5(content).hexdigest()


def left(folder: Path) -> list[str]:
    """Return what lies below a folder, locks left out."""
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")))
    return [name for name in found if not name.startswith(".evalsuite-locks")]


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    range: str


class FileServer(ThreadingHTTPServer):
    """Serves `files` by path.

    faults: path -> what to do with the next requests of it, one each: a status to answer with, `cut` (half of what is
    asked for, then the connection ends), `whole` (ranges are ignored), `no-head` (HEAD is refused), `hang` (half,
    then nothing more until `resume` is set).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Any]] = {}
        self.etags: dict[str, str] = {}
        self.requests: list[Request] = []
        self.resume = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path: str) -> str:
        """Return the address of a file."""
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def gets(self, path: str) -> list[str]:
        """Return the ranges of the GET requests for a file, "" for all of it."""
        return [request.range for request in self.requests if (request.method, request.path) == ("GET", path)]

    def stop(self) -> None:
        """End it."""
        self.resume.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_: object) -> None:
        return None

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.lstrip("/")
        wanted = self.headers.get("Range", "")
        self.server.requests.append(Request(self.command, path, wanted))
        faults = self.server.faults.get(path, [])
        fault = faults.pop(0) if faults else None
        if fault == "no-head":
            fault = 405 if self.command == "HEAD" else None
        if isinstance(fault, int):
            return self._send(fault, b"", {})
        if path not in self.server.files:
            return self._send(404, b"", {})
        content = self.server.files[path]
        etag = self.server.etags.get(path, f'"{hashlib.md5(content).hexdigest()}"')
        headers = {"ETag": etag} if etag else {}
        if wanted and fault != "whole" and self.headers.get("If-Range", etag) == etag:
            return self._send_range(content, wanted, headers, fault)
        return self._send(200, content, headers, fault)

    def _send_range(self, content: bytes, wanted: str, headers: dict[str, str], fault: Any) -> None:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(content)), len(content) - 1)
        if begin >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
        return self._send(206, content[begin : end + 1], headers, fault)

    def _send(self, status: int, content: bytes, headers: dict[str, str], fault: Any = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("cut", "hang"):
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if fault == "hang":
                self.server.resume.wait()
            return
        self.wfile.write(content)
