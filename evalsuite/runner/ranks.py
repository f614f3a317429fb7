"""Processes that train together (torchrun): the first one evaluates, and the others get its results.

Each process computes running means of batch normalisation of its own, so that only one of them can be what is measured.
The answer goes through the key-value store that such processes have: the first one never waits for the others, so that
it may also evaluate alone.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.distributed
from pydantic import BaseModel
from torch.distributed.rendezvous import rendezvous

from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.records import Result

SECONDS_BETWEEN_LOOKS = 0.1

_CALLS = itertools.count()


class Answer(BaseModel):
    """What the first process tells. asked: what it evaluated; fault: why there are no results, and of which kind."""

    asked: str
    results: list[Result] = []
    fault: str = ""
    is_usage: bool = False


@dataclass(frozen=True)
class Ranks:
    """The processes that train together. store: what all of them can read; rank: of this one, from 0."""

    store: Any
    rank: int

    def once(self, asked: str, work: Callable[[], list[Result]]) -> list[Result]:
        """Return the results of `work`, which the process of rank 0 alone does.

        asked: what is to be evaluated, the weights included. Raises what went wrong there, and EvalsuiteError where the
        call of rank 0 that belongs to this one was of something else.
        """
        key = f"evalsuite/{next(_CALLS)}"
        if self.rank > 0:
            return self._answered(key, asked)
        answer = Answer(asked=asked, fault="Rank 0 was stopped.")
        try:
            results = work()
            answer = Answer(asked=asked, results=results)
        except Exception as error:
            answer = Answer(asked=asked, fault=_told(error), is_usage=isinstance(error, UsageError))
            raise
        finally:
            self.store.set(key, answer.model_dump_json())
        return results

    def _answered(self, key: str, asked: str) -> list[Result]:
        while not self.store.check([key]):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        answer = Answer.model_validate_json(self.store.get(key))
        if answer.asked != asked:
            raise EvalsuiteError(
                f"Rank {self.rank} evaluates {asked}, rank 0 evaluated {answer.asked}.\nOf processes that train "
                "together, call evaluate on all of them each time, or on rank 0 alone. ranks='each' lets each evaluate "
                "a model of its own."
            )
        if answer.fault:
            raise (UsageError if answer.is_usage else EvalsuiteError)(answer.fault)
        return answer.results


def together() -> Ranks | None:
    """Return the processes that train together with this one; None where it is alone."""
    distributed = torch.distributed
    if not distributed.is_available():
        return None
    if distributed.is_initialized():
        if distributed.get_world_size() == 1:
            return None
        return Ranks(distributed.distributed_c10d._get_default_store(), distributed.get_rank())
    # torchrun keeps a store of its own, also for processes that have no group.
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return _of_the_agent()
    return None


@functools.cache
def _of_the_agent() -> Ranks:
    store, rank, _ = next(rendezvous("env://"))
    return Ranks(store, rank)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, EvalsuiteError) else f"Rank 0 ended with {type(error).__name__}: {error}"
