"""Features of the embedded digits, as a real run stores them."""

from __future__ import annotations

import pytest

from evalsuite.tasks import TaskSpec
from tests.problems import Pools, stored_features


@pytest.fixture(scope="session", params=["pixels", "pocket"])
def digits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskSpec, Pools]:
    """The task and the features of its splits, of each of the two small models."""
    return stored_features(request.param, "digits", tmp_path_factory.mktemp("digits"))
