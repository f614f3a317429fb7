"""What a source can do. A kind of source is its spec (`evalsuite.tasks.sources`) and a subclass of `Source`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from evalsuite.data.base import DataState, RawPool
from evalsuite.data.download.hub import Repository
from evalsuite.data.lists import SampleList, expand_lists, missing_files
from evalsuite.data.patterns import first_groups
from evalsuite.data.place import DataPlace
from evalsuite.tasks.label_maps import describe_label_map
from evalsuite.tasks.sources import SourceSpec
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import shortened

if TYPE_CHECKING:
    from evalsuite.data.download.prober import Answer, Prober
    from evalsuite.data.download.remote_files import Target
    from evalsuite.data.download.transfers import Retries

S_co = TypeVar("S_co", bound=SourceSpec, covariant=True)


@dataclass(frozen=True)
class Planned:
    """One thing that would be fetched: `what` is a URL or a repository, `where` the path it goes to."""

    what: str
    where: str


@dataclass(frozen=True)
class Source(ABC, Generic[S_co]):
    """One source of a task. A kind must say how to `look` and to `open`; the rest suits sources of files.

    spec: its part of the task file. place: where data is, and what may be done to get it.
    """

    spec: S_co
    task: TaskSpec
    place: DataPlace

    may_lie_next_to_task: ClassVar[bool] = False
    """Whether the folder is looked for next to the task file before it is under the data root."""

    # --- what a kind says of itself

    @abstractmethod
    def look(self) -> DataState:
        """Say whether the images are there, from the names of files alone."""

    @abstractmethod
    def open(self, pool: str) -> RawPool:
        """Index one pool; DataMissingError and DataError say what is wrong."""

    @property
    def title(self) -> str:
        """Name the source in a message."""
        return f"{self.spec.kind} {self.spec.path}"

    @property
    def folder(self) -> Path:
        """Return the folder that `needs` and the files of lists are relative to."""
        path = self.spec.path or self.task.name
        if self.may_lie_next_to_task and self.task.path is not None and (self.task.path.parent / path).exists():
            return self.task.path.parent / path
        return self.place.data_root / path

    @property
    def where(self) -> str:
        """Say where the data is looked for, in Markdown."""
        return f"`{self.spec.path}`"

    def image_options(self, pool: str) -> dict[str, Any]:
        """Return the keys that decide which images a pool holds: they are in its fingerprint.

        All of the kind's own keys count, unless a kind knows better (labels decide no image).
        """
        own = self.spec.model_dump(mode="json", exclude=set(SourceSpec.model_fields))
        return {**own, "pool": self.spec.pools[pool]} if isinstance(self.spec.pools, dict) else own

    def refusal(self) -> str:
        """Say why the source may not be used without the user's consent; "" where it may."""
        return ""

    def obstacle(self) -> str:
        """Say why a download would be in vain; "" where it would not."""
        return self.refusal()

    # --- how it is fetched

    @property
    def repository(self) -> Repository | None:
        """The repository of the hub that is fetched, if there is one."""
        return None

    def fetch_repository(self, repository: Repository) -> int:
        """Fetch what is not there of a repository; return the bytes that came, as far as they are known."""
        raise NotImplementedError(f"{type(self).__name__} has a repository, but does not say how to fetch it.")

    @property
    def can_be_fetched(self) -> bool:
        """Whether `evalsuite download` knows where to fetch it."""
        return bool(self.spec.files) or self.repository is not None

    def planned(self) -> list[Planned]:
        """Return what `fetch` would fetch."""
        wanted = [Planned(file.file.url, file.destination) for file in self.files if not file.is_made]
        return wanted if self.repository is None else [*wanted, Planned(self.repository.name, str(self.folder))]

    def fetch(self, retries: Retries | None = None) -> int:
        """Fetch what is not there; return the bytes that came, as far as they are known.

        DataMissingError says what went wrong and what to do. Offline, files that lie there are unpacked.
        """
        from evalsuite.data.download.remote_files import fetch_remote

        place, repository = self.place, self.repository
        received = sum(fetch_remote(file, place.data_root, place.progress, retries) for file in self.spec.files)
        return received if repository is None or place.offline else received + self.fetch_repository(repository)

    def ask(self, prober: Prober) -> list[Answer]:
        """Ask for each thing that `fetch` needs whether it could be fetched now."""
        answers = [prober.ask_url(file.url) for file in self.spec.files]
        return answers if self.repository is None else [*answers, prober.ask_repo(self.repository)]

    # --- what all kinds have in common

    def reachable(self, prober: Prober) -> Answer:
        """Return the worst of the answers: a source is reachable if all of it is."""
        from evalsuite.data.download.prober import Answer

        answers = self.ask(prober)
        for state in ("dead", "gated", "unknown"):
            if texts := dict.fromkeys(answer.text for answer in answers if answer.state == state):
                return Answer(state, "; ".join(texts))
        return Answer("reachable")

    def state(self) -> DataState:
        """Say whether the source is ready, with the files and lists it `needs`, and how it is fetched."""
        try:
            found = self.look()
            if found.state == "ready":
                short = [self.folder / name for name in self.spec.needed if not (self.folder / name).exists()]
                short += missing_files(self.lists())
                if short:
                    found = DataState("partial", f"missing: {shortened(list(map(str, short)), 3)}.")
        except (OSError, ValueError) as error:  # ValueError: a NUL in a path
            return DataState("partial", f"cannot be looked at: {error}.")
        if found.state == "ready" or not self.can_be_fetched:
            return found
        name = "downloadable" if found.state == "absent" and not self.place.offline else found.state
        # Shipped tasks are given by name, others by the path of their file.
        by_name = self.task.path is None or self.task.is_shipped
        command = f"evalsuite download {self.task.name if by_name else self.task.path}"
        return DataState(name, f"{found.missing.rstrip('.')}. To download it: {command}")

    @property
    def files(self) -> list[Target]:
        """The files that are fetched for it."""
        from evalsuite.data.download.remote_files import Target

        return [Target(file, self.place.data_root) for file in self.spec.files]

    def lists(self) -> dict[str, SampleList]:
        """Return the lists of samples by name; their files are in the source's folder, else next to the task file."""
        folders = [self.folder] if self.task.path is None else [self.folder, self.task.path.parent]
        return expand_lists(self.spec.lists, folders, by_name=self.spec.labels == "by_name")

    @property
    def named_columns(self) -> tuple[str, ...]:
        """What labels that have a column for each class are called: the columns; () for other labels."""
        columns = getattr(self.spec, "label", "")
        return tuple(columns) if isinstance(columns, list) and len(columns) == len(self.task.class_list) else ()

    def found_in_paths(self, key: str, expression: str, ids: Sequence[str]) -> list[str]:
        """Return the first group of a regular expression, the value of `key`, in the path of each sample."""
        return first_groups(expression, ids, self.title, key)

    def describe(self) -> list[str]:
        """Say where the images are and how they are labelled, in lines of Markdown."""
        spec = self.spec
        lines = [f"looked for in {self.where}"]
        if spec.needed:
            lines.append("needs " + ", ".join(f"`{name}`" for name in spec.needed))
        lines += [f"list `{name}`: `{entry.file}`" for name, entry in spec.lists.items()]
        lines.append(f"labels: {describe_label_map(spec.labels)}")
        for file in spec.files:
            sums = [f"{name} {value}" for name, value in (("md5", file.md5), ("sha256", file.sha256)) if value]
            lines.append(f"<{file.url}>, {', '.join(sums) or 'no checksum is published'}")
        if self.repository is not None:
            lines.append(f"<{self.repository.page}> at `{self.repository.revision}`")
        if group := getattr(spec, "group", None):
            lines.append(f"a hold-out keeps samples together that are alike in `{group}`")
        if spec.splits is not None:
            lines.append(f"splits of its own: {spec.splits.describe()}")
        if spec.split_fidelity is not None:
            lines.append(f"then the splits are {spec.split_fidelity.level}: {spec.split_fidelity.why}")
        return [*lines, spec.note.strip()] if spec.note else lines
