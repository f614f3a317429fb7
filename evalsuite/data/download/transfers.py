"""Fetch one file over HTTP, resumed where an earlier attempt stopped, and checked before it gets its name."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from evalsuite import atomic
from evalsuite.errors import DataMissingError

OnBytes = Callable[[int, int | None], None]
"""Is told (bytes on the disk, bytes of the whole file where the server says so)."""

PART_SUFFIX = ".part"
RETRY_DELAYS = (1.0, 4.0, 15.0)
"""Seconds before each further attempt."""

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

_BLOCK = 1 << 18
_TRY_AGAIN_LATER = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
_CANNOT_RESUME = 416
_HEADERS = {"User-Agent": "evalsuite (benchmark of image encoders)", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Retries:
    """How often a transfer that broke off is tried again, and how to wait in between."""

    delays: Sequence[float] = RETRY_DELAYS
    sleep: Callable[[float], None] = time.sleep


class _BrokenOffError(Exception):
    """A transfer that may succeed when it is tried again."""


def fetch_file(
    url: str,
    target: Path,
    *,
    md5: str | None = None,
    sha256: str | None = None,
    on_bytes: OnBytes = lambda done, total: None,
    on_whole: Callable[[Path], None] = lambda part: None,
    retries: Retries | None = None,
) -> int:
    """Fetch `url` into `target` by way of `<target>.part`; return how many bytes came over the network.

    A .part that is there is resumed, if the server still has the same file (If-Range). The file gets its
    name when it is whole, its checksum is right and it is on the disk. on_whole: told of the .part before that.

    Raises DataMissingError for a dead link, a wrong checksum (the .part is removed) and a transfer that keeps
    breaking off (the .part is kept for the next call).
    """
    check_scheme(url)
    retries = retries or Retries()
    atomic.make_folder(target.parent)
    transfer = _Transfer(url, target, md5, sha256, on_bytes)
    for delay in (*retries.delays, None):
        try:
            transfer.attempt()
            break
        except _BrokenOffError as error:
            if delay is None:
                raise DataMissingError(transfer.gave_up(error, len(retries.delays) + 1)) from error
            retries.sleep(delay)
    transfer.check()
    on_whole(transfer.part)
    atomic.move(transfer.part, target)
    transfer.remove()
    return transfer.received


def open_url(url: str, headers: dict[str, str], *, method: str = "GET", timeout: float = TIMEOUT) -> Any:
    """Send a request as this program, by the proxies of the environment, and return the response."""
    request = urllib.request.Request(url, headers={**_HEADERS, **headers}, method=method)
    return urllib.request.build_opener().open(request, timeout=timeout)


def check_scheme(url: str) -> None:
    """Refuse what urllib would open but is no download, such as file:."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataMissingError(f"{url} cannot be downloaded: only http and https are fetched.")


def wrong_checksum(path: Path, md5: str | None, sha256: str | None) -> str:
    """Return "" if a file has the checksums that are given, else which one was expected and found."""
    for name, wanted in (("md5", md5), ("sha256", sha256)):
        if wanted is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != wanted.lower():
            return f"expected {name} {wanted.lower()}, found {found}"
    return ""


