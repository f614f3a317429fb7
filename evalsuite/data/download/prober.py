"""Ask servers whether they still have what a source needs, without fetching it."""

from __future__ import annotations

import http.client
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from evalsuite.data.download.hub import Repository, failure, status_of
from evalsuite.data.download.transfers import check_scheme, open_url
from evalsuite.errors import DataMissingError

TIMEOUT = 10.0
"""Seconds to wait for an answer."""

_GONE = (404, 410)
_REFUSED = (401, 403)


@dataclass(frozen=True)
class Answer:
    """What a server said of a file or a repository.

    state: `reachable`; `dead` when it is gone; `gated` when it asks who one is; `unknown` when nothing can be said.
    size: bytes, where a server tells.
    """

    state: Literal["reachable", "dead", "gated", "unknown"]
    text: str = ""
    size: int | None = None


class Prober:
    """Asks servers; one that could not be reached is not asked again, so that 27 tasks do not wait 27 times."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._silent: dict[str, str] = {}
        self._known: dict[str, Answer] = {}

    def ask_url(self, url: str) -> Answer:
        """Ask for the headers of a file; for its first byte where the server refuses to tell headers alone."""
        return self._ask_once(url, _host(url), lambda: self._ask_file(url))

    def ask_repo(self, repository: Repository) -> Answer:
        """Ask the hub for a dataset repository and whether this user may read it."""
        name = f"{repository.name}@{repository.revision}"
        silence = f"{repository.name} (revision {repository.revision}) was not asked for: the hub cannot be reached."
        return self._ask_once(name, "the hub", lambda: self._ask_hub(repository), silence)

    def _ask_once(self, name: str, host: str, ask: Callable[[], Answer], silence: str = "") -> Answer:
        """Ask, unless the host was silent before: then say `silence`, or what was said of the host then."""
        if name not in self._known:
            if host in self._silent:
                return Answer("unknown", silence or self._silent[host])
            try:
                self._known[name] = ask()
            except _SilenceError as error:
                self._silent[host] = str(error)
                self._known[name] = Answer("unknown", str(error))
        return self._known[name]

    def _ask_file(self, url: str) -> Answer:
        try:
            check_scheme(url)
        except DataMissingError as error:
            return Answer("dead", str(error))
        answer = self._ask(url, "HEAD", {})
        # Some servers know no HEAD, and not all of them say so with the right status.
        return answer if answer.state == "reachable" else self._ask(url, "GET", {"Range": "bytes=0-0"})

    def _ask(self, url: str, method: str, headers: dict[str, str]) -> Answer:
        try:
            with open_url(url, headers, method=method, timeout=self._timeout) as response:
                return Answer("reachable", size=_size(response))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _GONE:
                return Answer("dead", f"{url} is dead ({error.code} {error.reason})")
            if error.code in _REFUSED:
                return Answer("gated", f"{url} asks for a login ({error.code} {error.reason})")
            return Answer("unknown", f"{url} answers {error.code} {error.reason}")
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
            raise _SilenceError(f"{_host(url)} cannot be reached ({reason})") from error

    def _ask_hub(self, repository: Repository) -> Answer:
        try:
            repository.look_up(timeout=self._timeout)
        except Exception as error:
            text, kind = repository.explain("files", error), failure(error)
            if kind == "unreachable":
                raise _SilenceError(text) from error
            gone = kind == "no revision" or (kind == "no repository" and status_of(error) in _GONE)
            # To those who are not logged in, the hub says 401 of repositories that do not exist, too.
            return Answer("dead" if gone else "unknown" if kind == "other" else "gated", text)
        return Answer("reachable")


class _SilenceError(Exception):
    """A server that does not answer at all."""


def _host(url: str) -> str:
    """Return the server of a URL, and its port, without a password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _size(response: http.client.HTTPResponse) -> int | None:
    """Return the bytes of the whole file, of which a range may have been asked for."""
    ranged = str(response.headers.get("Content-Range", "")).rpartition("/")[2]
    length = ranged or str(response.headers.get("Content-Length", ""))
    return int(length) if length.isdigit() else None
