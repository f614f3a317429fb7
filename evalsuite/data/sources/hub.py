"""Sources that a dataset repository of the Hugging Face hub may hold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from evalsuite.data.download.hub import Repository
from evalsuite.data.download.prober import Answer, Prober
from evalsuite.data.download.transfers import Retries
from evalsuite.data.place import DataPlace
from evalsuite.data.sources.base import Download, Source
from evalsuite.tasks.sources import HubSpec

H_co = TypeVar("H_co", bound=HubSpec, covariant=True)


class HubSource(Source[H_co]):
    """A source with a `repo`."""

    @property
    def repository(self) -> Repository:
        """Return the repository, where there is one."""
        return Repository(str(self.spec.repo), self.spec.revision)

    @property
    def download_folder(self) -> str:
        """Return where the files of the repository go."""
        return str(self.folder)

    @abstractmethod
    def fetch_repository(self) -> int:
        """Fetch what is not there; return the bytes that came, as far as they are known."""

    def hub_downloads(self) -> Sequence[Download]:
        """Return the repository."""
        return [] if self.spec.repo is None else [RepositoryDownload(self)]

    def details(self) -> list[str]:
        """Return the address of the repository."""
        link = f"<{self.repository.page}> at `{self.spec.revision}`"
        return super().details() if self.spec.repo is None else [link, *super().details()]


@dataclass(frozen=True)
class RepositoryDownload:
    """The repository of a source, as something to fetch."""

    source: HubSource[Any]

    @property
    def what(self) -> str:
        """Return the name of the repository."""
        return self.source.repository.name

    @property
    def where(self) -> str:
        """Return the path it goes to."""
        return self.source.download_folder

    def fetch(self, place: DataPlace, retries: Retries | None) -> int:
        """Fetch what is not there; return the bytes that came, as far as they are known."""
        return self.source.fetch_repository()

    def ask(self, prober: Prober) -> Answer:
        """Ask the hub whether it could be fetched now."""
        return prober.ask_repo(self.source.repository)
