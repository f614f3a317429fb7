"""Sources that a dataset repository of the Hugging Face hub may hold."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from evalsuite.data.download.hub import Repository
from evalsuite.data.download.prober import Answer, Prober
from evalsuite.data.download.transfers import Retries
from evalsuite.data.sources.base import Planned, Source
from evalsuite.tasks.sources import HubSpec

H_co = TypeVar("H_co", bound=HubSpec, covariant=True)


class HubSource(Source[H_co]):
    """A source with a `repo`, which is fetched in addition to `files`."""

    @abstractmethod
    def fetch_repository(self) -> int:
        """Fetch what is not there; return the bytes that came, as far as they are known."""

    @property
    def repository(self) -> Repository:
        """Return the repository, where there is one."""
        return Repository(str(self.spec.repo), self.spec.revision)

    @property
    def repository_folder(self) -> str:
        """Return where the files of the repository go."""
        return str(self.folder)

    @property
    def has_repository(self) -> bool:
        """Whether it is fetched from a repository."""
        return self.spec.repo is not None

    @property
    def can_be_fetched(self) -> bool:
        """Whether `evalsuite download` knows where to fetch it."""
        return self.has_repository or super().can_be_fetched

    def planned(self) -> list[Planned]:
        """Return what `fetch` would fetch."""
        more = [Planned(self.repository.name, self.repository_folder)] if self.has_repository else []
        return super().planned() + more

    def fetch(self, retries: Retries | None = None) -> int:
        """Fetch what is not there; return the bytes that came, as far as they are known."""
        received = super().fetch(retries)
        return received + self.fetch_repository() if self.has_repository and not self.place.offline else received

    def ask(self, prober: Prober) -> list[Answer]:
        """Ask for each thing that `fetch` needs whether it could be fetched now."""
        return super().ask(prober) + ([prober.ask_repo(self.repository)] if self.has_repository else [])

    def details(self) -> list[str]:
        """Return the address of the repository, too."""
        link = f"<{self.repository.page}> at `{self.spec.revision}`"
        return super().details() if self.spec.repo is None else [link, *super().details()]
