"""Fetch one file over HTTP, resumed where an earlier attempt stopped, and checked before it gets its name."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from evalsuite.atomic import replacing, write_json
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
    on_bytes: OnBytes | None = None,
    retries: Retries | None = None,
) -> int:
    """Fetch `url` into `target` by way of `<target>.part`; return how many bytes came over the network.

    A .part that is there is resumed, if the server still has the same file (If-Range). The file gets its
    name when it is whole, its checksum is right and it is on the disk.

    Raises DataMissingError for a dead link, a wrong checksum (the .part is removed) and a transfer that keeps
    breaking off (the .part is kept for the next call).
    """
    check_scheme(url)
    retries = retries or Retries()
    partial = _Partial(url, target)
    for delay in (*retries.delays, None):
        try:
            _transfer(partial, on_bytes or _silent, md5, sha256)
            break
        except _BrokenOffError as error:
            if delay is None:
                raise DataMissingError(_gave_up(partial, error, len(retries.delays) + 1)) from error
            retries.sleep(delay)
    _check(partial, md5, sha256)
    with replacing(target) as temporary:
        partial.path.replace(temporary)
    partial.remove()
    return partial.received


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


class _Partial:
    """The unfinished file, and next to it what the server said of the whole one."""

    def __init__(self, url: str, target: Path) -> None:
        self.url = url
        self.path = part_of(target)
        self.received = 0  # bytes that came over the network in this call
        self._notes = self.path.with_name(f".{self.path.name}.json")
        target.parent.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        """Bytes that are there."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def validator(self) -> str:
        """Return the ETag or date that names the version of the file the part is of; "" if it is not known."""
        try:
            noted = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        if not isinstance(noted, dict) or noted.get("url") != self.url:
            return ""
        return str(noted.get("validator", ""))

    def note(self, headers: Any) -> None:
        """Remember what the server says of the file. A weak ETag does not promise the same bytes (RFC 9110, 13.1.5)."""
        etag = headers.get("ETag", "")
        validator = headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
        write_json(self._notes, {"url": self.url, "validator": validator})

    def remove(self) -> None:
        """Forget what is there."""
        for path in (self.path, self._notes):
            with suppress(FileNotFoundError):
                path.unlink()


def _silent(done: int, total: int | None) -> None:
    """Report to nobody."""


def _transfer(partial: _Partial, on_bytes: OnBytes, md5: str | None, sha256: str | None) -> None:
    """Get what is missing of the file."""
    have, validator = partial.size, partial.validator
    resumes = have > 0 and validator != ""
    headers = {"Range": f"bytes={have}-", "If-Range": validator} if resumes else {}
    try:
        response = open_url(partial.url, headers)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _CANNOT_RESUME and resumes:
            if (md5 or sha256) and not wrong_checksum(partial.path, md5, sha256):
                return  # it was whole, and only lacked its name
            partial.remove()
        raise _refusal(partial, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(getattr(error, "reason", "") or error or type(error).__name__)) from error
    with response:
        start = _start_of(response)
        if start not in (0, have):
            partial.remove()
            raise _BrokenOffError("the server sent another part of the file than it was asked for")
        total = _total(response, start)
        with partial.path.open("r+b" if start else "wb") as file:
            file.seek(start)
            partial.note(response.headers)
            _copy(response, file, partial, total, on_bytes)
    if total is not None and partial.size < total:
        raise _BrokenOffError(f"only {partial.size:,} of {total:,} bytes came")


def _refusal(partial: _Partial, error: urllib.error.HTTPError) -> Exception:
    """Return what an HTTP status means: come again, or never."""
    answer = f"the server answers {error.code} {error.reason}"
    if error.code in _TRY_AGAIN_LATER:
        return _BrokenOffError(answer)
    _drop_if_empty(partial)
    return DataMissingError(f"{partial.url} cannot be downloaded: {answer}.")


def _copy(response: Any, file: IO[bytes], partial: _Partial, total: int | None, on_bytes: OnBytes) -> None:
    """Append what comes to the file and flush it to the disk, whatever ends the transfer."""
    done = file.tell()
    on_bytes(done, total)
    try:
        while block := _read(response):
            file.write(block)
            done += len(block)
            partial.received += len(block)
            on_bytes(done, total)
    finally:
        file.flush()
        os.fsync(file.fileno())


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


def _total(response: Any, start: int) -> int | None:
    length = str(response.headers.get("Content-Length", ""))
    return start + int(length) if length.isdigit() else None


def _check(partial: _Partial, md5: str | None, sha256: str | None) -> None:
    wrong = wrong_checksum(partial.path, md5, sha256)
    if not wrong:
        return
    page = is_web_page(partial.path)
    size = partial.size
    partial.remove()
    what = "It is an HTML page (an error, a login)" if page else "The server may have sent an HTML page"
    raise DataMissingError(
        f"{partial.url} did not give the right file ({size:,} bytes): {wrong}. {what}, "
        "or the file is damaged or another edition. What came was removed."
    )


def _gave_up(partial: _Partial, error: Exception, attempts: int) -> str:
    kept = f"{partial.size:,} bytes are kept in {partial.path}. " if partial.size else ""
    _drop_if_empty(partial)
    return (
        f"{partial.url} could not be downloaded in {attempts} attempts: {error}. "
        f"{kept}Type the same command again to resume."
    )


def _drop_if_empty(partial: _Partial) -> None:
    if partial.size == 0:
        partial.remove()
