"""What runs models, and what a run tells while it works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from evalsuite.progress import Progress

if TYPE_CHECKING:
    import torch

    from evalsuite.features.encoding import EncodeRows, MapBatches, Precision
    from evalsuite.models.base import ImageModel
    from evalsuite.records import Result


class Executor(Protocol):
    """Runs models over batches somewhere. `devices[0]` is also where the probe is solved."""

    @property
    def devices(self) -> Sequence[torch.device]:
        """The devices, the first of which everything else runs on."""

    @property
    def precisions(self) -> Sequence[Precision]:
        """The precision models run at, then those to take where values are not finite."""

    def mapping(self, model: ImageModel, precision: Precision) -> MapBatches:
        """Return a function that encodes batches, in order, with a model on the first device."""

    def close(self) -> None:
        """Give back what was taken for the run."""


@runtime_checkable
class RowsExecutor(Executor, Protocol):
    """One that reads the images itself, elsewhere."""

    @property
    def encoders(self) -> int:
        """How many devices encode there."""

    @property
    def where(self) -> str:
        """What a record calls them."""

    def reading(self, model: ImageModel, precision: Precision) -> EncodeRows:
        """Return a function that reads and encodes rows with a model."""


class Reporter(Progress):
    """Is told what a run does; this one stays silent. The command line shows it.

    `note`, `progress` and `job` may be called by the thread that encodes while another fits.
    """

    def start(self, jobs: int) -> None:
        """A run of so many jobs begins."""

    def job(self, model: str, task: str, protocols: Sequence[str]) -> None:
        """Work on a model and a task begins."""

    def result(self, result: Result, stored: bool) -> None:
        """A job has its result; stored: it was there before this run."""

    def close(self) -> None:
        """The run has ended: leave the place where it was shown as it was."""
