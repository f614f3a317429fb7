"""What every part of the files people write has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a file people write: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
