"""What decides whether a stored result still answers the question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evalsuite.options import RunOptions, recorded
from evalsuite.protocols import EvaluationProtocol
from evalsuite.results.store import hash8
from evalsuite.runner.tasks import TaskSession
from evalsuite.tasks.loading import OWN_PROMPTS


def result_fingerprint(session: TaskSession, protocol: EvaluationProtocol, model_key: str, options: RunOptions) -> str:
    """Return the fingerprint of a result: task definition, protocol and options, model, samples and labels."""
    splits = session.splits(protocol)
    parts: dict[str, Any] = {
        "task": session.definition(protocol),
        "protocol": [protocol.name, protocol.version_for(session.task), asdict(protocol.options)],
        "seed": options.seed,
        "model": model_key,
        "samples": [session.split_digest(split) for split in splits],
    }
    if (layer := layer_of(protocol, options)) != protocol.layer:
        parts["layer"] = layer
    if protocol.needs_training and (groups := session.group_digests()):
        parts["groups"] = groups
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def layer_of(protocol: EvaluationProtocol, options: RunOptions) -> str:
    """Return the layer that a protocol reads: the chosen one, unless it compares images with texts."""
    return options.layer if options.layer is not None and not protocol.needs_text else protocol.layer


def changed_options(protocol: EvaluationProtocol, options: RunOptions) -> Mapping[str, Any]:
    """Return the options that are not the defaults, in the types of JSON; they tell results of one job apart."""
    own, defaults = asdict(protocol.options), asdict(protocol.Options())
    changed = {name: value for name, value in own.items() if defaults[name] != value}
    changed |= recorded(options)
    if layer_of(protocol, options) == protocol.layer:
        changed.pop("layer", None)
    if protocol.prompts != OWN_PROMPTS:
        changed["prompts"] = protocol.prompts.label
    return in_json(changed)


def in_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in the types that they have when a record is read back: a tuple is a list there."""
    found: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return found


def options_hash(changed: Mapping[str, Any]) -> str | None:
    """Return eight digits for non-default options, None when there are none."""
    return hash8(json.dumps(changed, sort_keys=True)) if changed else None


def variant(options: RunOptions) -> tuple[str, ...]:
    """Return what decides features next to model and precision, where it is not the default: parts of the run key."""
    compiled = ("compile",) if options.compile else ()
    return compiled if options.decoder == "pillow" else (*compiled, f"decoder {options.decoder}")
