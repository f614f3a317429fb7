"""Say whether the sources of a task are there, or could be fetched now, without fetching them."""

from __future__ import annotations

import http.client
import urllib.error
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from evalsuite.data import hub
from evalsuite.data.context import SourceContext
from evalsuite.data.opening import can_be_fetched, describe_source, source_state
from evalsuite.data.place import DataPlace
from evalsuite.data.transfers import check_scheme, open_url
from evalsuite.data.validation import Check
from evalsuite.errors import DataMissingError
from evalsuite.tasks.sources import HuggingFaceSource, SourceSpec, WebDatasetSource
from evalsuite.tasks.spec import TaskSpec

TIMEOUT = 10.0
"""Seconds to wait for an answer."""

_GONE = (404, 410)
_REFUSED = (401, 403)
_HUB = "the hub"


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
        if url not in self._known:
            self._known[url] = self._ask_once(urlsplit(url).netloc, lambda: self._ask_file(url))
        return self._known[url]

    def ask_repo(self, spec: HuggingFaceSource | WebDatasetSource) -> Answer:
        """Ask the hub for a dataset repository and whether this user may read it."""
        name = f"{spec.repo}@{spec.revision}"
        if name not in self._known:
            self._known[name] = self._ask_once(_HUB, lambda: self._ask_hub(spec))
        return self._known[name]

    def _ask_once(self, host: str, ask: Callable[[], Answer]) -> Answer:
        if host in self._silent:
            return Answer("unknown", self._silent[host])
        try:
            return ask()
        except _SilenceError as error:
            self._silent[host] = str(error)
            return Answer("unknown", str(error))

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
            raise _SilenceError(f"{urlsplit(url).netloc} cannot be reached ({reason})") from error

    def _ask_hub(self, spec: HuggingFaceSource | WebDatasetSource) -> Answer:
        from huggingface_hub import HfApi

        api = HfApi()
        try:
            info = api.dataset_info(str(spec.repo), revision=spec.revision, timeout=self._timeout)
            if info.gated:  # the page of a gated repository is open to all, its files are not
                api.auth_check(str(spec.repo), repo_type="dataset")
        except Exception as error:
            text = hub.explain(spec, "files", error)
            kind = hub.failure(error)
            if kind == "unreachable":
                raise _SilenceError(text) from error
            gone = kind == "no revision" or (kind == "no repository" and hub.status_of(error) in _GONE)
            # To those who are not logged in, the hub says 401 of repositories that do not exist, too.
            return Answer("dead" if gone else "unknown" if kind == "other" else "gated", text)
        return Answer("reachable")


class _SilenceError(Exception):
    """A server that does not answer at all."""


def check_sources(task: TaskSpec, place: DataPlace, prober: Prober) -> list[Check]:
    """Say of each source whether it is ready, and unless offline whether it could be fetched.

    A dead link is a failure only where no other source of the task is ready or reachable.
    """
    context = SourceContext(task, place)
    asked = [_look_at(spec, context, prober) for spec in task.sources]
    alive = any(check.state == "ok" for check in asked)
    checks = []
    for number, (spec, check) in enumerate(zip(task.sources, asked, strict=True), start=1):
        state = "ok" if check.state == "failed" and alive else check.state
        checks.append(Check(f"source {number}", state, f"{describe_source(spec)}: {check.text}"))
    return checks


def _look_at(spec: SourceSpec, context: SourceContext, prober: Prober) -> Check:
    if source_state(spec, context).state == "ready":
        return Check("", "ok", "ready")
    if not can_be_fetched(spec):
        return Check("", "skipped", "not there; it can be had by hand only")
    if context.place.offline:
        return Check("", "skipped", "not there; not asked for, because offline")
    answers = [prober.ask_url(file.url) for file in spec.files]
    if isinstance(spec, HuggingFaceSource | WebDatasetSource) and spec.repo is not None:
        answers.append(prober.ask_repo(spec))
    return _verdict(answers)


def _verdict(answers: Sequence[Answer]) -> Check:
    """Return the worst of the answers: a source is reachable if all of it is."""
    for state, shown in (("dead", "failed"), ("gated", "skipped"), ("unknown", "skipped")):
        texts = list(dict.fromkeys(answer.text for answer in answers if answer.state == state))
        if texts:
            return Check("", shown, "; ".join(texts))
    return Check("", "ok", "reachable")


def _size(response: http.client.HTTPResponse) -> int | None:
    """Return the bytes of the whole file, of which a range may have been asked for."""
    ranged = str(response.headers.get("Content-Range", "")).rpartition("/")[2]
    length = ranged or str(response.headers.get("Content-Length", ""))
    return int(length) if length.isdigit() else None
