"""What decides whether a stored result still answers the question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.protocols import EvaluationProtocol
from evalsuite.results.store import hash8
from evalsuite.runner.settings import RunSettings
from evalsuite.runner.tasks import TaskSession


def result_fingerprint(
    session: TaskSession, protocol: EvaluationProtocol, model_key: str, settings: RunSettings
) -> str:
    """Return the fingerprint of a result: task definition, protocol and options, model, samples and labels."""
    splits = protocol.splits(session.folds)
    parts = {
        "task": session.definition(with_prompts=protocol.needs_text),
        "protocol": [protocol.name, protocol.version, dict(protocol.options())],
        "seed": settings.seed,
        "model": model_key,
        "samples": [session.split_digest(split) for split in splits],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def changed_options(protocol: EvaluationProtocol, settings: RunSettings) -> Mapping[str, Any]:
    """Return the options that are not the defaults; they tell results of one job apart."""
    defaults = type(protocol)().options()
    changed = {name: value for name, value in protocol.options().items() if defaults[name] != value}
    if settings.limit is not None:
        changed["limit"] = settings.limit
    if settings.seed != 0:
        changed["seed"] = settings.seed
    if settings.prompts != "default" and protocol.needs_text:
        known = settings.prompts == "simple"
        changed["prompts"] = settings.prompts if known else hash8(Path(settings.prompts).read_text("utf-8"))
    return changed


def options_hash(changed: Mapping[str, Any]) -> str | None:
    """Return eight digits for non-default options, None when there are none."""
    return hash8(json.dumps(changed, sort_keys=True)) if changed else None
