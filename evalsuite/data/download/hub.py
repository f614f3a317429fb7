"""Dataset repositories of the Hugging Face hub, and what it means when the hub refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Failure = Literal["gated", "no revision", "no repository", "unreachable", "other"]


@dataclass(frozen=True)
class Repository:
    """A dataset repository: org/name, and a revision of it."""

    name: str
    revision: str = "main"

    @property
    def page(self) -> str:
        """Return the address of its page."""
        return f"https://huggingface.co/datasets/{self.name}"

    def look_up(self, *, timeout: float | None = None, files: bool = False) -> Any:
        """Ask the hub what the revision is now and whether this user may read it; errors are the library's own."""
        from huggingface_hub import HfApi

        api = HfApi()
        info = api.dataset_info(self.name, revision=self.revision, timeout=timeout, files_metadata=files)
        if info.gated:  # the page of a gated repository is open to all, its files are not
            api.auth_check(self.name, repo_type="dataset")
        return info

    def explain(self, part: str, error: Exception) -> str:
        """Say what went wrong with the hub and what to do about it. part: what of the repository was asked for."""
        advice = {
            "gated": f"it is gated. Accept its conditions at {self.page}, then type: hf auth login (or set HF_TOKEN).",
            "no revision": "there is no such revision. Correct `revision` in the task file.",
            "no repository": "there is no such repository, or it is private: then type hf auth login (or set "
            "HF_TOKEN).",
            "unreachable": f"the hub cannot be reached ({error}). Check the network (HF_ENDPOINT, proxies), or put "
            "the files under the data root.",
            "other": f"{type(error).__name__}: {error}",
        }
        start = f"{self.name} ({part}, revision {self.revision}) is not available from the hub: "
        return start + advice[failure(error)]


def failure(error: Exception) -> Failure:
    """Sort what the libraries of the hub raise, by the error and by what caused it."""
    from huggingface_hub import errors

    causes = _chain(error)
    status = status_of(error)
    if any(isinstance(cause, errors.GatedRepoError) for cause in causes) or status == 403:
        return "gated"
    if any(isinstance(cause, errors.RevisionNotFoundError) for cause in causes):
        return "no revision"
    if any(isinstance(cause, errors.RepositoryNotFoundError) for cause in causes) or status == 401:
        return "no repository"
    network = ("ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout", "Timeout", "TimeoutException")
    names = {base.__name__ for cause in causes for base in type(cause).__mro__}
    if names.intersection(network) or any(isinstance(cause, errors.LocalEntryNotFoundError) for cause in causes):
        return "unreachable"
    return "other"


def status_of(error: Exception) -> int | None:
    """Return the HTTP status the hub answered with, if that is how the error came about."""
    statuses = (getattr(getattr(cause, "response", None), "status_code", None) for cause in _chain(error))
    return next((status for status in statuses if status is not None), None)


def _chain(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in causes:
        causes.append(current)
        current = current.__cause__ or current.__context__
    return causes
