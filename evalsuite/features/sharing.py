"""One reading of a pool for several models: each image is decoded once, and preprocessed once in each distinct way."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from threading import Lock
from types import MappingProxyType

from evalsuite.features.batches import Batch
from evalsuite.models.base import Preprocess
from evalsuite.models.preprocessing import understood


def distinct(preprocesses: Sequence[Preprocess]) -> tuple[list[Preprocess], list[int]]:
    """Return the preprocessings that differ, and for each given one the place of its like among them."""
    keys: list[object] = [_key(item) for item in preprocesses]
    unique = list(dict.fromkeys(keys))
    return [preprocesses[keys.index(key)] for key in unique], [unique.index(key) for key in keys]


def _key(preprocess: Preprocess) -> object:
    """Return what is equal for preprocessings that make the same pixels; where nobody knows, each is its own."""
    recipe = understood(preprocess)
    if recipe is not None:
        try:
            return pickle.dumps((recipe.steps, recipe.finish))
        except (pickle.PicklingError, AttributeError, TypeError):  # a lambda among the steps
            return id(preprocess)
    return id(preprocess)


def close(stream: Iterator[object]) -> None:
    """End what a generator is in the middle of; other iterators have nothing to end."""
    if isinstance(stream, Generator):
        stream.close()


class Feed:
    """Hands the batches of one reading to several takers, which are about as fast as each other.

    source: yields a list of batches for each distinct preprocessing. places: of each taker's among them. faults: of
    those that failed, by their place, as soon as the source knows.
    """

    def __init__(
        self,
        source: Iterator[tuple[list[Batch], ...]],
        places: Sequence[int],
        faults: Mapping[int, Exception] = MappingProxyType({}),
    ) -> None:
        self._source = source
        self._places = dict(enumerate(places))
        self._faults = faults
        self._waiting: dict[int, deque[Batch]] = {taker: deque() for taker in self._places}
        self._held: dict[int, tuple[Batch, set[int]]] = {}
        self._lock = Lock()  # batches are released by any thread
        self._failure: Exception | None = None
        self._numbers = count()

    def of(self, taker: int) -> Iterator[Batch]:
        """Yield the batches of one taker, then raise what went wrong with its preprocessing."""
        waiting, place = self._waiting[taker], self._places[taker]
        while waiting or (place not in self._faults and self._advance()):
            if waiting:
                yield waiting.popleft()
        if place in self._faults:
            raise self._faults[place]

    def drop(self, taker: int) -> None:
        """Forget a taker that has failed: it needs the memory of its batches no more."""
        del self._places[taker]
        for number in list(self._held):
            self._release(number, taker)

    def close(self, streams: Iterable[Iterator[object]]) -> None:
        """End the reading; streams: what takers that have not come to their end make of their batches."""
        for stream in (*streams, self._source):
            close(stream)

    def _advance(self) -> bool:
        """Read on; what goes wrong with the reading goes wrong for all takers."""
        if self._failure is not None:
            raise self._failure
        try:
            parts = next(self._source, None)
        except Exception as error:
            self._failure = error
            raise
        for place, batches in enumerate(parts or ()):
            takers = {taker for taker, own in self._places.items() if own == place}
            for batch in batches:
                if not takers:
                    batch.release()
                    continue
                number = next(self._numbers)
                self._held[number] = (batch, set(takers))
                for taker in takers:
                    own = replace(
                        batch, release=partial(self._release, number, taker), seconds=batch.seconds / len(takers)
                    )
                    self._waiting[taker].append(own)
        return parts is not None

    def _release(self, number: int, taker: int) -> None:
        """Take note that a taker needs a batch no more; its memory is free when none does."""
        with self._lock:
            batch, takers = self._held.get(number, (None, set()))
            takers.discard(taker)
            if batch is None or takers:
                return
            del self._held[number]
        batch.release()