def is_web_page(path: Path) -> bool:
    """Say whether a file begins like an HTML page: what servers send in place of a file they do not have."""
    with path.open("rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))


def part_of(target: Path) -> Path:
    """Return where the unfinished part of a file lies."""
    return target.with_name(target.name + PART_SUFFIX)


def notes_of(target: Path) -> Path:
    """Return where it is noted what the server said of a file whose unfinished part lies there."""
    return target.with_name(f".{part_of(target).name}.json")


class _Transfer:
    """Gets what is missing of a file.

    part: the unfinished file; next to it lies a note of what the server said of the whole one. received: bytes that
    came over the network.
    """

    def __init__(self, url: str, target: Path, md5: str | None, sha256: str | None, on_bytes: OnBytes) -> None:
        self.url, self.part, self.received = url, part_of(target), 0
        self._checksums = (md5, sha256)
        self._on_bytes = on_bytes
        self._notes = notes_of(target)

    @property
    def _size(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def _validator(self) -> str:
        """The ETag or date that names the version of the file the part is of; "" if it is not known."""
        try:
            noted = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return ""
        return str(noted.get("validator", "")) if isinstance(noted, dict) and noted.get("url") == self.url else ""

    def _note(self, headers: Any) -> None:
        """Remember what the server says of the file. A weak ETag does not promise the same bytes (RFC 9110, 13.1.5)."""
        etag = headers.get("ETag", "")
        validator = headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
        atomic.write_json(self._notes, {"url": self.url, "validator": validator})

    def remove(self, *, only_empty: bool = False) -> None:
        """Forget what is there."""
        if not (only_empty and self._size):
            atomic.remove(self.part)
            atomic.remove(self._notes)

    def attempt(self) -> None:
        """Ask for what is missing, and append what comes."""
        have, validator = self._size, self._validator
        resumes = have > 0 and validator != ""
        headers = {"Range": f"bytes={have}-", "If-Range": validator} if resumes else {}
        try:
            response = open_url(self.url, headers)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _CANNOT_RESUME and resumes:
                if any(self._checksums) and not wrong_checksum(self.part, *self._checksums):
                    return  # it was whole, and only lacked its name
                self.remove()
            answer = f"the server answers {error.code} {error.reason}"
            if error.code in _TRY_AGAIN_LATER:
                raise _BrokenOffError(answer) from error
            self.remove(only_empty=True)
            raise DataMissingError(f"{self.url} cannot be downloaded: {answer}.") from error
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenOffError(str(getattr(error, "reason", "") or error or type(error).__name__)) from error
        with response:
            start = _start_of(response)
            if start not in (0, have):
                self.remove()
                raise _BrokenOffError("the server sent another part of the file than it was asked for")
            length = str(response.headers.get("Content-Length", ""))
            total = start + int(length) if length.isdigit() else None
            with self.part.open("r+b" if start else "wb") as file:
                file.seek(start)
                self._note(response.headers)
                self._copy(response, file, total)
        if total is not None and self._size < total:
            raise _BrokenOffError(f"only {self._size:,} of {total:,} bytes came")

    def _copy(self, response: Any, file: IO[bytes], total: int | None) -> None:
        """Append what comes to the file and flush it to the disk, whatever ends the transfer."""
        done = file.tell()
        self._on_bytes(done, total)
        try:
            while block := _read(response):
                file.write(block)
                done += len(block)
                self.received += len(block)
                self._on_bytes(done, total)
        finally:
            file.flush()
            atomic.flush(file.fileno(), self.part)

    def check(self) -> None:
        """Remove a file with a wrong checksum, and say so."""
        if wrong := wrong_checksum(self.part, *self._checksums):
            page, size = is_web_page(self.part), self._size
            self.remove()
            what = "It is an HTML page (an error, a login)" if page else "The server may have sent an HTML page"
            raise DataMissingError(
                f"{self.url} did not give the right file ({size:,} bytes): {wrong}. {what}, "
                "or the file is damaged or another edition. What came was removed."
            )

    def gave_up(self, error: Exception, attempts: int) -> str:
        """Say that the transfer kept breaking off, and what is kept."""
        kept = f"{self._size:,} bytes are kept in {self.part}. " if self._size else ""
        self.remove(only_empty=True)
        return (
            f"{self.url} could not be downloaded in {attempts} attempts: {error}. "
            f"{kept}Type the same command again to resume."
        )


def _read(response: Any) -> bytes:
    try:
        block: bytes = response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    return block


def _start_of(response: Any) -> int:
    """Return at which byte the answer begins; a server that does not know ranges begins at 0."""
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    first = str(response.headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1
