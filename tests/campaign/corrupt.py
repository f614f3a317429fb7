"""Damage every kind of stored file: none may give another number without a word, and none a traceback."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from evalsuite.errors import EvalsuiteError
from tests.campaign._corrupt_targets import GONE, TARGETS, UNSEEN, Target
from tests.campaign._damage import damage
from tests.campaign.frame import Finding


def rounds(folder: Path, random: Random) -> Iterator[Finding | None]:
    """Damage one file of a store, use the store, and hold what is read against what was written."""
    prepared: dict[str, Any] = {}
    weights = [target.weight for target in TARGETS]
    with mock.patch.dict(os.environ), quiet():
        while True:
            target = random.choices(TARGETS, weights)[0]
            pristine, store = folder / "pristine" / target.name, folder / "store" / target.name
            if target.name not in prepared:
                target.build(store)  # where it is used: copies of data are known again by their path
                shutil.copytree(store, pristine)
                prepared[target.name] = target.use(store)
                shutil.rmtree(store)
            shutil.copytree(pristine, store)
            yield _attack(target, store, prepared[target.name], random)
            shutil.rmtree(store)


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the warnings by which damage is told, which would be thousands."""
    logger = logging.getLogger("evalsuite")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _attack(target: Target, store: Path, truth: Any, random: Random) -> Finding | None:
    files = target.files(store)
    path = random.choice(files)
    others = [other for other in files if other != path and other.suffix == path.suffix]
    done = f"{target.name}: {damage(path, others, random)}"
    try:
        found = target.use(store)
    except EvalsuiteError as error:
        lines = len(str(error).splitlines())
        if not target.heals and lines <= 6:
            return None
        return Finding(done, f"not healed, or not said in six lines: {error}")
    except Exception as error:  # noqa: BLE001 - what a person would get as a traceback
        return Finding(done, f"a traceback: {type(error).__name__}: {error}")
    problem = target.differs(truth, found)
    if problem in (UNSEEN, GONE) and "removed" in done:  # nobody knows of a file that it was there
        return None
    return Finding(done, problem) if problem else None
